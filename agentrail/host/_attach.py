"""The files that come with a request: checked, described, and kept with the session."""

import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

from anyio import to_thread
from msgspec.structs import replace

from agentrail.attachment import IMAGES, kind_of
from agentrail.errors import AttachmentTypeRefused, PayloadTooLarge, RequestError
from agentrail.host._core import Core
from agentrail.messages import AttachedFile, Attachment, Image, Message, Text
from agentrail.requests import ChatRequest
from agentrail.route import RequestLimits
from agentrail.session import Owner

MAX_NAME: Final = 255
"""The longest file name, in characters; file systems take no longer ones."""

_ODD: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no name has: control characters, half characters, line ends."""

_OVERRIDES: Final = frozenset("/\\\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What makes a path, or lets a name read as another one."""


def check_attachments(attachments: Sequence[Attachment], limits: RequestLimits) -> None:
    """Return when the files are not too many, none is too large, and each has a plain name.

    Raises:
        PayloadTooLarge: they are over a limit.
        RequestError: one has no plain name.
    """
    if len(attachments) > limits.attachments:
        message = f"{len(attachments)} attachments; at most {limits.attachments} are taken"
        raise PayloadTooLarge(message)
    for attachment in attachments:
        _check_name(attachment.filename)
        size = len(attachment.data)
        if size > limits.attachment_bytes:
            message = (
                f"attachment {attachment.filename!r} has {size} bytes; "
                f"at most {limits.attachment_bytes} are taken"
            )
            raise PayloadTooLarge(message)
    total = sum(len(attachment.data) for attachment in attachments)
    if total > limits.attachment_bytes_in_all:
        message = (
            f"the attachments have {total} bytes in all; "
            f"at most {limits.attachment_bytes_in_all} are taken"
        )
        raise PayloadTooLarge(message)


def _check_name(name: str) -> None:
    plain = name not in {"", ".", ".."} and len(name) <= MAX_NAME
    if not plain or any(c in _OVERRIDES or unicodedata.category(c) in _ODD for c in name):
        message = (
            f"attachment name {name[:80]!r} must be a plain file name of up to {MAX_NAME} "
            "characters: no path, no control characters"
        )
        raise RequestError(message)


async def admit_attachments(
    core: Core, request: ChatRequest, tenant_id: str
) -> tuple[ChatRequest, tuple[AttachedFile, ...]]:
    """Return the request with its files' types as their content says, and what is kept of them.

    Raises:
        AttachmentTypeRefused: the host takes no files of such a type.
        PayloadTooLarge: the tenant has no room left for them.
    """
    limits = core.config.limits
    files = await to_thread.run_sync(_described, request.attachments)
    for file in files:
        if not any(fnmatchcase(file.mime_type, pattern) for pattern in limits.attachment_types):
            message = (
                f"attachment {file.filename!r} is {file.mime_type} by its content; "
                f"taken are {', '.join(limits.attachment_types) or 'none'}"
            )
            raise AttachmentTypeRefused(message)
    await core.blobs.check_room(tenant_id, files, limits.attachment_bytes_of_tenant)
    attachments = [
        replace(attachment, mime_type=file.mime_type)
        for attachment, file in zip(request.attachments, files, strict=True)
    ]
    return replace(request, attachments=tuple(attachments)), files


def _described(attachments: Sequence[Attachment]) -> tuple[AttachedFile, ...]:
    return tuple(
        [
            AttachedFile(
                sha256=sha256(each.data).hexdigest(),
                filename=each.filename,
                mime_type=kind_of(each.filename, each.data),
                size=len(each.data),
            )
            for each in attachments
        ]
    )


def asked(request: ChatRequest, files: Sequence[AttachedFile], *, images: bool) -> Message:
    """Return the user's message; with the images among the files, where they are to be shown."""
    user = Message.user(request.message)
    if not files:
        return user
    user = replace(user, files=tuple([file.filename for file in files]))
    shown = [Image(file.mime_type, b"", file.sha256) for file in files if file.mime_type in IMAGES]
    if not images or not shown:
        return user
    # Providers refuse a text that is empty.
    parts = [part for part in user.parts if not isinstance(part, Text) or part.text.strip()]
    return replace(user, parts=(*parts, *shown))


async def keep_attachments(
    core: Core, request: ChatRequest, files: Sequence[AttachedFile], owner: Owner, session_id: str
) -> None:
    """Keep the content of the files for a session that is held.

    Raises:
        PayloadTooLarge: the tenant has no room left for them.
        StorageError: the disk is full, or cannot be written to.
    """
    contents = [attachment.data for attachment in request.attachments]
    limit = core.config.limits.attachment_bytes_of_tenant
    kept = list(zip(files, contents, strict=True))
    await core.blobs.keep(owner.tenant_id, owner.user_id, session_id, kept, limit)
    if not await core.store.read(session_id, limit=1):  # it was deleted meanwhile
        await core.blobs.forget(owner.tenant_id, owner.user_id, session_id)
