"""Images that are kept as attachments, put into the messages that a model is asked with."""

from typing import Final

from attrs import define
from msgspec.structs import replace

from agentrail.hook import Call
from agentrail.messages import Image, Message, Part, Text
from agentrail.requests import ModelReply, ModelRequest
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
        session_id = request.context.session_id
        messages = [
            await self._with_images(message, session_id) if _refers(message) else message
            for message in request.messages
        ]
        return await call_next(replace(request, messages=tuple(messages)))

    async def _with_images(self, message: Message, session_id: str) -> Message:
        parts = [
            await self._image(part, session_id) if isinstance(part, Image) and part.sha256 else part
            for part in message.parts
        ]
        return replace(message, parts=tuple(parts))

    async def _image(self, image: Image, session_id: str) -> Part:
        # Only what the session refers to: a hash that somebody sends shows nothing of others.
        found = await self.blobs.find(session_id, image.sha256)
        return Text(_GONE) if found is None else Image(found[0].mime_type, found[1])


def _refers(message: Message) -> bool:
    return any(isinstance(part, Image) and part.sha256 for part in message.parts)
