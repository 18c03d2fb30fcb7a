"""Lines of the request log and of the feedback log: one pass over any number of them, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from pipelines.core.errors import Finding
from pipelines.core.label_sets import canonical_text

_MAX_LISTED_PROBLEMS = 20
_PROBABILITY_TOLERANCE = 0.01  # the log may round its numbers
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)
MAX_HISTORY = 10_000
# So many of the newest lines may be unreadable before a window gets smaller for it.
_N_SPARE = 1_000
TimedLine = tuple[datetime, Mapping[str, Any]]


def _plain_domain(value: object) -> object:
    return "" if value is None else value


class RequestLine(BaseModel):
    """What a line must hold to be judged; anything else in it is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: Annotated[str, Field(min_length=1)]
    label: str
    probabilities: tuple[Annotated[FiniteFloat, Field(ge=0, le=1 + _PROBABILITY_TOLERANCE)], ...]
    embedding: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    statistics: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    domain: Annotated[str, BeforeValidator(_plain_domain)] = ""
    raw_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


@dataclass
class Problems:
    """What was wrong with lines: how many there were, and the first 20."""

    n: int = 0
    first: list[Finding] = field(default_factory=list)

    def add(self, where: str, problem: str) -> None:
        """Counts one."""
        self.n += 1
        if len(self.first) < _MAX_LISTED_PROBLEMS:
            self.first.append(Finding(where, problem))


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer whose true label was fed back.

    Attributes:
        requested_at: When it was answered, UTC.
        labelled_at: When the label came, UTC.
        is_right: Whether the answer was that label.
    """

    requested_at: datetime
    labelled_at: datetime
    is_right: bool


@dataclass(frozen=True)
class AllowedAnswers:
    """What a line's label and probabilities may be.

    Attributes:
        are_sets: Whether a sample has any number of the labels.
    """

    labels: tuple[str, ...]
    are_sets: bool

    def fault(self, request: RequestLine) -> str:
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


def newest_valid_lines(
    newest: Sequence[TimedLine], answers: AllowedAnswers, latest: int, problems: Problems
) -> list[tuple[datetime, RequestLine]]:
    """The first `latest` lines that can be read, each request once, oldest first.

    Args:
        newest: Newest first.
        answers: What labels and probabilities may be.
        latest: Lines to take.
        problems: Gets those that were left out on the way.
    """
    taken: dict[str, tuple[datetime, RequestLine]] = {}
    sizes: tuple[int, int] | None = None
    for time, line in newest:
        if len(taken) == latest:
            break
        request = _read_request(line, answers, problems)
        if request is None:
            continue
        sizes = sizes or (len(request.embedding), len(request.statistics))
        if request.request_id in taken:
            problems.add(request.request_id, "the request id is repeated")
        elif sizes != (len(request.embedding), len(request.statistics)):
            sizes_here = (len(request.embedding), len(request.statistics))
            problems.add(request.request_id, f"embedding and statistics of {sizes_here} values; newer lines have {sizes}")
        else:
            taken[request.request_id] = (time, request)
    return sorted(taken.values(), key=lambda item: (item[0], item[1].request_id))


def read_once(
    requests: Iterable[Mapping[str, Any]],
    bundle_id: str,
    fed_back: Mapping[str, tuple[datetime, str]],
    latest: int,
    problems: Problems,
) -> tuple[list[TimedLine], tuple[LabelledAnswer, ...]]:
    """One pass over the log with bounded memory: the newest lines of the bundle, newest first, and its labelled answers."""
    n_kept = latest + _N_SPARE
    newest: list[TimedLine] = []
    labelled: dict[str, tuple[datetime, LabelledAnswer]] = {}
    for time, line in _of_bundle(requests, bundle_id, problems):
        newest.append((time, line))
        if len(newest) >= 2 * n_kept:
            newest = sorted(newest, key=_newest_first)[:n_kept]
        name = str(line.get("request_id"))
        found = fed_back.get(name)
        if found is not None and (name not in labelled or time >= labelled[name][0]):
            labelled[name] = time, LabelledAnswer(time, found[0], found[1] == line.get("label"))
    history = sorted((answer.labelled_at, name, answer) for name, (_, answer) in labelled.items())
    return sorted(newest, key=_newest_first), tuple(answer for _, _, answer in history)


def _newest_first(item: TimedLine) -> tuple[float, str, str]:
    time, line = item
    return -time.timestamp(), str(line.get("request_id")), str(line.get("label"))


def _of_bundle(requests: Iterable[Mapping[str, Any]], bundle_id: str, problems: Problems) -> Iterator[TimedLine]:
    for line in requests:
        if not isinstance(line, Mapping) or "bundle" not in line:
            problems.add(_name_of(line), "no `bundle` in the line")
        elif line["bundle"] == bundle_id:
            time = _read_time(line)
            if time is None:
                problems.add(_name_of(line), f"time {line.get('time')!r} is no ISO 8601 time")
            else:
                yield time, line


def _read_time(line: Mapping[str, Any]) -> datetime | None:
    try:
        time = _TIME.validate_python(line.get("time"))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValidationError, OverflowError):
        return None


def _read_request(line: Mapping[str, Any], answers: AllowedAnswers, problems: Problems) -> RequestLine | None:
    try:
        request = RequestLine.model_validate(dict(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problems.add(_name_of(line), f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
        return None
    fault = answers.fault(request)
    if fault:
        problems.add(request.request_id, fault)
    return None if fault else request


def latest_feedback(feedback: Iterable[Mapping[str, Any]], problems: Problems) -> dict[str, tuple[datetime, str]]:
    """The latest label of each request, of the 10,000 to 20,000 requests that were labelled last."""
    latest: dict[str, tuple[datetime, str]] = {}
    for line in feedback:
        request_id, label = (line.get("request_id"), line.get("label")) if isinstance(line, Mapping) else (None, None)
        time = _read_time(line) if isinstance(line, Mapping) else None
        if not isinstance(request_id, str) or not isinstance(label, str) or time is None:
            problems.add(_name_of(line), "feedback without request_id, label or time")
        elif request_id not in latest or time >= latest[request_id][0]:  # of one moment the later line, as ingestion has it
            latest[request_id] = (time, label)
        if len(latest) >= 2 * MAX_HISTORY:
            latest = dict(sorted(latest.items(), key=lambda item: item[1][0])[-MAX_HISTORY:])
    return latest


def _name_of(line: object) -> str:
    return str(line.get("request_id", "a line without request_id")) if isinstance(line, Mapping) else "a line that is no mapping"
