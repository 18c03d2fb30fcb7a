"""Strict JSON: the same value as the standard parser gives, or a refusal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.failures import RequestFailure
from serving.schemas import Feedback, FeedbackList, JsonImagesRequest
from serving.strict_json import parse_strict

_feedback = st.fixed_dictionaries({"id": st.from_regex("[0-9a-f]{32}", fullmatch=True), "label": st.text(st.characters(codec="utf-8"))})


@given(st.lists(_feedback, min_size=1, max_size=5))
def test_reads_what_json_reads(items: list[dict[str, str]]) -> None:
    parsed = parse_strict(json.dumps({"feedback": items}).encode(), FeedbackList)
    assert [item.model_dump() for item in parsed.feedback] == items


@given(st.binary(max_size=200))
def test_anything_else_is_a_refusal(body: bytes) -> None:
    with pytest.raises(RequestFailure, match=r"^400 wrong_json: the JSON body"):
        parse_strict(body, JsonImagesRequest)


def test_many_problems_are_counted_not_listed() -> None:
    body = json.dumps({"feedback": [{"id": "x", "label": 7}] * 9}).encode()
    with pytest.raises(RequestFailure, match="and 13 more") as caught:
        parse_strict(body, FeedbackList)
    assert caught.value.message.count("feedback.") == 5


def test_types_are_not_guessed() -> None:
    with pytest.raises(RequestFailure, match="label: this must be a string"):
        parse_strict(b'{"id": "00000000000000000000000000000000", "label": 7}', Feedback)
