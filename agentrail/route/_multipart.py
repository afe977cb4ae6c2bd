"""Forms with files in them, read as they arrive and no further than their limits."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

import msgspec
from attrs import define, field
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from agentrail.errors import PayloadTooLarge, RequestError
from agentrail.messages import Attachment
from agentrail.requests import ChatRequest
from agentrail.route._limits import RequestLimits, limits_of

FORM: Final = "multipart/form-data"

WHOLE: Final = "request"
"""The field that holds all of a request as JSON, but for its files."""

SIMPLE: Final = (
    *("message", "sessionId", "agentId", "tenantId", "userId"),
    *("onDisconnect", "idempotencyKey"),
)
"""The fields that a form may have instead of that one: the request's own that are text."""

_ESCAPED: Final = {"%0A": "\n", "%0D": "\r", "%22": '"'}
"""How a file name or field name in a form writes what would end it.

Source: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""


@define(slots=True)
class _Part:
    """A part of a form that arrives."""

    headers: dict[bytes, bytes] = field(factory=dict[bytes, bytes])
    name: str = ""
    filename: str | None = None
    """The file's name; None for a field that is text."""
    data: bytearray = field(factory=bytearray)

    @property
    def mime_type(self) -> str:
        """The type that the sender says."""
        return self.headers.get(b"content-type", b"application/octet-stream").decode("latin-1")


@define(slots=True)
class _Form:
    """What has arrived of a form; its methods are called by the parser."""

    limits: RequestLimits
    fields: dict[str, bytes] = field(factory=dict[str, bytes])
    files: list[Attachment] = field(factory=list[Attachment])
    ended: bool = False
    _part: _Part = field(factory=_Part)
    _offered: int = 0
    """How many files have begun, those that nobody chose among them."""
    _header: bytes = b""
    _value: bytes = b""

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return the parser that fills the form.

        Raises:
            FormParserError: the boundary is none.
        """
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.name = _text(options.get(b"name", b""), "a field's name")
        # A script that sends JSON as a blob gives it the name of a file.
        if b"filename" in options and part.name != WHOLE:
            part.filename = _unescaped(_text(options[b"filename"], "a file's name"))
            self._offered += 1
            if self._offered > self.limits.attachments:
                message = f"more than {self.limits.attachments} attachments; no more are taken"
                raise PayloadTooLarge(message)
        elif part.name not in {WHOLE, *SIMPLE}:
            message = (
                f"the form's field {part.name[:80]!r} is not known: there are {WHOLE}, or "
                f"{', '.join(SIMPLE)}; a file comes with a file name"
            )
            raise RequestError(message)
        elif part.name in self.fields:
            raise RequestError(f"the form has the field {part.name!r} twice")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, limit = self._part, self.limits.attachment_bytes
        part.data += data[start:end]
        if part.filename is not None and len(part.data) > limit:
            message = f"attachment {part.filename[:255]!r} has more than {limit} bytes"
            raise PayloadTooLarge(message)

    def _part_end(self) -> None:
        part = self._part
        if part.filename is None:
            self.fields[part.name] = bytes(part.data)
        elif part.filename or part.data:  # a browser sends neither where no file was chosen
            self.files.append(Attachment(part.filename, part.mime_type, bytes(part.data)))
        self._part = _Part()

    def _end(self) -> None:
        self.ended = True


async def read_form(request: Request) -> tuple[Mapping[str, bytes], tuple[Attachment, ...]]:
    """Return a form's fields and its files.

    Raises:
        RequestError: it is no form, or has a field that is not known.
        PayloadTooLarge: it has too many files, or one that is too large; the rest is not read.
    """
    form = _Form(limits_of(request))
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError("the form cannot be read: its content type names no boundary")
    try:
        parser = form.parser(boundary)
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                parser.write(chunk)
    except FormParserError as error:
        raise RequestError(f"the form cannot be read: {error}") from error
    if not form.ended:
        raise RequestError("the form is cut off: its last boundary is missing")
    return form.fields, tuple(form.files)


def simple_request(fields: Mapping[str, bytes]) -> ChatRequest:
    """Return the request that a form's text fields make.

    Raises:
        RequestError: one has a value that it may not have.
    """
    values = {name: _text(value, f"the field {name!r}") for name, value in fields.items()}
    try:
        return msgspec.convert({"message": "", **values}, ChatRequest)
    except msgspec.ValidationError as error:
        raise RequestError(f"the form is no chat request: {error}") from error


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{what} is not in UTF-8: {value[:80]!r}") from error


def _unescaped(name: str) -> str:
    for written, meant in _ESCAPED.items():
        name = name.replace(written, meant)
    return name
