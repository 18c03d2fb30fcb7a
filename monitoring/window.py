"""A window: the latest requests of one bundle, as arrays, with the labels that were fed back for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from pipelines.core.errors import Finding
from pipelines.core.heads import confidence
from pipelines.core.label_sets import canonical_text, members_of, set_texts

_MAX_LISTED_PROBLEMS = 20
_PROBABILITY_TOLERANCE = 0.01  # the log may round its numbers
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)


def _plain_domain(value: object) -> object:
    return "" if value is None else value


class _RequestLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: Annotated[str, Field(min_length=1)]
    label: str
    probabilities: tuple[Annotated[FiniteFloat, Field(ge=0, le=1 + _PROBABILITY_TOLERANCE)], ...]
    embedding: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    statistics: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    domain: Annotated[str, BeforeValidator(_plain_domain)] = ""


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
        problems: list[Finding] = []
        are_sets = thresholds is not None
        lines = _newest_valid_lines(requests, bundle_id, _Answers(tuple(labels), are_sets), latest, problems)
        true_labels = _latest_feedback(feedback, problems)
        if are_sets:
            true_labels = {name: _in_one_form(text, labels) for name, text in true_labels.items()}
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
            n_malformed=len(problems),
            problems=tuple(problems[:_MAX_LISTED_PROBLEMS]),
            thresholds=thresholds,
            predicted_sets=_as_sets(answered, labels) if are_sets else None,
        )


@dataclass(frozen=True)
class _Answers:
    """What a line's label and probabilities may be.

    Attributes:
        are_sets: Whether a sample has any number of the labels.
    """

    labels: tuple[str, ...]
    are_sets: bool

    def fault(self, request: _RequestLine) -> str:
        """What is wrong with them; empty where nothing is."""
        known = canonical_text(request.label, self.labels) == request.label if self.are_sets else request.label in self.labels
        if not known:
            return (
                f"label {request.label!r} is not one of the bundle's"
                if not self.are_sets
                else f"label {request.label!r} is no set of the bundle's"
            )
        n_found, total = len(request.probabilities), sum(request.probabilities)
        if n_found != len(self.labels) or (not self.are_sets and abs(total - 1) > _PROBABILITY_TOLERANCE):
            return f"{n_found} probabilities that sum to {total:.3g}"
        return ""


def _in_one_form(text: str, labels: Sequence[str]) -> str:
    # Feedback may have come in while another bundle served, whose labels stand in another order.
    known = canonical_text(text, labels)
    return text if known is None else known


def _as_sets(answered: Sequence[str], labels: Sequence[str]) -> NDArray[np.bool_]:
    members = [set(members_of(text)) for text in answered]
    return np.array([[label in names for label in labels] for names in members], dtype=np.bool_).reshape(len(answered), len(labels))


def _newest_valid_lines(
    requests: Iterable[Mapping[str, Any]], bundle_id: str, answers: _Answers, latest: int, problems: list[Finding]
) -> list[tuple[datetime, _RequestLine]]:
    taken: dict[str, tuple[datetime, _RequestLine]] = {}
    sizes: tuple[int, int] | None = None
    for time, line in sorted(_of_bundle(requests, bundle_id, problems), key=_newest_first):
        if len(taken) == latest:
            break
        request = _read_request(line, answers, problems)
        if request is None:
            continue
        sizes = sizes or (len(request.embedding), len(request.statistics))
        if request.request_id in taken:
            problems.append(Finding(request.request_id, "the request id is repeated"))
        elif sizes != (len(request.embedding), len(request.statistics)):
            sizes_here = (len(request.embedding), len(request.statistics))
            problem = f"embedding and statistics of {sizes_here} values; newer lines have {sizes}"
            problems.append(Finding(request.request_id, problem))
        else:
            taken[request.request_id] = (time, request)
    return sorted(taken.values(), key=lambda item: (item[0], item[1].request_id))


def _newest_first(item: tuple[datetime, Mapping[str, Any]]) -> tuple[float, str, str]:
    time, line = item
    return -time.timestamp(), str(line.get("request_id")), str(line.get("label"))


def _of_bundle(requests: Iterable[Mapping[str, Any]], bundle_id: str, problems: list[Finding]) -> list[tuple[datetime, Mapping[str, Any]]]:
    found: list[tuple[datetime, Mapping[str, Any]]] = []
    for line in requests:
        if not isinstance(line, Mapping) or "bundle" not in line:
            problems.append(Finding(_name_of(line), "no `bundle` in the line"))
        elif line["bundle"] == bundle_id:
            time = _read_time(line)
            if time is None:
                problems.append(Finding(_name_of(line), f"time {line.get('time')!r} is no ISO 8601 time"))
            else:
                found.append((time, line))
    return found


def _read_time(line: Mapping[str, Any]) -> datetime | None:
    try:
        time = _TIME.validate_python(line.get("time"))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValidationError, OverflowError):
        return None


def _read_request(line: Mapping[str, Any], answers: _Answers, problems: list[Finding]) -> _RequestLine | None:
    try:
        request = _RequestLine.model_validate(dict(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problems.append(Finding(_name_of(line), f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"))
        return None
    fault = answers.fault(request)
    if fault:
        problems.append(Finding(request.request_id, fault))
    return None if fault else request


def _latest_feedback(feedback: Iterable[Mapping[str, Any]], problems: list[Finding]) -> dict[str, str]:
    latest: dict[str, tuple[datetime, str]] = {}
    for line in feedback:
        request_id, label = (line.get("request_id"), line.get("label")) if isinstance(line, Mapping) else (None, None)
        time = _read_time(line) if isinstance(line, Mapping) else None
        if not isinstance(request_id, str) or not isinstance(label, str) or time is None:
            problems.append(Finding(_name_of(line), "feedback without request_id, label or time"))
        elif request_id not in latest or time >= latest[request_id][0]:  # of one moment the later line, as ingestion has it
            latest[request_id] = (time, label)
    return {request_id: label for request_id, (_, label) in latest.items()}


def _name_of(line: object) -> str:
    return str(line.get("request_id", "a line without request_id")) if isinstance(line, Mapping) else "a line that is no mapping"
