"""Images that are kept as attachments, put into the messages that a model is asked with."""

from collections.abc import Iterable
from typing import Final

from attrs import define, field
from msgspec.structs import replace

from agentrail.hook import Call
from agentrail.messages import Image, Message, Part, Text, ToolResult
from agentrail.requests import ModelReply, ModelRequest, RequestContext
from agentrail.storage import Blobs

IMAGES: Final = 20
"""Images that one model call has at most; of more, Anthropic refuses those over 2,000 pixels."""

IMAGE_BYTES: Final = 14_000_000
"""Bytes of all images of one model call: in base64 they are 18.7 of the 20 MB that the strictest of
the large providers, Gemini, takes as a whole request.  Anthropic takes 32 MB."""

_GONE: Final = "[an image that is no longer there]"
"""What a model is told in place of an image whose file is lost."""

LEFT_OUT: Final = (
    f"[an image that is left out: a call takes the newest {IMAGES} images, "
    f"of {IMAGE_BYTES // 1_000_000} MB together]"
)
"""What a model is told in place of an image that is too much."""


@define(slots=True, eq=False)
class Images:
    """The innermost middleware of every model call: the log and all before it have hashes."""

    blobs: Blobs

    async def __call__(
        self, request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        """Pass the request on with the newest images in it, as many as providers take."""
        if request.on_sent is not None:
            request.on_sent(request)
        if not _have_images(request.messages):
            return await call_next(request)
        shown = _Shown(self.blobs, request.context)
        messages = [await shown.message(message) for message in reversed(request.messages)]
        return await call_next(replace(request, messages=tuple(reversed(messages))))


@define(slots=True, eq=False)
class _Shown:
    """The images of one call, which are taken in newest first."""

    blobs: Blobs
    context: RequestContext | None
    count: int = 0
    left: int = IMAGE_BYTES
    _read: dict[str, Image | None] = field(factory=dict[str, Image | None], init=False)
    """Each is read once, however often it is in the window."""

    async def message(self, message: Message) -> Message:
        if not _have_images([message]):
            return message
        parts = [await self._part(part) for part in reversed(message.parts)]
        return replace(message, parts=tuple(reversed(parts)))

    async def _part(self, part: Part) -> Part:
        if isinstance(part, Image):
            return await self._image(part)
        if isinstance(part, ToolResult) and part.images:
            return await self._result(part)
        return part

    async def _result(self, result: ToolResult) -> ToolResult:
        parts = [await self._image(image) for image in reversed(result.images)]
        images = [part for part in reversed(parts) if isinstance(part, Image)]
        notes = [part.text for part in reversed(parts) if isinstance(part, Text)]
        return replace(result, content="\n".join([result.content, *notes]), images=tuple(images))

    async def _image(self, image: Image) -> Image | Text:
        if self.count >= IMAGES or not self.left:
            return Text(LEFT_OUT)
        found = await self._found(image)
        if found is None:
            return Text(_GONE)
        size = len(found.data)
        if size > self.left:
            # With the first that is too much, all that are older go: it is not the small ones that
            # are to stay.  One that never fits does not drive out the others.
            self.left = 0 if size <= IMAGE_BYTES else self.left
            return Text(LEFT_OUT)
        self.count += 1
        self.left -= size
        return found

    async def _found(self, image: Image) -> Image | None:
        """Return the image with its bytes, or None when they are lost."""
        digest, asked = image.sha256, self.context
        if not digest or asked is None:
            return image
        if digest not in self._read:
            # Only what the session refers to: a hash that somebody makes up shows nothing of
            # others.
            found = await self.blobs.find(asked.tenant_id, asked.user_id, asked.session_id, digest)
            self._read[digest] = None if found is None else Image(found[0].mime_type, found[1])
        return self._read[digest]


def _have_images(messages: Iterable[Message]) -> bool:
    for message in messages:  # loops and no generators: every model call's whole window passes here
        for part in message.parts:
            if isinstance(part, Text):
                continue
            if isinstance(part, Image) or (isinstance(part, ToolResult) and part.images):
                return True
    return False
