"""The log's reader: whole records only, in order, whatever a kill left behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.core.request_log import CHECK_DOMAIN, FeedbackRecord, RequestRecord, log_time, read_feedback, read_requests


def line(number: int, **changes: Any) -> dict[str, Any]:
    record = {
        "request_id": f"{number:032x}",
        "time": "2026-11-21T09:30:00.123456Z",
        "bundle": "0123456789abcdef",
        "label": "owl",
        "probabilities": [0.25, 0.75],
        "embedding": [0.1, -2e-5],
        "statistics": [1.0],
        "domain": "default",
        "raw_sha256": None,
    }
    return {**record, **changes}


def write(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_reads_all_files_oldest_first(tmp_path: Path) -> None:
    for day, numbers in (("2026-11-22", (3,)), ("2026-11-21", (1, 2))):
        write(tmp_path / "requests", f"{day}.jsonl", b"".join(json.dumps(line(number)).encode() + b"\n" for number in numbers))
    write(tmp_path / "requests", "schema.json", b"[]")
    assert [int(record["request_id"], 16) for record in read_requests(tmp_path)] == [1, 2, 3]


def test_a_folder_that_is_not_there_is_an_empty_log(tmp_path: Path) -> None:
    assert list(read_requests(tmp_path / "none")) == []
    assert list(read_feedback(tmp_path / "none")) == []


@given(cut=st.integers(1, 10_000))
def test_a_line_cut_anywhere_is_left_out_and_counted(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("log")
    # Beyond ASCII, so that a cut may fall inside a character.
    whole, torn = (json.dumps(line(number, label="\N{OWL} owl"), ensure_ascii=False).encode() for number in (1, 2))
    torn = torn[: 1 + cut % (len(torn) - 1)]
    write(folder / "requests", "2026-11-21.jsonl", whole + b"\n" + torn + b"\n" + whole + b"\n" + torn)
    damaged: list[tuple[str, int]] = []
    records = list(read_requests(folder, lambda name, number: damaged.append((name, number))))
    assert [record["label"] for record in records] == ["\N{OWL} owl"] * 2
    assert damaged == [("2026-11-21.jsonl", 2), ("2026-11-21.jsonl", 4)]


def test_empty_lines_are_no_damage(tmp_path: Path) -> None:
    write(tmp_path / "requests", "a.jsonl", b"\n\n" + json.dumps(line(1)).encode() + b"\n\n")
    damaged: list[int] = []
    assert len(list(read_requests(tmp_path, lambda _, number: damaged.append(number)))) == 1
    assert damaged == []


def test_requests_that_check_an_endpoint_are_no_traffic(tmp_path: Path) -> None:
    lines = [line(1), line(2, domain=CHECK_DOMAIN)]
    write(tmp_path / "requests", "a.jsonl", b"".join(json.dumps(record).encode() + b"\n" for record in lines))
    assert [int(record["request_id"], 16) for record in read_requests(tmp_path)] == [1]


def test_reads_feedback(tmp_path: Path) -> None:
    record = {"request_id": "a" * 32, "label": "owl", "time": "2026-11-21T09:30:00.000000Z"}
    write(tmp_path / "feedback", "a.jsonl", json.dumps(record).encode())
    assert list(read_feedback(tmp_path)) == [record]
    assert FeedbackRecord(**record).label == "owl"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "A" * 32),
        ("request_id", "../" * 8),
        ("time", "2026-11-21 09:30"),
        ("domain", "a\nb"),
        ("raw_sha256", "../x"),
        ("more", 1),
    ],
)
def test_the_schema_refuses(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        RequestRecord(**line(1, **{field: value}))


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone(timedelta(hours=5)))))
def test_times_sort_like_their_text(time: datetime) -> None:
    text = log_time(time)
    assert datetime.fromisoformat(text) == time
    assert log_time(time + timedelta(microseconds=1)) > text
    assert text == log_time(time.astimezone(UTC))
