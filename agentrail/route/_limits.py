"""How much one request may bring."""

from collections.abc import Sequence

from attrs import frozen
from starlette.requests import Request


@frozen(kw_only=True)
class RequestLimits:
    """What one request may bring; sizes in bytes."""

    body_bytes: int = 32 * 1024 * 1024
    message_chars: int = 1_000_000
    attachments: int = 20
    attachment_bytes: int = 20 * 1024 * 1024
    attachment_bytes_in_all: int = 32 * 1024 * 1024
    attachment_bytes_of_tenant: int = 1024 * 1024 * 1024
    """What the attachments that are kept for one tenant may take, each content counted once."""
    attachment_types: Sequence[str] = ("*",)
    """The types that are taken, as ``image/*``; a file is of the type that its content says."""


def limits_of(request: Request) -> RequestLimits:
    """Return the limits of the host that serves the request."""
    limits = getattr(request.state, "limits", None)
    return limits if isinstance(limits, RequestLimits) else RequestLimits()
