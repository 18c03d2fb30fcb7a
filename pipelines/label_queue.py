"""What waits in the request log for a label: how much of it there is, and which of it may be labelled next.

Waiting is a content, not a request: raw bytes that were kept, for which no request has a label yet. By a hash of itself each content
belongs to one of two parts:

- the *random part*, a fifth of all. From it labels are drawn in the order of the hash, so that what was drawn is always a
  uniform sample of the distinct inputs that no client has labelled: accuracy on it estimates accuracy on those. What clients label no
  longer waits, so where they label what is easy, or hard, the others are harder, or easier, than all.
- the rest, from which the uncertain and the different are picked (`pipelines.label_choice`). Accuracy on those says nothing about the
  traffic: they were picked for being hard.

Were both drawn from one pool, each pick would take hard inputs out of it, and what is drawn at random later would be too easy. The share
is fixed: were it changed, inputs that had been picked over would become part of the draw.

One pass over any number of lines: of a line stay the 8 bytes of its content's name, and the most uncertain and the first drawn ones
whole. Feedback lines are few, and stay as 8 bytes each in a set.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.label_sets import LabelsPerSample
from pipelines.core.request_log import read_feedback, read_requests
from pipelines.label_choice import uncertainty
from pipelines.short_names import ShortNames, holds, names_in, short_name
from pipelines.split import unit_hash

# Labels of what was picked for being uncertain lie apart from the feedback, by which the monitor judges the error rate.
PICKED_LABELS = "picked"
RANDOM_PART_FRAC = 0.2
_DRAW_SALT = "label-queue"


@dataclass(frozen=True, eq=False)
class Waiting:
    """A content that may be labelled next, as the newest request with it has it.

    Attributes:
        request_id: Of that request.
        raw_sha256: Of the content, also its name in the folder of raw inputs.
        time, bundle, domain, label: As logged; the label is the predicted one.
        probabilities: float32 [c], calibrated.
        embedding: float32 [e], compact.
        uncertainty: In [0, 1], see `label_choice.uncertainty`.
        draw_position: In [0, 1), of the content's hash.
    """

    request_id: str
    raw_sha256: str
    time: str
    bundle: str
    domain: str
    label: str
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    uncertainty: float
    draw_position: float


@dataclass(frozen=True)
class LabelQueue:
    """What waits.

    Attributes:
        n_waiting: Contents that wait, whichever bundle answered.
        n_of_bundle: Those among them that the bundle in question answered and that are not left out.
        drawn: The first of the random part, in the order in which they are drawn.
        uncertain: The most uncertain of the rest, the most uncertain first.
    """

    n_waiting: int
    n_of_bundle: int
    drawn: tuple[Waiting, ...]
    uncertain: tuple[Waiting, ...]


@dataclass(frozen=True)
class QueueRule:
    """What is wanted of the queue.

    Attributes:
        bundle: Whose answers are compared.
        n_labels: Probabilities that each of its answers has.
        labels_per_sample: Of the project.
        n_drawn: Of the random part.
        n_uncertain: Of the rest.
    """

    bundle: str
    n_labels: int
    labels_per_sample: LabelsPerSample
    n_drawn: int
    n_uncertain: int


def label_queue_size(log_dir: Path, raw_dir: Path) -> int:
    """How many distinct inputs wait for a label: their raw bytes are there, and no request with them has one.

    Args:
        log_dir: With `requests/` and `feedback/`.
        raw_dir: Of the raw inputs that were kept; a folder that is not there yet keeps none.
    """
    labelled = labelled_requests(log_dir)
    contents, with_label = ShortNames(), ShortNames()
    for line in read_requests(log_dir):
        if line["raw_sha256"] is not None:
            (with_label if short_name(line["request_id"]) in labelled else contents).add(short_name(line["raw_sha256"]))
    return len(_waiting(contents, with_label, names_in(raw_dir)))


def read_queue(
    log_dir: Path, raw_dir: Path, rule: QueueRule, left_out: Collection[str] = (), requests: Iterable[Mapping[str, Any]] | None = None
) -> LabelQueue:
    """Reads the whole log once.

    Args:
        log_dir: With `requests/` and `feedback/`.
        raw_dir: Of the raw inputs that were kept.
        rule: What is wanted.
        left_out: sha256 of contents that are being labelled already; they wait, and are not offered.
        requests: Lines to read instead of those in `log_dir`.
    """
    labelled, kept = labelled_requests(log_dir), names_in(raw_dir)
    unwanted = {short_name(name) for name in left_out}
    contents, of_bundle, with_label = ShortNames(), ShortNames(), ShortNames()
    # So many more than wanted, as so many can still turn out to have a label.
    spare = len(labelled)
    drawn, uncertain = _Best(rule.n_drawn + spare), _Best(rule.n_uncertain + spare)
    for line in read_requests(log_dir) if requests is None else requests:
        if line["raw_sha256"] is None:
            continue
        name = short_name(line["raw_sha256"])
        if short_name(line["request_id"]) in labelled:
            with_label.add(name)
            continue
        contents.add(name)
        if line["bundle"] != rule.bundle or name in unwanted:
            continue
        of_bundle.add(name)
        if not holds(kept, name) or len(line["probabilities"]) != rule.n_labels:
            continue
        position = unit_hash(line["raw_sha256"], _DRAW_SALT)
        if position < RANDOM_PART_FRAC:
            drawn.offer(position, line, rule, position)
        else:
            uncertain.offer(-uncertainty(line["probabilities"], rule.labels_per_sample), line, rule, position)
    waiting = _waiting(contents, with_label, kept)
    offered = _waiting(of_bundle, with_label, kept)
    return LabelQueue(len(waiting), len(offered), drawn.first(rule.n_drawn, offered), uncertain.first(rule.n_uncertain, offered))


def labelled_requests(log_dir: Path) -> frozenset[int]:
    """Short names of the requests that have a label, from clients or from the queue."""
    return frozenset(short_name(line["request_id"]) for line in read_labels(log_dir))


def read_labels(log_dir: Path) -> Iterator[dict[str, Any]]:
    """Lines of the feedback log, and of the labels that were picked for."""
    for folder in (log_dir, log_dir / PICKED_LABELS):
        yield from read_feedback(folder)


class _Best:
    """Of all that is offered those with the smallest order, each content once."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._worst_first: list[tuple[float, int]] = []
        self._found: dict[int, Waiting] = {}

    def offer(self, order: float, line: Mapping[str, Any], rule: QueueRule, position: float) -> None:
        name = short_name(line["raw_sha256"])
        known = self._found.get(name)
        if known is not None:
            if line["time"] > known.time:
                self._found[name] = _as_waiting(line, rule, position)
            return
        entry = (-order, -name)
        if len(self._worst_first) < self._n_kept:
            heapq.heappush(self._worst_first, entry)
        elif self._n_kept and entry > self._worst_first[0]:
            del self._found[-heapq.heapreplace(self._worst_first, entry)[1]]
        else:
            return
        self._found[name] = _as_waiting(line, rule, position)

    def first(self, n: int, allowed: NDArray[np.uint64]) -> tuple[Waiting, ...]:
        names = [-name for _, name in sorted(self._worst_first, reverse=True)]
        return tuple(self._found[name] for name in names if holds(allowed, name))[:n]


def _as_waiting(line: Mapping[str, Any], rule: QueueRule, position: float) -> Waiting:
    return Waiting(
        request_id=line["request_id"],
        raw_sha256=line["raw_sha256"],
        time=line["time"],
        bundle=line["bundle"],
        domain=line["domain"],
        label=line["label"],
        probabilities=np.asarray(line["probabilities"], dtype=np.float32),
        embedding=np.asarray(line["embedding"], dtype=np.float32),
        uncertainty=uncertainty(line["probabilities"], rule.labels_per_sample),
        draw_position=position,
    )


def _waiting(contents: ShortNames, with_label: ShortNames, kept: NDArray[np.uint64]) -> NDArray[np.uint64]:
    waiting = np.setdiff1d(contents.distinct(), with_label.distinct(), assume_unique=True)
    return np.intersect1d(waiting, kept, assume_unique=True)
