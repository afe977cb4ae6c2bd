"""What the requests to all upstreams are made of."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, cast

import msgspec

from agentrail.messages import Image, Part, Reasoning, ToolSpec

Json = dict[str, object]

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_CHARS: Final = 64
_ID_CHARS: Final = 40
_DIGEST_BYTES: Final = 8


def as_object(value: object) -> Json:
    """Return ``value`` if it is a JSON object, or else an empty one."""
    # JSON has no other keys than strings.
    return cast("Json", value) if isinstance(value, dict) else {}


def encode(body: Json, more: Mapping[str, object]) -> bytes:
    """Return ``body`` as JSON, with the fields of ``more`` in it; what both hold is joined."""
    for name, value in more.items():
        own, over = as_object(body.get(name)), as_object(value)
        body[name] = own | over if own and over else value
    return msgspec.json.encode(body)


def parameters(tool: ToolSpec) -> Mapping[str, object]:
    """Return a tool's whole JSON Schema."""
    if tool.parameters is msgspec.UNSET:
        return {"type": "object", "properties": {}}
    return tool.parameters


def in_tags(text: str) -> str:
    """Return what the application says later, as a user's text that tells who says it."""
    return f"<system>\n{text}\n</system>"


def without_last_thought(parts: Sequence[Part]) -> Sequence[Part]:
    """Return what an answer says, without reasoning that nothing follows, as where it was cut off.

    Upstreams refuse to be sent that.
    """
    end = len(parts)
    while end and isinstance(parts[end - 1], Reasoning):
        end -= 1
    return parts[:end]


def safe_name(name: str) -> str:
    """Return a tool's name as every upstream takes it: a model may have made one up."""
    return _NOT_IN_NAMES.sub("_", name)[:_NAME_CHARS] or "unknown"


def short_id(call_id: str) -> str:
    """Return a call's id as short as every upstream takes it: it may be from another one."""
    if len(call_id) <= _ID_CHARS:
        return call_id
    return "call_" + blake2b(call_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def safe_id(call_id: str) -> str:
    """Return a call's id, short and without the characters that some upstreams refuse."""
    return _NOT_IN_NAMES.sub("_", short_id(call_id))


def base64(image: Image) -> str:
    """Return an image's data as text."""
    return b64encode(image.data).decode()


def data_url(image: Image) -> str:
    """Return an image as a URL that holds it."""
    return f"data:{image.mime_type};base64,{base64(image)}"
