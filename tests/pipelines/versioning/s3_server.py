"""An S3 of moto in a process of its own, which checks the credentials of every request once its user is made."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUCKET = "regraft"
REGION = "us-east-1"
_START_SECONDS = 60


# Making the user below takes this many requests; all later ones must be signed by it.
_N_REQUESTS_OF_SET_UP = 4
_MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@dataclass(frozen=True)
class S3:
    """A running server with a bucket, and the only key that may use it."""

    url: str
    key_id: str
    secret: str


@contextmanager
def s3_server(log: Path) -> Iterator[S3]:
    """Starts it; it is stopped when the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(_N_REQUESTS_OF_SET_UP)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/moto-api/", process)
        yield _with_user(url)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _with_user(url: str) -> S3:
    import boto3

    session = boto3.Session("anyone", "anything", region_name=REGION)
    iam, s3 = (session.client(service, endpoint_url=url) for service in ("iam", "s3"))
    iam.create_user(UserName="regraft")
    iam.put_user_policy(UserName="regraft", PolicyName="all", PolicyDocument=json.dumps(_MAY_ALL))
    key = iam.create_access_key(UserName="regraft")["AccessKey"]
    s3.create_bucket(Bucket=BUCKET)
    for client in (iam, s3):
        client.close()
    return S3(url, key["AccessKeyId"], key["SecretAccessKey"])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)
