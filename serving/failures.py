"""What the endpoint answers when it does not answer the question: JSON {code, message, next_step, request_id}."""

from __future__ import annotations

from dataclasses import dataclass


# Not frozen: contextlib sets the traceback of an exception that passes through it.
@dataclass(eq=False)
class RequestFailure(Exception):  # noqa: N818 - it is the answer to a request, and most are the client's errors, not ours
    """A request that gets no prediction, and why. Its texts never repeat what the client sent, besides numbers and known names.

    Attributes:
        status: HTTP status.
        code: One word for programs.
        message: What was got and what is allowed.
        next_step: What the client can do.
        retry_after_seconds: When to try again; None where trying again is no use.
    """

    status: int
    code: str
    message: str
    next_step: str
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def body(self, request_id: str) -> dict[str, str]:
        """The JSON answer."""
        return {"code": self.code, "message": self.message, "next_step": self.next_step, "request_id": request_id}

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}


def bad_request(code: str, message: str, next_step: str = "see GET /openapi.json for the request's form.") -> RequestFailure:
    """400: the request itself is wrong."""
    return RequestFailure(400, code, message, next_step)


def too_large(message: str, next_step: str) -> RequestFailure:
    """413: more than a limit allows."""
    return RequestFailure(413, "too_large", message, next_step)


def unprocessable(code: str, message: str, next_step: str) -> RequestFailure:
    """422: well formed, but its content cannot be used."""
    return RequestFailure(422, code, message, next_step)


def overloaded(message: str) -> RequestFailure:
    """503: too much at once."""
    return RequestFailure(503, "overloaded", message, "wait for the seconds in Retry-After and send the request again.", 1)
