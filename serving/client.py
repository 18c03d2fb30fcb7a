"""A small client of an endpoint. It never tries again by itself: who counts failures must see each of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from pipelines.core.errors import ConfigurationError, RegraftError
from serving.input_forms import INPUT_FORMS, InputForm
from serving.schemas import Feedback, FeedbackAnswer, FeedbackList, ModelAnswer, PredictAnswer


class EndpointError(RegraftError):
    """An endpoint answered with a failure.

    Attributes:
        status: HTTP status.
        failure_code: The answer's `code`.
    """

    code = "endpoint"

    def __init__(self, status: int, failure_code: str, message: str, next_step: str) -> None:
        self.status = status
        self.failure_code = failure_code
        super().__init__(got=f"{status} {failure_code}: {message}", allowed="an answer with status 200.", next_step=next_step)

    def __reduce__(self) -> Any:
        return _rebuild, (self.status, self.failure_code, self.got, self.next_step)


def _rebuild(status: int, failure_code: str, got: str, next_step: str) -> EndpointError:
    return EndpointError(status, failure_code, got.removeprefix(f"{status} {failure_code}: "), next_step)


class EndpointClient:
    """Talks to one endpoint over kept connections; safe to share between threads; close it, or use it in a `with` block.

    Args:
        url: For example `http://127.0.0.1:3000`.
        timeout_seconds: For each request.
    """

    def __init__(self, url: str, timeout_seconds: float = 60) -> None:
        import httpx

        # Proxies of the environment would see the inputs, and a loopback address has no business there.
        # The server closes a connection after 5 idle seconds; one that is about to be closed must not be used again.
        limits = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False, limits=limits)
        self.url = url

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def predict(self, inputs: Sequence[bytes], domain: str | None = None, kind: str = "image") -> PredictAnswer:
        """Asks for predictions of raw inputs.

        Args:
            inputs: As a sample's file holds them; a text is its UTF-8.
            domain: Where they come from.
            kind: Of the inputs: `image`, `text`.

        Raises:
            EndpointError: The endpoint answered with a failure.
            ConfigurationError: No endpoint can be reached.
        """
        return PredictAnswer.model_validate(self._send("POST", "/predict", **_predict_body(inputs, domain, INPUT_FORMS[kind])))

    def feedback(self, feedback: Sequence[Feedback]) -> FeedbackAnswer:
        """Sends true labels of earlier predictions.

        Raises:
            EndpointError: The endpoint answered with a failure.
            ConfigurationError: No endpoint can be reached.
        """
        answer = self._send("POST", "/feedback", json=FeedbackList(feedback=list(feedback)).model_dump())
        return FeedbackAnswer.model_validate(answer)

    def model(self) -> ModelAnswer:
        """Asks which bundle answers.

        Raises:
            EndpointError: The endpoint answered with a failure.
            ConfigurationError: No endpoint can be reached.
        """
        return ModelAnswer.model_validate(self._send("GET", "/model"))

    def is_ready(self) -> bool:
        """Whether the endpoint is up and its model loaded."""
        import httpx

        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _send(self, method: str, path: str, **content: Any) -> Any:
        import httpx

        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise ConfigurationError(
                got=f"no answer from {self.url}{path} ({type(error).__name__}).",
                allowed="an endpoint that runs at this address.",
                next_step="start one with `regraft serve`, or correct the address.",
            ) from error
        if response.status_code != httpx.codes.OK:
            raise _endpoint_error(response)
        return response.json()


def _predict_body(inputs: Sequence[bytes], domain: str | None, form: InputForm) -> dict[str, Any]:
    stated = {"domain": domain} if domain else {}
    if not form.is_uploaded:
        # What is no UTF-8 is written as half characters, which the endpoint refuses and names.
        texts = [data.decode("utf-8", "surrogateescape") for data in inputs]
        return {"content": json.dumps({form.key: texts, **stated}), "headers": {"content-type": "application/json"}}
    files = [(form.key, (f"{index}.bin", data, "application/octet-stream")) for index, data in enumerate(inputs)]
    return {"files": files, "data": stated or None}


def _endpoint_error(response: Any) -> EndpointError:
    try:
        body = response.json()
        return EndpointError(response.status_code, body["code"], body["message"], body["next_step"])
    except (ValueError, KeyError, TypeError):  # not from our routes: a proxy, or another server
        return EndpointError(response.status_code, "foreign", "an answer that is not a Regraft endpoint's.", "correct the address.")
