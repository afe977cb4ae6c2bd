"""Images that are kept as attachments, put into the messages that a model is asked with."""

from collections.abc import Mapping
from typing import Final

from attrs import define
from msgspec.structs import replace

from agentrail.hook import Call
from agentrail.messages import Image, Message, Part, Text
from agentrail.requests import ModelReply, ModelRequest, RequestContext
from agentrail.storage import Blobs

_GONE: Final = "[an image that is no longer there]"
"""What a model is told in place of an image whose file is lost."""


@define(slots=True, eq=False)
class Images:
    """The innermost middleware of every model call: the log and all before it have hashes."""

    blobs: Blobs

    async def __call__(
        self, request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        """Pass the request on with the images in it."""
        if request.context is None or not any(map(_refers, request.messages)):
            return await call_next(request)
        shown: dict[str, Part] = {}  # each is read once, however often it is in the window
        for message in request.messages:
            for part in message.parts:
                if isinstance(part, Image) and part.sha256 and part.sha256 not in shown:
                    shown[part.sha256] = await self._image(request.context, part.sha256)
        messages = [_with_images(message, shown) for message in request.messages]
        return await call_next(replace(request, messages=tuple(messages)))

    async def _image(self, asked: RequestContext, digest: str) -> Part:
        # Only what the session refers to: a hash that somebody makes up shows nothing of others.
        found = await self.blobs.find(asked.tenant_id, asked.user_id, asked.session_id, digest)
        return Text(_GONE) if found is None else Image(found[0].mime_type, found[1])


def _with_images(message: Message, shown: Mapping[str, Part]) -> Message:
    if not _refers(message):
        return message
    parts = [
        shown.get(part.sha256, part) if isinstance(part, Image) else part for part in message.parts
    ]
    return replace(message, parts=tuple(parts))


def _refers(message: Message) -> bool:
    return any(isinstance(part, Image) and part.sha256 for part in message.parts)
