"""The log's writer: what it writes is what its reader wants, whole, wherever it goes wrong."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.predict import Predictions
from pipelines.core.request_log import RequestRecord, read_feedback, read_requests
from serving.request_journal import RequestJournal, is_sampled, rounded
from serving.schemas import Feedback


def answers(n: int, label: str = "owl") -> Predictions:
    return Predictions(
        bundle="0123456789abcdef",
        labels=(label,) * n,
        probabilities=np.full((n, 2), 1 / 3),
        embeddings=np.full((n, 3), 2 / 3, np.float32),
        statistics=np.ones((n, 6), np.float32),
    )


def log(journal: RequestJournal, n: int = 1, **more: Any) -> list[str]:
    ids = [uuid.uuid4().hex for _ in range(n)]
    journal.log_predictions(ids, answers(n, **more), "default", [identity.encode() for identity in ids])
    return ids


def test_lines_are_whole_records(tmp_path: Path) -> None:
    ids = log(RequestJournal(tmp_path, None, 0), 3)
    lines = next((tmp_path / "requests").glob("*.jsonl")).read_text().splitlines()
    assert [RequestRecord.model_validate_json(line).request_id for line in lines] == ids
    assert json.loads(lines[0])["probabilities"] == [0.333333, 0.333333]
    assert json.loads(lines[0])["embedding"] == [0.66667] * 3
    columns = json.loads((tmp_path / "requests" / "schema.json").read_bytes())
    assert {column["name"] for column in columns} == set(RequestRecord.model_fields)


def test_requests_and_feedback_do_not_mix(tmp_path: Path) -> None:
    journal = RequestJournal(tmp_path, None, 0)
    first = log(journal)
    journal.log_feedback([Feedback(id=first[0], label="cat")])
    second = log(journal)
    assert [record["request_id"] for record in read_requests(tmp_path)] == first + second
    assert [record["request_id"] for record in read_feedback(tmp_path)] == first


@pytest.mark.filterwarnings("ignore:pythonjsonlogger.jsonlogger has been moved:DeprecationWarning")
def test_why_the_monitor_is_not_the_default_one(tmp_path: Path) -> None:
    """BentoML's own sends the lines of the first monitor to the file of the second; if it stops doing so, ours can go."""
    import bentoml

    def log_all() -> None:
        for name, value in (("one", 1), ("two", 2), ("one", 3)):
            with bentoml.monitor(
                f"{tmp_path.name}-{name}", monitor_class="default", monitor_options={"log_path": str(tmp_path)}
            ) as monitor:
                monitor.log(value, name="value", role="feature", data_type="numerical")

    contextvars.Context().run(log_all)
    lines = {path.parts[-3]: path.read_text().splitlines() for path in tmp_path.rglob("data.*.log")}
    assert [json.loads(line)["value"] for line in lines[f"{tmp_path.name}-two"]] == [2, 3]
    for name in ("bentoml_monitor_data", "bentoml_monitor_schema"):
        for handler in logging.getLogger(name).handlers:
            handler.close()


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    journals = [RequestJournal(tmp_path, None, 0) for _ in range(2)]
    written: list[str] = []

    def write(journal: RequestJournal) -> None:
        for _ in range(25):
            written.extend(log(journal, 3))

    threads = [threading.Thread(target=write, args=(journals[index % 2],)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    damaged: list[int] = []
    read = [record["request_id"] for record in read_requests(tmp_path, lambda _, number: damaged.append(number))]
    assert sorted(read) == sorted(written)
    assert (len(read), damaged) == (450, [])


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    file = folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
    file.write_bytes(b'{"request_id": "tor')
    ids = log(RequestJournal(tmp_path, None, 0), 2)
    assert [record["request_id"] for record in read_requests(tmp_path)] == ids


def test_a_full_disk_costs_the_line_not_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    file = folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
    file.symlink_to("/dev/full")
    journal = RequestJournal(tmp_path, None, 0)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            log(journal)
    assert journal.n_failures == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the requests log cannot be written (No space left on device); requests are answered all the same"
    ]
    # And in the same thread it works again as soon as there is room.
    file.unlink()
    ids = log(journal)
    assert [record["request_id"] for record in read_requests(tmp_path)] == ids


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    journal = RequestJournal(tmp_path, None, 0)
    log(journal)
    next((tmp_path / "requests").glob("*.jsonl")).unlink()
    ids = log(journal)
    assert [record["request_id"] for record in read_requests(tmp_path)] == ids


def test_each_day_has_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import serving.json_lines_monitor as module

    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2026, 1, cls.day, 23, 59, tzinfo=tz)

    monkeypatch.setattr(module, "datetime", Clock)
    journal = RequestJournal(tmp_path, None, 0)
    log(journal)
    Clock.day = 2
    log(journal)
    assert sorted(path.name for path in (tmp_path / "requests").glob("*.jsonl")) == ["2026-01-01.jsonl", "2026-01-02.jsonl"]
    assert len(list(read_requests(tmp_path))) == 2


def test_drawn_raw_inputs_lie_under_their_digest(tmp_path: Path) -> None:
    journal = RequestJournal(tmp_path / "log", tmp_path / "raw", 0.5)
    ids = log(journal, 200)
    records = {record["request_id"]: record["raw_sha256"] for record in read_requests(tmp_path / "log")}
    for identity in ids:
        assert (records[identity] is not None) == is_sampled(identity, 0.5)
        if records[identity]:
            assert (tmp_path / "raw" / records[identity]).read_bytes() == identity.encode()
    kept = sorted(path.name for path in (tmp_path / "raw").iterdir())
    assert kept == sorted(digest for digest in records.values() if digest)
    assert 60 < len(kept) < 140


def test_sampling_is_even_steady_and_off_at_zero() -> None:
    ids = [f"{number:032x}" for number in range(2_000)]
    n_drawn = sum(is_sampled(identity, 0.1) for identity in ids)
    assert abs(n_drawn - 200) < 4 * (2_000 * 0.1 * 0.9) ** 0.5  # four standard deviations of a binomial draw
    assert not any(is_sampled(identity, 0.0) for identity in ids)
    assert all(is_sampled(identity, 1.0) for identity in ids)
    # Who is drawn at a small share is drawn at a larger one.
    assert all(is_sampled(identity, 0.2) for identity in ids if is_sampled(identity, 0.1))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20))
def test_rounding_keeps_the_digits(values: list[float]) -> None:
    array = np.array([values])
    tiny = np.finfo(np.float64).tiny
    np.testing.assert_allclose(rounded(array, 5), array, rtol=0.5e-4, atol=tiny)
