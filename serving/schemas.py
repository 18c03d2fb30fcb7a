"""The JSON that goes in and out of the endpoint; GET /openapi.json is made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from pipelines.core.request_log import DOMAIN_PATTERN, PREDICTION_ID_PATTERN

DEFAULT_DOMAIN = "default"
MAX_FEEDBACK_ITEMS = 1_000

TEXT_OR_LIST = "text_or_list"


def _as_one_problem(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validated(value)
    except ValidationError as error:  # one for each kind that it could have been
        raise PydanticCustomError(TEXT_OR_LIST, "neither a string nor a list of strings") from error


PredictionId = Annotated[str, Field(pattern=PREDICTION_ID_PATTERN)]
Domain = Annotated[str, Field(pattern=DOMAIN_PATTERN)]
FedBackLabel = Annotated[str | list[str], WrapValidator(_as_one_problem)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class JsonFile(_Body):
    """A file inside JSON.

    Attributes:
        content_base64: The file's bytes in standard base64, with padding and without line breaks.
    """

    content_base64: str


class JsonImagesRequest(_Body):
    """The JSON form of POST /predict for a model that takes images.

    Attributes:
        images: One or many.
        domain: Where the images come from (a scanner, a client); monitoring compares domains.
    """

    images: Annotated[list[JsonFile], Field(min_length=1)]
    domain: Domain = DEFAULT_DOMAIN


class JsonTextsRequest(_Body):
    """The JSON form of POST /predict for a model that takes texts.

    Attributes:
        texts: One or many.
        domain: Where the texts come from (a shop, a client); monitoring compares domains.
    """

    texts: Annotated[list[str], Field(min_length=1)]
    domain: Domain = DEFAULT_DOMAIN


class JsonSoundsRequest(_Body):
    """The JSON form of POST /predict for a model that takes sounds.

    Attributes:
        sounds: One or many.
        domain: Where the sounds come from (a microphone, a client); monitoring compares domains.
    """

    sounds: Annotated[list[JsonFile], Field(min_length=1)]
    domain: Domain = DEFAULT_DOMAIN


class Feedback(_Body):
    """The true label of one earlier prediction.

    Attributes:
        id: The prediction's id, as POST /predict answered it.
        label: One of the labels that GET /model lists. Where a sample has any number of them: a list of them, or their text with | between
            them; an empty list or text says that it has none.
    """

    id: PredictionId
    label: FedBackLabel


class FeedbackList(_Body):
    """Many pieces of feedback at once; all are taken or none."""

    feedback: Annotated[list[Feedback], Field(min_length=1, max_length=MAX_FEEDBACK_ITEMS)]


class Prediction(_Body):
    """The answer for one input.

    Attributes:
        id: Name it in POST /feedback.
        label: The most probable label. Where a sample has any number of labels: those whose probabilities reach their thresholds, with |
            between them, empty where none does.
        labels: The same as a list; only where a sample has any number of labels.
        probability: That `label` is right, the whole set of labels if it is one.
        probabilities: Of every label; they sum to 1 where a sample has one label.
        unread_frac: Share of the input that was longer than the model reads and took no part in the answer; only where there is such.
    """

    id: PredictionId
    label: str
    labels: list[str] | None = None
    probability: float
    probabilities: dict[str, float]
    unread_frac: float | None = None


class PredictAnswer(_Body):
    """The answer of POST /predict, in the order of the inputs.

    Attributes:
        request_id: Names this exchange in messages and in the server's log.
        bundle: Id of the bundle that answered.
    """

    request_id: str
    bundle: str
    predictions: list[Prediction]


class FeedbackAnswer(_Body):
    """The answer of POST /feedback.

    Attributes:
        bundle: Id of the bundle whose labels were allowed.
        n_accepted: Pieces of feedback that are in the log now.
    """

    request_id: str
    bundle: str
    n_accepted: int


class Refusal(_Body):
    """A bundle that was asked for and is not served, with the reason."""

    bundle: str | None
    reason: str
    refused_at: str


class ModelAnswer(_Body):
    """The answer of GET /model.

    Attributes:
        bundle: Id of the bundle that answers; null while none is loaded.
        loaded_at: Since when.
        labels_per_sample: `many`: an input has any number of the labels.
        thresholds: By label, where an input has any number of them.
        takes: What POST /predict takes: `images`, `texts`.
        backbone: Name of the architecture.
        code_digest: sha256 over the sources that answer, as `serving.source_digest` makes it.
        request_log: Whether answered samples are logged.
        n_log_failures: Log lines that could not be written since the start.
        refused: The last bundle that was refused, until another one is served.
    """

    bundle: str | None
    project: str | None
    labels: list[str] | None
    labels_per_sample: Literal["one", "many"] | None
    thresholds: dict[str, float] | None
    takes: str | None = None
    backbone: str | None
    loaded_at: str | None
    code_digest: str
    request_log: bool
    n_log_failures: int
    refused: Refusal | None


class ErrorAnswer(_Body):
    """The answer where something did not work.

    Attributes:
        code: One word for programs.
        message: What was got and what is allowed.
        next_step: What can be done.
    """

    code: str
    message: str
    next_step: str
    request_id: str
