"""Forms: the same parts that Starlette's parser finds, and no way around the limits."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

from serving.failures import RequestFailure
from serving.multipart import parse_multipart

_names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


def by_starlette(body: bytes, content_type: str) -> list[tuple[str, bool, bytes]]:
    async def parse() -> list[tuple[str, bool, bytes]]:
        async def stream() -> Any:
            yield body

        async with asyncio.timeout(10):
            form = await MultiPartParser(Headers({"content-type": content_type}), stream()).parse()
            found = []
            for name, value in form.multi_items():
                found.append((name, False, value.encode("latin-1")) if isinstance(value, str) else (name, True, await value.read()))
            await form.close()
            return found

    return asyncio.run(parse())


@given(
    files=st.lists(
        st.tuples(_names, _names, st.binary(max_size=60) | st.sampled_from([b"\r\n", b"\r\n--", b"--", b"\r", b"\r\n--x"])), max_size=4
    ),
    fields=st.lists(st.tuples(_names, st.text(st.characters(codec="ascii"), max_size=20)), max_size=3, unique_by=lambda pair: pair[0]),
)
def test_finds_what_starlette_finds(files: Any, fields: Any) -> None:
    if not files:
        return
    request = httpx.Request("POST", "http://x", files=[(name, (file, content)) for name, file, content in files], data=dict(fields))
    body, content_type = request.read(), request.headers["content-type"]
    parts = parse_multipart(body, content_type, max_parts=10)
    # Starlette gives text parts and file parts in the order of the body, as we do.
    assert [(part.name, part.is_file, part.content) for part in parts] == by_starlette(body, content_type)


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\nA'
TYPE = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (form(FILE), "multipart/form-data", 400),
        (form(FILE), "multipart/form-data; boundary=", 400),
        (form(FILE), "multipart/form-data; boundary=" + "x" * 1000, 400),
        (form(FILE), "multipart/form-data; boundary=y", 400),
        (form(FILE, end=b""), TYPE, 400),
        (form(FILE)[:-8], TYPE, 400),
        (form(b"\r\nA"), TYPE, 400),
        (form(b"Content-Disposition: attachment; name=images\r\n\r\nA"), TYPE, 400),
        (form(b"Content-Disposition: form-data\r\n\r\nA"), TYPE, 400),
        (form(b'Content-Disposition: form-data; name="a"\r\n' + FILE), TYPE, 400),
        (form(b"Content-Transfer-Encoding: base64\r\n" + FILE), TYPE, 400),
        (form(b"a: b\r\n" * 100_000 + FILE), TYPE, 400),
        (form(b"a" * 1_000_000 + b": b\r\n" + FILE), TYPE, 400),
        (form(FILE, FILE, FILE), TYPE, 413),
        (form(*[FILE] * 100_000), TYPE, 413),
    ],
    ids=range(15),
)
def test_refuses(body: bytes, content_type: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(RequestFailure, match=f"^{status} "):
        parse_multipart(body, content_type, max_parts=2)
    assert caplog.text == ""


def test_a_file_name_is_not_kept() -> None:
    part = parse_multipart(form(FILE.replace(b'"a"', b'"../../etc/passwd"')), TYPE, 1)[0]
    assert (part.name, part.is_file, part.content) == ("images", True, b"A")
    assert "passwd" not in repr(part)


@pytest.mark.parametrize("filler", [b"\r", b"\n", b"\r\n--", b"\r\n--y", b"-", b"\r\n-"])
def test_hostile_content_takes_linear_time(filler: bytes) -> None:
    def seconds(n_bytes: int) -> float:
        body = form(FILE + filler * (n_bytes // len(filler)))
        started = time.perf_counter()
        parse_multipart(body, TYPE, 1)
        return time.perf_counter() - started

    assert min(seconds(400_000) for _ in range(3)) < 1.0
