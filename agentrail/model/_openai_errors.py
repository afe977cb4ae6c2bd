"""What went wrong upstream, as one of our errors."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, cast

import msgspec

from agentrail.errors import (
    ContextTooLong,
    ModelError,
    ModelRefused,
    ModelUnauthorized,
    Overloaded,
    RateLimited,
)

SHOWN: Final = 500
"""How many characters of an upstream's explanation are shown."""

# What an upstream names its error, in ``code`` or ``type``, says more than the status.
_BY_WORD: Final[dict[object, type[ModelError]]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ModelRefused,
    "content_policy_violation": ModelRefused,
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "overloaded_error": Overloaded,
    "server_error": Overloaded,
    "invalid_api_key": ModelUnauthorized,
}
_BY_STATUS: Final[dict[int, type[ModelError]]] = {
    401: ModelUnauthorized,
    403: ModelUnauthorized,
    429: RateLimited,
}
_SERVER_ERRORS: Final = 500
# For upstreams that have no code for it.
_TOO_LONG: Final = ("maximum context length", "context length exceeded", "exceeds the context")


def upstream_error(
    who: str, status: int | None, body: bytes, headers: Mapping[str, str], *, secret: str = ""
) -> ModelError:
    """Return the error that an upstream's answer means.

    Args:
        who: who answered, for the text.
        status: the HTTP status; None for an error in the middle of a stream.
        body: what the upstream said: JSON with an ``error``, or anything else.
        headers: the answer's headers, names in lower case.
        secret: what must not be shown, should the upstream repeat it.
    """
    said, words = _explanation(body)
    code = next((word for word in words if isinstance(word, int)), None)
    status = code if status is None else status
    shown = said.replace(secret, "***") if secret else said
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
    detail = f"{who} answered {status or 'in the middle of a stream'}: {shown or 'nothing'}"
    kind = _kind(status, said, words)
    return kind(detail, retry_after=retry_after(headers))


def _kind(status: int | None, said: str, words: tuple[object, ...]) -> type[ModelError]:
    for word in words:
        if isinstance(word, str) and word in _BY_WORD:
            return _BY_WORD[word]
    if status in {400, 413, None} and any(phrase in said.lower() for phrase in _TOO_LONG):
        return ContextTooLong
    if status is not None and status >= _SERVER_ERRORS:
        return Overloaded
    return _BY_STATUS.get(status or 0, ModelError)


def _explanation(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Return what the upstream said, and its ``code`` and ``type``."""
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace").strip(), ()
    error = _object(decoded).get("error", decoded)
    fields = _object(error)
    said = error if isinstance(error, str) else fields.get("message")
    if not isinstance(said, str):
        said = body.decode(errors="replace").strip()
    return said, (fields.get("code"), fields.get("type"))


def _object(value: object) -> dict[str, object]:
    # JSON has no other keys than strings.
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``retry-after`` asks for, whether it is a number or a date.

    A date is compared with the answer's own ``date``, so that only one clock is asked.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
            seconds = (then - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None
