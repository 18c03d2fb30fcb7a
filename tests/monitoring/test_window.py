from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.digits_traffic import BUNDLE, LABELS, DigitsTraffic, as_lines
from monitoring.window import Window
from pipelines.core.request_log import FEEDBACK, REQUESTS, FeedbackRecord, RequestRecord, log_time, read_feedback, read_requests

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def logs(digits: DigitsTraffic) -> tuple[Lines, Lines]:
    return as_lines(digits.draw(0, 60)[0])


def read(requests: Any, feedback: Any = (), latest: int = 1_000) -> Window:
    return Window.from_lines(requests, feedback, BUNDLE, LABELS, latest)


def same(first: Window, second: Window) -> bool:
    arrays = ("embeddings", "probabilities", "statistics", "predicted_indices")
    fields = ("request_ids", "times", "domains", "true_labels", "n_malformed")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays) and all(
        getattr(first, name) == getattr(second, name) for name in fields
    )


def test_lines_become_the_arrays_that_were_logged(digits: DigitsTraffic, logs: tuple[Lines, Lines]) -> None:
    original, window = digits.draw(0, 60)[0], read(*logs)
    assert window.n_requests == 60
    np.testing.assert_allclose(window.embeddings, original.embeddings, rtol=1e-4)
    np.testing.assert_allclose(window.probabilities, original.probabilities, rtol=1e-5)
    np.testing.assert_allclose(window.statistics, original.statistics, rtol=1e-4)
    np.testing.assert_array_equal(window.predicted_indices, original.predicted_indices)
    assert (window.times, window.true_labels, window.domains) == (original.times, original.true_labels, original.domains)
    assert (window.n_malformed, window.problems) == (0, ())


def test_lines_of_the_endpoints_log_files_are_read(digits: DigitsTraffic, logs: tuple[Lines, Lines], tmp_path: Path) -> None:
    def as_logged(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "request_id": f"{int(line['request_id'][1:]):032x}", "time": log_time(datetime.fromisoformat(line["time"]))}

    for kind, record, lines in ((REQUESTS, RequestRecord, logs[0]), (FEEDBACK, FeedbackRecord, logs[1])):
        (tmp_path / kind).mkdir()
        texts = [record.model_validate(as_logged(line)).model_dump_json() for line in lines]
        (tmp_path / kind / "2026-01-01.jsonl").write_text("\n".join(texts) + "\n")
    window = read(read_requests(tmp_path), read_feedback(tmp_path))
    assert (window.n_requests, window.n_malformed) == (60, 0)
    assert window.true_labels == digits.draw(0, 60)[0].true_labels


def test_the_order_of_lines_does_not_matter(logs: tuple[Lines, Lines]) -> None:
    requests, feedback = copy.deepcopy(logs)
    random.Random(0).shuffle(requests)
    random.Random(1).shuffle(feedback)
    assert same(read(requests, feedback), read(*logs))


def test_only_the_latest_of_this_bundle(logs: tuple[Lines, Lines]) -> None:
    requests, _ = copy.deepcopy(logs)
    for line in requests[50:]:
        line["bundle"] = "another"
    window = read(requests, latest=20)
    assert window.request_ids == tuple(f"r{number:05d}" for number in range(30, 50))
    assert window.true_labels == (None,) * 20


def test_times_of_other_zones_and_without_zone_are_utc(logs: tuple[Lines, Lines]) -> None:
    requests = copy.deepcopy(logs[0][:2])
    requests[0]["time"] = "2026-03-01T12:00:00+02:00"
    requests[1]["time"] = "2026-03-01T09:59:00"
    window = read(requests)
    assert window.times == (datetime(2026, 3, 1, 9, 59, tzinfo=UTC), datetime(2026, 3, 1, 10, 0, tzinfo=UTC))


PLANTED = [
    ({"label": "eleven"}, "label 'eleven' is not one of the bundle's"),
    ({"probabilities": [0.5, 0.5]}, "2 probabilities that sum to 1"),
    ({"probabilities": [0.2] * 10}, "10 probabilities that sum to 2"),
    ({"probabilities": [float("nan")] + [0.1] * 9}, "probabilities.0: Input should be a finite number"),
    ({"embedding": [1.0, 2.0]}, "embedding and statistics of (2, 6) values; newer lines have (16, 6)"),
    ({"embedding": []}, "embedding: Tuple should have at least 1 item"),
    ({"statistics": None}, "statistics: Input should be a valid tuple"),
    ({"time": "yesterday"}, "time 'yesterday' is no ISO 8601 time"),
    ({"time": None}, "time None is no ISO 8601 time"),
    ({"request_id": ""}, "request_id: String should have at least 1 character"),
    ({"request_id": "r00005"}, "the request id is repeated"),
]


@pytest.mark.parametrize(("change", "problem"), PLANTED, ids=[problem[:30] for _, problem in PLANTED])
def test_a_malformed_line_is_left_out_counted_and_described(logs: tuple[Lines, Lines], change: dict[str, Any], problem: str) -> None:
    requests = copy.deepcopy(logs[0])
    requests[3].update(change)
    window = read(requests)
    assert (window.n_requests, window.n_malformed) == (59, 1)
    assert window.problems[0].problem.startswith(problem)


def test_a_line_without_bundle_and_one_that_is_no_mapping(logs: tuple[Lines, Lines]) -> None:
    window = read([*logs[0], {"request_id": "x"}, "text", None])
    assert (window.n_requests, window.n_malformed) == (60, 3)
    assert [finding.where for finding in window.problems] == ["x", "a line that is no mapping", "a line that is no mapping"]


def test_many_problems_are_counted_but_not_all_listed(logs: tuple[Lines, Lines]) -> None:
    window = read([{**line, "label": "?"} for line in logs[0]])
    assert (window.n_requests, window.n_malformed, len(window.problems)) == (0, 60, 20)


def test_malformed_lines_do_not_use_up_the_window(logs: tuple[Lines, Lines]) -> None:
    requests = copy.deepcopy(logs[0])
    requests[-1]["label"] = "?"
    assert read(requests, latest=5).request_ids == tuple(f"r{number:05d}" for number in range(54, 59))


def test_the_latest_feedback_counts_and_unknown_labels_are_kept(logs: tuple[Lines, Lines]) -> None:
    early, late = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
    feedback = [
        {"request_id": "r00000", "label": "7", "time": late},
        {"request_id": "r00000", "label": "1", "time": early},
        {"request_id": "r00001", "label": "a letter", "time": early},
        {"request_id": "of another window", "label": "1", "time": early},
        {"request_id": "r00002", "label": 3, "time": early},
        {"request_id": "r00003", "label": "3"},
    ]
    window = read(logs[0], feedback)
    assert window.true_labels[:4] == ("7", "a letter", None, None)
    assert window.n_malformed == 2
    assert {finding.problem for finding in window.problems} == {"feedback without request_id, label or time"}


def test_an_empty_log() -> None:
    window = read([])
    assert (window.n_requests, window.n_malformed, window.confidences.shape) == (0, 0, (0,))
