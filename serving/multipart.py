"""Reads a multipart/form-data body that is whole in memory: nothing is written to disk, nothing is fetched, no name becomes a path."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.failures import RequestFailure, bad_request, too_large

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_NEXT_STEP = 'send parts like `curl -F "images=@cat.png"` does.'


@dataclass(frozen=True)
class Part:
    """One part of a form.

    Attributes:
        name: Of the form's field.
        is_file: Whether the part states a file name; the name itself is not kept.
        content: Its bytes.
    """

    name: str
    is_file: bool
    content: bytes


def parse_multipart(body: bytes, content_type: str, max_parts: int) -> list[Part]:
    """Splits a form into its parts.

    Args:
        body: The whole body.
        content_type: The request's header, with the boundary.
        max_parts: More are refused while parsing.

    Raises:
        RequestFailure: 400 where the form is damaged, 413 where it has too many parts.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _damaged("the Content-Type header states no boundary")
    collector = _Collector(max_parts)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        # The parser's warnings quote the body, and what clients send does not go to the log.
        parser.logger = logging.getLogger("regraft.discarded")
        parser.logger.disabled = True
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise _damaged("the form cannot be parsed") from error
    if not collector.ended:
        raise _damaged("the form ends before its last boundary")
    return collector.parts


@dataclass
class _Collector:
    max_parts: int
    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _disposition: bytes | None = None
    _chunks: list[bytes] = field(default_factory=list)

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if len(self.parts) >= self.max_parts:
            raise too_large(f"the form has more than {self.max_parts} parts, which is the limit.", "send fewer files in one request.")
        self._disposition, self._chunks = None, []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            if self._disposition is not None:
                raise _damaged("a part has two Content-Disposition headers")
            self._disposition = value
        elif name.lower() == b"content-transfer-encoding" and value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
            raise _damaged("a part has a Content-Transfer-Encoding; bytes are taken as they are")
        self._header = (bytearray(), bytearray())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _on_part_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header((self._disposition or b"").decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise _damaged("a part has no Content-Disposition: form-data with a name")
        self.parts.append(Part(options[b"name"].decode("latin-1"), b"filename" in options, b"".join(self._chunks)))
        self._chunks = []

    def _on_end(self) -> None:
        self.ended = True


def _damaged(problem: str) -> RequestFailure:
    return bad_request("wrong_form", f"{problem}.", _NEXT_STEP)
