"""A window: the latest requests of one bundle, as arrays, with the labels that were fed back for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitoring.log_lines import AllowedAnswers, LabelledAnswer, Problems, latest_feedback, newest_valid_lines, read_once
from pipelines.core.errors import Finding
from pipelines.core.heads import confidence
from pipelines.core.label_sets import canonical_text, members_of, set_texts

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of the request log that is tested against the reference, oldest request first.

    Letters for shapes: m requests, e compact embedding, k labels, s input statistics.

    Attributes:
        bundle: Id of the bundle that answered.
        labels: The bundle's labels, in the order of the probabilities.
        request_ids: m, each once.
        times: m, UTC.
        embeddings: float64 [m, e].
        probabilities: float64 [m, k].
        statistics: float64 [m, s].
        predicted_indices: int64 [m], the answered label's place in `labels`; -1 where a sample has any number of labels.
        domains: m, as the clients stated them; empty where they did not.
        true_labels: m, as fed back; None where nothing was. A label that the bundle does not know is kept: the answer was wrong.
            A set of labels is in its one form.
        n_malformed: Lines that had to be left out.
        problems: What was wrong with them, at most 20.
        thresholds: [k], where a sample has any number of labels.
        predicted_sets: bool [m, k], whether the answer names the label, where a sample has any number of them.
        history: Every labelled answer of the bundle, of this window or not, in the order that the labels came, at
            least the latest 10,000; None where only the window's own are known.
        raw_names: m, names of the kept raw inputs, None where none was kept; empty where that is not known.
    """

    bundle: str
    labels: tuple[str, ...]
    request_ids: tuple[str, ...]
    times: tuple[datetime, ...]
    embeddings: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    statistics: NDArray[np.float64]
    predicted_indices: NDArray[np.int64]
    domains: tuple[str, ...]
    true_labels: tuple[str | None, ...]
    n_malformed: int = 0
    problems: tuple[Finding, ...] = ()
    thresholds: tuple[float, ...] | None = None
    predicted_sets: NDArray[np.bool_] | None = None
    history: tuple[LabelledAnswer, ...] | None = None
    raw_names: tuple[str | None, ...] = ()

    @property
    def labelled_answers(self) -> tuple[LabelledAnswer, ...]:
        """`history`; where there is none, the window's own with the times of the requests."""
        if self.history is not None:
            return self.history
        pairs = zip(self.times, self.true_labels, self.answers, strict=True)
        return tuple(LabelledAnswer(time, time, true == answer) for time, true, answer in pairs if true is not None)

    @property
    def n_requests(self) -> int:
        """Requests."""
        return len(self.request_ids)

    @property
    def confidences(self) -> NDArray[np.float64]:
        """float64 [m], the probability that each answer is right."""
        return confidence(self.probabilities, self.thresholds)

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """[m, k], whether the answer names the label."""
        if self.predicted_sets is not None:
            return self.predicted_sets
        return np.asarray(self.predicted_indices[:, None] == np.arange(len(self.labels)))

    @property
    def answers(self) -> tuple[str, ...]:
        """m, the answered labels, or the texts of the answered sets."""
        return set_texts(self.predicted, self.labels)

    def every(self, step: int) -> Window:
        """Each `step`-th request, the newest among them; the history stays whole."""
        if step == 1:
            return self
        places = list(range((self.n_requests - 1) % step, self.n_requests, step))

        def some(values: tuple[_T, ...]) -> tuple[_T, ...]:
            return tuple(values[place] for place in places)

        return replace(
            self,
            request_ids=some(self.request_ids),
            times=some(self.times),
            embeddings=self.embeddings[places],
            probabilities=self.probabilities[places],
            statistics=self.statistics[places],
            predicted_indices=self.predicted_indices[places],
            domains=some(self.domains),
            true_labels=some(self.true_labels),
            predicted_sets=None if self.predicted_sets is None else self.predicted_sets[places],
            history=self.labelled_answers,
            raw_names=some(self.raw_names) if self.raw_names else (),
        )

    @classmethod
    def from_lines(
        cls,
        requests: Iterable[Mapping[str, Any]],
        feedback: Iterable[Mapping[str, Any]],
        bundle_id: str,
        labels: Sequence[str],
        latest: int,
        thresholds: tuple[float, ...] | None = None,
    ) -> Window:
        """Takes the latest requests of one bundle; the order of the lines does not matter.

        Args:
            requests: Lines of the request log, with `request_id`, `time`, `bundle`, `label`, `probabilities`, `embedding`,
                `statistics` and `domain`.
            feedback: Lines with `request_id`, `label` and `time`; of several for one request the latest counts.
            bundle_id: Lines of other bundles are passed over.
            labels: The bundle's, in the order of the probabilities.
            latest: Requests to take, newest first.
            thresholds: The bundle's, where a sample has any number of labels: then labels in the lines are texts of sets.

        Returns:
            At most `latest` requests. A line that cannot be read is left out, counted and described; so is a repeated request id.
        """
        problems = Problems()
        are_sets = thresholds is not None
        fed_back = latest_feedback(feedback, problems)
        if are_sets:
            fed_back = {name: (time, _in_one_form(text, labels)) for name, (time, text) in fed_back.items()}
        newest, history = read_once(requests, bundle_id, fed_back, latest, problems)
        lines = newest_valid_lines(newest, AllowedAnswers(tuple(labels), are_sets), latest, problems)
        true_labels = {name: label for name, (_, label) in fed_back.items()}
        answered = [line.label for _, line in lines]
        n_columns = (len(lines[0][1].embedding), len(labels), len(lines[0][1].statistics)) if lines else (0, len(labels), 0)
        return cls(
            bundle=bundle_id,
            labels=tuple(labels),
            request_ids=tuple(line.request_id for _, line in lines),
            times=tuple(time for time, _ in lines),
            embeddings=np.array([line.embedding for _, line in lines], dtype=np.float64).reshape(len(lines), n_columns[0]),
            probabilities=np.array([line.probabilities for _, line in lines], dtype=np.float64).reshape(len(lines), n_columns[1]),
            statistics=np.array([line.statistics for _, line in lines], dtype=np.float64).reshape(len(lines), n_columns[2]),
            predicted_indices=np.array([-1 if are_sets else labels.index(label) for label in answered], dtype=np.int64),
            domains=tuple(line.domain for _, line in lines),
            true_labels=tuple(true_labels.get(line.request_id) for _, line in lines),
            n_malformed=problems.n,
            problems=tuple(problems.first),
            thresholds=thresholds,
            predicted_sets=_as_sets(answered, labels) if are_sets else None,
            history=history,
            raw_names=tuple(line.raw_sha256 for _, line in lines),
        )


def _in_one_form(text: str, labels: Sequence[str]) -> str:
    # Feedback may have come in while another bundle served, whose labels stand in another order.
    known = canonical_text(text, labels)
    return text if known is None else known


def _as_sets(answered: Sequence[str], labels: Sequence[str]) -> NDArray[np.bool_]:
    members = [set(members_of(text)) for text in answered]
    return np.array([[label in names for label in labels] for names in members], dtype=np.bool_).reshape(len(answered), len(labels))
