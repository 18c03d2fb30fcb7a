"""The request log: one JSON line for each answered sample and one for each piece of feedback. Its schema and its reader.

    LOG_DIR/requests/2026-11-21.jsonl   `RequestRecord`, one line for each sample
    LOG_DIR/feedback/2026-11-21.jsonl   `FeedbackRecord`, one line for each true label

Files are named by the UTC day on which a line was written and are never renamed; old ones may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

REQUESTS = "requests"
FEEDBACK = "feedback"
PREDICTION_ID_PATTERN = "^[0-9a-f]{32}$"
# Of requests that check an endpoint; readers leave them out, as they are no traffic.
CHECK_DOMAIN = "regraft:check"
DOMAIN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"

PredictionId = Annotated[str, Field(pattern=PREDICTION_ID_PATTERN)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
DamagedLine = Callable[[str, int], None]


class RequestRecord(BaseModel):
    """One answered sample.

    Attributes:
        request_id: The sample's id, as the answer named it; feedback refers to it.
        time: When it was answered: ISO 8601, UTC, microseconds.
        bundle: Id of the bundle that answered.
        label: The predicted label, or the text of the predicted set (`label_sets`), empty where it has no member.
        probabilities: One per label in the order of that bundle's labels, rounded to 6 significant digits.
        embedding: The compact embedding, rounded to 5 significant digits.
        statistics: In the order of the modality's `statistics`, rounded to 5 significant digits.
        domain: What the client said about the origin of the sample.
        raw_sha256: Name of the file that keeps the raw bytes, where this sample was drawn for keeping.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: PredictionId
    time: Time
    bundle: str
    label: str
    probabilities: tuple[float, ...]
    embedding: tuple[float, ...]
    statistics: tuple[float, ...]
    domain: Annotated[str, Field(pattern=DOMAIN_PATTERN)]
    raw_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None


class FeedbackRecord(BaseModel):
    """The true label of an answered sample. For one sample the latest line counts.

    Attributes:
        request_id: Of the `RequestRecord`; it may be unknown, as ids come from clients.
        label: The true label, or the text of the true set.
        time: When it was received: ISO 8601, UTC, microseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: PredictionId
    label: str
    time: Time


def log_time(now: datetime | None = None) -> str:
    """A time as the log writes it, for example `2026-11-21T09:30:00.123456Z`; the present without an argument."""
    return (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_requests(log_dir: Path, on_damaged: DamagedLine | None = None) -> Iterator[dict[str, Any]]:
    """The lines of the request log, oldest file first, each as a dictionary with the fields of `RequestRecord`.

    Lines of the domain `CHECK_DOMAIN` are left out: an endpoint that is being verified answers goldens, and they are no traffic.

    Args:
        log_dir: The folder with `requests/`; a folder that is not there yet gives nothing.
        on_damaged: Called with the file's name and the line's number (from 1) for each line that is no whole record: the process
            was killed while writing it. Such a line is left out.
    """
    records = _read_records(log_dir / REQUESTS, RequestRecord, on_damaged)
    return (record for record in records if record["domain"] != CHECK_DOMAIN)


def read_feedback(log_dir: Path, on_damaged: DamagedLine | None = None) -> Iterator[dict[str, Any]]:
    """The lines of the feedback log, oldest file first, each as a dictionary with the fields of `FeedbackRecord`.

    Args:
        log_dir: The folder with `feedback/`.
        on_damaged: As in `read_requests`.
    """
    return _read_records(log_dir / FEEDBACK, FeedbackRecord, on_damaged)


_Record = TypeVar("_Record", RequestRecord, FeedbackRecord)


def _read_records(folder: Path, schema: type[_Record], on_damaged: DamagedLine | None) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        # Bytes, not text: a torn line may end inside a character.
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield schema.model_validate_json(line).model_dump()
                except ValidationError:
                    if on_damaged is not None:
                        on_damaged(path.name, number)
