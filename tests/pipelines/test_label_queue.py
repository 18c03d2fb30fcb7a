"""What waits is what sets say; what is drawn at random does not depend on what was picked before; memory stays flat."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.label_choice import uncertainty
from pipelines.label_queue import PICKED_LABELS, RANDOM_PART_FRAC, LabelQueue, QueueRule, label_queue_size, read_queue
from pipelines.split import unit_hash

BUNDLE, OTHER = "a" * 16, "b" * 16
RULE = QueueRule(BUNDLE, 3, "one", n_drawn=1_000, n_uncertain=1_000)


def content_name(number: int) -> str:
    return hashlib.sha256(f"content {number}".encode()).hexdigest()


def request_name(number: int) -> str:
    return hashlib.sha256(f"request {number}".encode()).hexdigest()[:32]


def line_of(number: int, content: int | None, bundle: str = BUNDLE) -> dict[str, Any]:
    rng = np.random.default_rng(0 if content is None else content)
    return {
        "request_id": request_name(number),
        "time": f"2026-11-21T09:30:00.{number:06d}Z",
        "bundle": bundle,
        "label": "ant",
        "probabilities": tuple(rng.dirichlet(np.ones(3)).tolist()),
        "embedding": tuple(rng.normal(size=4).tolist()),
        "statistics": (0.5,) * 6,
        "domain": "default",
        "raw_sha256": None if content is None else content_name(content),
    }


class Log:
    """Logs and raw inputs in a folder."""

    def __init__(self, root: Path) -> None:
        self.log, self.raw = root / "log", root / "raw"
        for folder in (self.log / "requests", self.log / "feedback", self.log / PICKED_LABELS / "feedback", self.raw):
            folder.mkdir(parents=True)

    def request(self, number: int, content: int | None, bundle: str = BUNDLE, kept: bool = True) -> None:
        self._write(self.log / "requests", line_of(number, content, bundle))
        if content is not None and kept:
            (self.raw / content_name(content)).touch()

    def label(self, number: int, picked: bool = False) -> None:
        folder = self.log / PICKED_LABELS if picked else self.log
        self._write(folder / "feedback", {"request_id": request_name(number), "label": "ant", "time": "2026-11-22T09:30:00.000000Z"})

    def queue(self, rule: QueueRule = RULE, left_out: tuple[str, ...] = ()) -> LabelQueue:
        return read_queue(self.log, self.raw, rule, left_out)

    @property
    def size(self) -> int:
        return label_queue_size(self.log, self.raw)

    @staticmethod
    def _write(folder: Path, content: dict[str, Any]) -> None:
        with (folder / "2026-11-21.jsonl").open("a") as file:
            file.write(json.dumps(content) + "\n")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def offered(queue: LabelQueue) -> set[str]:
    return {one.raw_sha256 for one in (*queue.drawn, *queue.uncertain)}


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert label_queue_size(tmp_path / "log", tmp_path / "raw") == 0
    assert read_queue(tmp_path / "log", tmp_path / "raw", RULE) == LabelQueue(0, 0, (), ())


def test_waiting_is_a_content_that_was_kept_and_has_no_label(log: Log) -> None:
    log.request(0, 0)
    log.request(1, None)
    log.request(2, 2, kept=False)
    log.request(3, 3)
    log.label(3)
    log.request(4, 4)
    log.label(4, picked=True)
    log.request(5, 3)  # the bytes of a labelled request
    log.request(6, 0)  # the same bytes once more
    log.request(7, 7, bundle=OTHER)
    queue = log.queue()
    assert log.size == queue.n_waiting == 2
    assert queue.n_of_bundle == 1
    assert offered(queue) == {content_name(0)}
    assert [one.request_id for one in (*queue.drawn, *queue.uncertain)] == [request_name(6)]


def test_a_label_that_comes_later_in_the_log_counts_too(log: Log) -> None:
    log.request(0, 0)
    log.request(1, 0)
    log.label(1)
    assert (log.size, offered(log.queue())) == (0, set())


def test_what_is_with_people_waits_and_is_not_offered(log: Log) -> None:
    for number in range(30):
        log.request(number, number)
    out = tuple(content_name(number) for number in range(10))
    queue = log.queue(left_out=out)
    assert queue.n_waiting == 30
    assert offered(queue) == {content_name(number) for number in range(10, 30)}


def test_torn_lines_and_checks_are_passed_over(log: Log) -> None:
    log.request(0, 0)
    with (log.log / "requests" / "2026-11-21.jsonl").open("a") as file:
        file.write(json.dumps({**line_of(1, 1), "domain": "regraft:check"}) + "\n" + json.dumps(line_of(2, 2))[:60])
    (log.raw / content_name(1)).touch()
    for name in (".unfinished", "notes.txt", "0"):
        (log.raw / name).touch()
    assert log.size == 1


def test_answers_of_another_length_are_not_offered(log: Log) -> None:
    log.request(0, 0)
    assert offered(log.queue(replace(RULE, n_labels=4))) == set()


@pytest.mark.parametrize("n_uncertain", [0, 1, 5, 20])
def test_the_most_uncertain_come_first(log: Log, n_uncertain: int) -> None:
    for number in range(40):
        log.request(number, number)
    rest = [number for number in range(40) if unit_hash(content_name(number), "label-queue") >= RANDOM_PART_FRAC]
    by_score = sorted(rest, key=lambda number: -uncertainty(line_of(number, number)["probabilities"], "one"))
    queue = log.queue(replace(RULE, n_uncertain=n_uncertain))
    assert [one.raw_sha256 for one in queue.uncertain] == [content_name(number) for number in by_score[:n_uncertain]]


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 25), st.booleans(), st.booleans()), max_size=60),
    labelled=st.sets(st.integers(0, 59)),
    n_drawn=st.integers(0, 8),
    n_uncertain=st.integers(0, 8),
)
def test_the_same_as_with_sets(
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[tuple[int, bool, bool]],
    labelled: set[int],
    n_drawn: int,
    n_uncertain: int,
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    for number, (content, of_bundle, kept) in enumerate(requests):
        log.request(number, content, BUNDLE if of_bundle else OTHER, kept)
        if number in labelled:
            log.label(number, picked=content % 2 == 0)
    kept_contents = {content for content, _, kept in requests if kept}
    with_label = {content for number, (content, _, _) in enumerate(requests) if number in labelled}
    waiting = kept_contents - with_label
    of_bundle = waiting & {content for content, is_of_bundle, _ in requests if is_of_bundle}
    position = {content: unit_hash(content_name(content), "label-queue") for content in of_bundle}
    drawn = sorted((content for content in of_bundle if position[content] < 0.2), key=lambda content: position[content])
    rest = sorted(
        (content for content in of_bundle if position[content] >= 0.2),
        key=lambda content: -uncertainty(line_of(0, content)["probabilities"], "one"),
    )
    queue = log.queue(replace(RULE, n_drawn=n_drawn, n_uncertain=n_uncertain))
    assert (queue.n_waiting, queue.n_of_bundle, log.size) == (len(waiting), len(of_bundle), len(waiting))
    assert [one.raw_sha256 for one in queue.drawn] == [content_name(content) for content in drawn[:n_drawn]]
    assert [one.raw_sha256 for one in queue.uncertain] == [content_name(content) for content in rest[:n_uncertain]]


def test_the_draw_does_not_depend_on_what_was_picked(log: Log) -> None:
    """Five rounds in which the most uncertain get their labels: what is drawn is what would have been drawn without them."""
    for number in range(300):
        log.request(number, number)
    before = log.queue()
    numbers = {content_name(number): number for number in range(300)}
    drawn: list[str] = []
    for _ in range(5):
        queue = log.queue(replace(RULE, n_drawn=5, n_uncertain=20))
        drawn += [one.raw_sha256 for one in queue.drawn]
        for one in (*queue.drawn, *queue.uncertain):
            log.label(numbers[one.raw_sha256], picked=one in queue.uncertain)
    assert drawn == [one.raw_sha256 for one in before.drawn[:25]]


def test_one_pool_would_bias_the_draw_and_two_parts_do_not() -> None:
    """1,000 logs of 500 inputs that are right with chance 1 - uncertainty / 2; 100 uncertain ones are labelled first, then 50 are drawn.

    Of one pool the draw is too easy; of the part that nobody picks from, its mean is the truth within 4 standard errors.
    """
    rng = np.random.default_rng(0)
    uncertain = rng.random((1_000, 500))
    right = rng.random((1_000, 500)) < 1 - uncertain / 2
    truth = right.mean()
    position = rng.random((1_000, 500))
    is_part = position < RANDOM_PART_FRAC
    pooled = np.where(uncertain > np.sort(uncertain, axis=1)[:, [-101]], np.inf, position)
    two_parts = np.where(is_part, position, np.inf)
    estimates = {
        name: np.take_along_axis(right, order.argsort(axis=1)[:, :50], axis=1).mean(axis=1)
        for name, order in (("pool", pooled), ("parts", two_parts))
    }
    error = estimates["parts"].std() / np.sqrt(1_000)
    assert abs(estimates["parts"].mean() - truth) < 4 * error
    assert estimates["pool"].mean() - truth > 0.05


def test_the_random_part_is_a_fifth() -> None:
    n_part = sum(unit_hash(content_name(number), "label-queue") < RANDOM_PART_FRAC for number in range(5_000))
    assert abs(n_part - 1_000) < 4 * np.sqrt(5_000 * 0.2 * 0.8)


@pytest.mark.slow
def test_memory_stays_flat(log: Log) -> None:
    """Ten times as many lines of inputs that were kept cost 8 bytes a line and a set, not the lines."""
    rule = replace(RULE, n_drawn=50, n_uncertain=500)

    def lines(n: int) -> Iterator[dict[str, Any]]:
        template = line_of(0, 0)
        for number in range(n):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            yield {**template, "request_id": digest[:32], "raw_sha256": digest}

    def peak_mib(n: int) -> float:
        tracemalloc.start()
        read_queue(log.log, log.raw, rule, requests=lines(n))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak / 2**20

    assert peak_mib(200_000) - peak_mib(20_000) < 20
