"""Which requests moved most, and which of them belong together: perhaps a class that the bundle does not know.

Letters for shapes: m requests, e embedding size, g requests of a group.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from monitoring.reference import Reference
from monitoring.signals.novelty import NoveltyScores, novelty_scores
from monitoring.signals.run import OUT_OF_DISTRIBUTION, Strictness
from monitoring.window import Window

N_SHIFTED = 12
_N_EXAMPLES = 4
_MIN_GROUP = 5
_MIN_GROUP_FRAC = 0.02
_MAX_GROUPS = 5
# All pairs are looked at.
_MAX_CLUSTERED = 1_000


class ShiftedRequest(BaseModel):
    """A request that lies far from the reference.

    Attributes:
        raw_sha256: Name of its kept raw bytes; None where none were kept.
        distance: To the nearest reference embeddings, in units of the reference's own median distance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    answer: str
    domain: str
    raw_sha256: str | None
    distance: Annotated[float, Field(ge=0)]


class NovelGroup(BaseModel):
    """Far requests that lie as close together as the reference does, as those of a new class would.

    Attributes:
        n_requests: Of the window.
        answers: What they were answered, the commonest first, with counts.
        mean_confidence: Of these answers.
        distance: Median, as in `ShiftedRequest`.
        examples: Those in the middle of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_requests: Annotated[int, Field(ge=_MIN_GROUP)]
    answers: tuple[tuple[str, int], ...]
    mean_confidence: Annotated[float, Field(ge=0, le=1)]
    distance: Annotated[float, Field(ge=0)]
    examples: tuple[ShiftedRequest, ...]


class Novelty(BaseModel):
    """Descriptions, no tests: the test is the signal `out_of_distribution`.

    Attributes:
        most_shifted: The requests that lie furthest, at most 12.
        groups: The largest first, at most 5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    most_shifted: tuple[ShiftedRequest, ...]
    groups: tuple[NovelGroup, ...]


def describe_novelty(window: Window, reference: Reference, strictness: Strictness) -> Novelty:
    """Looks for the most shifted requests, and for groups among those that lie further than 95 % of the reference.

    A group is as dense as the reference is: its requests are joined over distances that are usual there (DBSCAN, Ester et al. 1996, with
    the reference's median distance to its 5 nearest as the radius). Requests that are far in all directions form none.

    Args:
        window: At least one request.
        reference: Of the same bundle; at least two samples.
        strictness: Of the signals, so that who is far is the same here as there.
    """
    scores = novelty_scores(reference.embeddings, window.embeddings, strictness.generator(OUT_OF_DISTRIBUTION))
    rows = _Rows(window, scores)
    furthest = np.argsort(-scores.window, kind="stable")
    far = furthest[scores.far[furthest]][:_MAX_CLUSTERED]
    groups = [rows.group(members) for members in _groups(window.embeddings, far, scores)]
    largest = sorted(groups, key=lambda group: (-group.n_requests, group.examples[0].request_id))[:_MAX_GROUPS]
    return Novelty(most_shifted=tuple(rows.request(place) for place in furthest[:N_SHIFTED].tolist()), groups=tuple(largest))


def _groups(embeddings: NDArray[np.float64], far: NDArray[np.int64], scores: NoveltyScores) -> list[NDArray[np.int64]]:
    """Places [g] of each group's requests, the middle ones first."""
    from sklearn.cluster import DBSCAN

    least = max(_MIN_GROUP, round(_MIN_GROUP_FRAC * len(embeddings)))
    usual = float(np.median(scores.reference))
    if len(far) < least or usual <= 0:
        return []
    names = DBSCAN(eps=usual, min_samples=_MIN_GROUP, algorithm="brute").fit_predict(embeddings[far])
    found = []
    for name in sorted(set(names.tolist()) - {-1}):
        members = far[names == name]
        to_centre = np.linalg.norm(embeddings[members] - embeddings[members].mean(axis=0), axis=1)
        found.append(members[np.argsort(to_centre, kind="stable")])
    return [members for members in found if len(members) >= least]


class _Rows:
    """Requests of a window as they are shown."""

    def __init__(self, window: Window, scores: NoveltyScores) -> None:
        self._window, self._answers = window, window.answers
        self._distances = scores.window / (float(np.median(scores.reference)) or 1.0)

    def request(self, place: int) -> ShiftedRequest:
        return ShiftedRequest(
            request_id=self._window.request_ids[place],
            answer=self._answers[place],
            domain=self._window.domains[place],
            raw_sha256=self._window.raw_names[place] if self._window.raw_names else None,
            distance=float(self._distances[place]),
        )

    def group(self, members: NDArray[np.int64]) -> NovelGroup:
        counts = Counter(self._answers[place] for place in members.tolist())
        return NovelGroup(
            n_requests=len(members),
            answers=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_N_EXAMPLES]),
            mean_confidence=float(self._window.confidences[members].mean()),
            distance=float(np.median(self._distances[members])),
            examples=tuple(self.request(place) for place in members[:_N_EXAMPLES].tolist()),
        )
