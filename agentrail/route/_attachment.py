"""The endpoints that give files back."""

from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from agentrail.messages import AttachedFile, Wire
from agentrail.requests import Host
from agentrail.route._answers import reply
from agentrail.route._route import owner_of

_SAFE: Final = {
    # Whatever somebody uploaded, no browser is to run it as a page of this host.
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-store",
}


class AttachmentList(Wire, omit_defaults=False):
    """What ``GET /sessions/{session_id}/attachments`` answers."""

    attachments: tuple[AttachedFile, ...]


async def attachments(request: Request, host: Host) -> Response:
    """List the files that came with the messages of a session."""
    found = await host.attachments(owner_of(request), request.path_params["session_id"])
    return reply(AttachmentList(tuple(found)))


async def attachment(request: Request, host: Host) -> Response:
    """Answer with a file that came with a message of the session, as it came."""
    file = await host.attachment(
        owner_of(request), request.path_params["session_id"], request.path_params["sha256"]
    )
    name = quote(file.filename, safe="")
    disposition = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    response = Response(file.data, headers={**_SAFE, **disposition})
    # Not by ``media_type``, which would add a charset that nobody knows.
    response.headers["content-type"] = file.mime_type
    return response
