from __future__ import annotations

from typing import Any

import pytest

from pipelines.feedback import NewSample, labelled_samples

LABELS = ("ant", "bee")


def request(name: str, raw: str | None = None, domain: str = "lab", time: str = "2026-11-20T10:00:00.000000Z") -> dict[str, Any]:
    return {"request_id": name, "time": time, "domain": domain, "raw_sha256": raw, "label": "ant", "probabilities": (0.9, 0.1)}


def answer(name: str, label: str, second: int = 0) -> dict[str, Any]:
    return {"request_id": name, "label": label, "time": f"2026-11-21T10:00:{second:02d}.000000Z"}


def problems(requests: list[dict[str, Any]], feedback: list[dict[str, Any]]) -> list[tuple[str, str]]:
    samples, findings = labelled_samples(requests, feedback, LABELS)
    assert samples == []
    return [(item.where, item.problem) for item in findings]


def test_labelled_requests_become_samples() -> None:
    requests = [request("r1", "a" * 64), request("r2", "b" * 64, "default", "2026-11-19T23:59:59.999999Z"), request("r3", "c" * 64)]
    samples, findings = labelled_samples(iter(requests), iter([answer("r2", "bee"), answer("r1", "ant")]), LABELS)
    assert samples == [NewSample("a" * 64, "ant", "lab", "2026-11-20"), NewSample("b" * 64, "bee", "default", "2026-11-19")]
    assert findings == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_latest_answer_counts(order: tuple[int, int]) -> None:
    answers = [answer("r1", "ant", 1), answer("r1", "bee", 2)]
    samples, _ = labelled_samples([request("r1", "a" * 64)], [answers[k] for k in order], LABELS)
    assert [sample.label for sample in samples] == ["bee"]


def test_of_two_answers_at_once_the_later_line_counts() -> None:
    samples, _ = labelled_samples([request("r1", "a" * 64)], [answer("r1", "ant"), answer("r1", "bee")], LABELS)
    assert [sample.label for sample in samples] == ["bee"]


def test_times_with_other_offsets_are_compared_as_moments() -> None:
    early = {"request_id": "r1", "label": "ant", "time": "2026-11-21T11:30:00+02:00"}
    late = {"request_id": "r1", "label": "bee", "time": "2026-11-21T10:00:00Z"}
    samples, _ = labelled_samples([request("r1", "a" * 64)], [late, early], LABELS)
    assert [sample.label for sample in samples] == ["bee"]


def test_what_cannot_be_used_is_named() -> None:
    requests = [request("r1", "a" * 64), request("r2", None), request("r3", "c" * 64)]
    feedback = [answer("r1", "wasp"), answer("r2", "ant"), answer("zz", "ant"), answer("aa", "ant")]
    assert problems(requests, feedback) == [
        ("request aa", "got feedback, but is not in the request log"),
        ("request zz", "got feedback, but is not in the request log"),
        ("request r1", "the label 'wasp' is not in the conf file's labels"),
        ("request r2", "its raw bytes were not kept (serving.sample_raw_frac in the conf file)"),
    ]


def test_the_same_bytes_make_one_sample() -> None:
    requests = [request("r1", "a" * 64), request("r2", "a" * 64)]
    samples, findings = labelled_samples(requests, [answer("r1", "ant"), answer("r2", "ant")], LABELS)
    assert (len(samples), findings) == (1, [])


def test_the_same_bytes_under_two_labels_make_none() -> None:
    assert problems([request("r1", "a" * 64), request("r2", "a" * 64)], [answer("r1", "ant"), answer("r2", "bee")]) == [
        ("request r1", "labelled 'ant', other requests with the same bytes otherwise"),
        ("request r2", "labelled 'bee', other requests with the same bytes otherwise"),
    ]


def test_nothing_gives_nothing() -> None:
    assert labelled_samples([], [], LABELS) == ([], [])


def test_sets_of_labels_take_the_order_of_today() -> None:
    """The log has the order of the bundle that served then; two ways to write a set are no contradiction."""
    requests = [request("r1", "a" * 64), request("r2", "a" * 64), request("r3", "b" * 64), request("r4", "c" * 64)]
    answers = [answer("r1", "bee|ant"), answer("r2", "ant|bee"), answer("r3", ""), answer("r4", "ant|wasp")]
    samples, findings = labelled_samples(requests, answers, LABELS, "many")
    assert [(sample.sha256[0], sample.label) for sample in samples] == [("a", "ant|bee"), ("b", "")]
    assert [(item.where, item.problem) for item in findings] == [("request r4", "the label 'wasp' is not in the conf file's labels")]
