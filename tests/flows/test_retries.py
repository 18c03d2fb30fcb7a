from __future__ import annotations

import socket
import ssl

import httpx
import pytest
import requests

from flows.retries import another_try_can_help
from flows.tasks import StepPolicy
from pipelines.core.errors import ConfigurationError, DataError, IntegrityError, RefusedError, RegraftError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


def from_s3(status: int) -> Exception:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")  # type: ignore[typeddict-item]


def unreachable_s3() -> Exception:
    from botocore.exceptions import EndpointConnectionError

    return EndpointConnectionError(endpoint_url="http://127.0.0.1:1")


def without_credentials() -> Exception:
    from botocore.exceptions import NoCredentialsError

    return NoCredentialsError()


def time_limit_of_a_step() -> Exception:
    from prefect.task_engine import TaskRunTimeoutError

    return TaskRunTimeoutError("60 s")


PARTS = ("got.", "allowed.", "next.")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        TimeoutError("timed out"),
        socket.gaierror(-3, "Temporary failure in name resolution"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        answered(503),
        answered(429),
        requests.ConnectionError("refused"),
        unreachable_s3(),
        from_s3(503),
        caused(ConfigurationError(*PARTS), unreachable_s3()),
        caused(IntegrityError(*PARTS), caused(ConfigurationError(*PARTS), ConnectionRefusedError())),
        caused(RegraftError(*PARTS), httpx.ConnectError("refused")),
    ],
)
def test_what_could_not_be_reached_is_tried_again(error: Exception) -> None:
    assert another_try_can_help(error)


@pytest.mark.parametrize(
    "error",
    [
        DataError(*PARTS),
        caused(DataError(*PARTS), ConnectionResetError()),
        RefusedError(*PARTS),
        caused(RefusedError(*PARTS), TimeoutError()),
        ConfigurationError(*PARTS),
        caused(ConfigurationError(*PARTS), FileNotFoundError()),
        caused(ConfigurationError(*PARTS), without_credentials()),
        IntegrityError(*PARTS),
        RegraftError(*PARTS),
        answered(401),
        answered(404),
        from_s3(403),
        time_limit_of_a_step(),
        PermissionError("no"),
        OSError(28, "No space left on device"),
        ssl.SSLCertVerificationError("self-signed"),
        ValueError("a bug"),
        MemoryError(),
    ],
)
def test_what_stays_as_it_is_is_tried_once(error: Exception) -> None:
    assert not another_try_can_help(error)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    assert not another_try_can_help(first)


def test_delays_double() -> None:
    assert StepPolicy(n_retries=4, retry_delay_seconds=10).delays_seconds == [10, 20, 40, 80]
