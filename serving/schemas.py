"""The JSON that goes in and out of the endpoint; GET /openapi.json is made from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.request_log import DOMAIN_PATTERN, PREDICTION_ID_PATTERN

DEFAULT_DOMAIN = "default"
MAX_FEEDBACK_ITEMS = 1_000

PredictionId = Annotated[str, Field(pattern=PREDICTION_ID_PATTERN)]
Domain = Annotated[str, Field(pattern=DOMAIN_PATTERN)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class JsonImage(_Body):
    """An image file inside JSON.

    Attributes:
        content_base64: The file's bytes in standard base64, with padding and without line breaks.
    """

    content_base64: str


class JsonPredictRequest(_Body):
    """The JSON form of POST /predict.

    Attributes:
        images: One or many.
        domain: Where the images come from (a scanner, a client); monitoring compares domains.
    """

    images: Annotated[list[JsonImage], Field(min_length=1)]
    domain: Domain = DEFAULT_DOMAIN


class Feedback(_Body):
    """The true label of one earlier prediction.

    Attributes:
        id: The prediction's id, as POST /predict answered it.
        label: One of the labels that GET /model lists.
    """

    id: PredictionId
    label: str


class FeedbackList(_Body):
    """Many pieces of feedback at once; all are taken or none."""

    feedback: Annotated[list[Feedback], Field(min_length=1, max_length=MAX_FEEDBACK_ITEMS)]


class Prediction(_Body):
    """The answer for one image.

    Attributes:
        id: Name it in POST /feedback.
        label: The most probable label.
        probability: Of that label.
        probabilities: Of every label; they sum to 1.
    """

    id: PredictionId
    label: str
    probability: float
    probabilities: dict[str, float]


class PredictAnswer(_Body):
    """The answer of POST /predict, in the order of the images.

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
        backbone: Name of the architecture.
        code_digest: sha256 over the sources that answer, as `serving.source_digest` makes it.
        request_log: Whether answered samples are logged.
        n_log_failures: Log lines that could not be written since the start.
        refused: The last bundle that was refused, until another one is served.
    """

    bundle: str | None
    project: str | None
    labels: list[str] | None
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
