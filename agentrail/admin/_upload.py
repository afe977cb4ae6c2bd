"""Packages that are uploaded, streamed to where they are examined."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

import anyio
from attrs import define, field
from msgspec import Meta
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from agentrail.admin._call import Call, Nothing, media_type, shown
from agentrail.errors import RequestError, RequestTimeout, UnsupportedMediaType
from agentrail.messages import Wire
from agentrail.package import ArchiveLimits

ZIP: Final = "application/zip"
FORM: Final = "multipart/form-data"

LARGEST: Final = ArchiveLimits().archive + 64 * 1024
"""Bytes of the largest body: an archive, and the form around it."""

SECONDS: Final = 600.0
"""How long an upload may take to arrive."""

_NAME_CHARS: Final = 255


class UploadQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """What the file is called, where the body does not say."""

    filename: Annotated[
        str | None,
        Meta(description="what the file is called, when the body is the archive itself"),
    ] = None


async def upload_plugin(call: Call, query: UploadQuery, _body: Nothing) -> Response:
    """Take in an archive or a module; none of its code runs."""
    request = call.request
    given = media_type(request)
    async with aclosing(_arriving(request)) as arriving:
        if given == ZIP:
            name = _checked(query.filename or "package.zip")
            package = await call.packages.upload(arriving, name, call.by())
        elif given == FORM:
            form = await _Form.of(request, arriving)
            async with aclosing(form.data()) as data:
                package = await call.packages.upload(data, form.filename, call.by())
        else:
            message = f"send a form with the field 'file', or the archive itself as {ZIP}"
            raise UnsupportedMediaType(message)
    return shown(package, status=201)


async def _arriving(request: Request, seconds: float = SECONDS) -> AsyncGenerator[bytes]:
    """Yield a body as it comes.

    Raises:
        RequestTimeout: it takes too long.
    """
    deadline = anyio.current_time() + seconds
    async with aclosing(request.stream()) as chunks:
        while True:
            chunk: bytes | None = None
            with anyio.CancelScope(deadline=deadline) as scope:
                chunk = await anext(chunks, None)
            if scope.cancelled_caught:
                raise RequestTimeout(f"the upload took longer than {seconds:g} s to arrive")
            if chunk is None:
                return
            yield chunk


@define(slots=True)
class _Form:
    """A form with one file in it, of which no more is held than has just arrived."""

    chunks: AsyncIterator[bytes]
    filename: str = ""
    _parser: MultipartParser = field(init=False)
    _parts: int = 0
    _headers: dict[bytes, bytes] = field(factory=dict[bytes, bytes])
    _header: bytes = b""
    _value: bytes = b""
    _began: bool = False
    """Whether the headers of the file have come."""
    _ended: bool = False
    _waiting: deque[bytes] = field(factory=deque[bytes])

    @classmethod
    async def of(cls, request: Request, chunks: AsyncIterator[bytes]) -> "_Form":
        """Return the form, read as far as the beginning of its file.

        Raises:
            RequestError: it is no form, or begins with something else than a file.
        """
        form = cls(chunks)
        _, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if not boundary:
            raise RequestError("the form cannot be read: its content type names no boundary")
        try:
            form._parser = form._made(boundary)
        except FormParserError as error:
            raise RequestError(f"the form cannot be read: {error}") from error
        while not form._began:
            await form._read()
        return form

    async def data(self) -> AsyncGenerator[bytes]:
        """Yield the file.

        Raises:
            RequestError: the form has something else in it too, or is cut off.
        """
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._ended:
                break
            await self._read()
        async for _ in self.chunks:  # what stands after the form means nothing
            pass

    async def _read(self) -> None:
        chunk = await anext(self.chunks, None)
        if chunk is None:
            raise RequestError("the form is cut off, or there is no file in it")
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestError(f"the form cannot be read: {error}") from error

    def _made(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    # What follows is called by the parser.

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise RequestError("the form has more in it than one file")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != b"file" or b"filename" not in options:
            raise RequestError("the form's field must be 'file', with the name of the file")
        try:
            name = options[b"filename"].decode()
        except UnicodeDecodeError as error:
            raise RequestError("the name of the file is not in UTF-8") from error
        self.filename = _checked(name)
        self._began = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._waiting.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _checked(name: str) -> str:
    if not 0 < len(name) <= _NAME_CHARS or not name.isprintable() or "/" in name or "\\" in name:
        message = f"{name[:80]!r} is no name of a file: at most {_NAME_CHARS} characters, no path"
        raise RequestError(message)
    return name
