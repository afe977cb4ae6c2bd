"""What went wrong upstream, as one of our errors."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from agentrail.errors import (
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelRefused,
    ModelUnauthorized,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from agentrail.model._wire import as_object

SHOWN: Final = 500
"""How many characters of an upstream's explanation are shown."""


class ReasoningRefused(ModelError):
    """The upstream does not know reasoning as its own that it, or another of its name, signed."""


# What an upstream names its error, in ``code`` or ``type``, says more than the status.
_WORDS: Final[dict[type[ModelError], tuple[str, ...]]] = {
    ContextTooLong: ("context_length_exceeded", "exceed_context_size_error", "request_too_large"),
    ModelRefused: (
        *("content_filter", "content_policy_violation", "image_content_policy_violation"),
        *("bio_policy", "misalignment_policy_violation"),
    ),
    QuotaExhausted: (
        *("insufficient_quota", "billing_error", "billing_not_active"),
        *("billing_hard_limit_reached", "enforced_spend_limit_reached"),
        "contract_spend_limit_reached",
    ),
    RateLimited: ("rate_limit_exceeded", "rate_limit_error"),
    Overloaded: ("overloaded_error", "server_error", "api_error", "timeout_error"),
    ModelUnauthorized: (
        *("invalid_api_key", "authentication_error", "permission_error"),
        "organization_on_hold",
    ),
    ModelNotFound: ("model_not_found",),
    ReasoningRefused: ("invalid_encrypted_content",),
}
_BY_WORD: Final = {word: kind for kind, words in _WORDS.items() for word in words}
_BY_STATUS: Final[dict[int, type[ModelError]]] = {
    401: ModelUnauthorized,
    402: QuotaExhausted,
    403: ModelUnauthorized,
    404: ModelNotFound,
    408: Overloaded,
    413: ContextTooLong,
    429: RateLimited,
}
_SERVER_ERRORS: Final = 500
_NUMBERS: Final = {"retry-after-ms": 0.001, "retry-after": 1.0}
_DATES: Final = ("retry-after", "date")
# For upstreams that have no code for it.
_PHRASES: Final[dict[str, type[ModelError]]] = {
    "maximum context length": ContextTooLong,
    "maximum prompt length": ContextTooLong,
    "exceeds the maximum number of tokens": ContextTooLong,
    "context length exceeded": ContextTooLong,
    "exceeds the context": ContextTooLong,
    "exceed context limit": ContextTooLong,
    "prompt is too long": ContextTooLong,
    "input is too long": ContextTooLong,
    "invalid `signature` in `thinking`": ReasoningRefused,
    "content filtering policy": ModelRefused,
    "flagged as potentially violating": ModelRefused,
    "credit balance is too low": QuotaExhausted,
}


def upstream_error(
    who: str,
    status: int | None,
    body: bytes,
    headers: Mapping[str, str],
    *,
    hide: Callable[[str], str] = str,
) -> ModelError:
    """Return the error that an upstream's answer means.

    Args:
        who: who answered, for the text.
        status: the HTTP status; None for an error in the middle of a stream.
        body: what the upstream said: JSON with an ``error``, or anything else.
        headers: the answer's headers, names in lower case.
        hide: returns a text without what must not be shown, should the upstream repeat it.
    """
    said, words = _explanation(body)
    code = next((word for word in words if isinstance(word, int)), None)
    status = code if status is None else status
    shown = hide(said)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
    detail = f"{who} answered {status or 'in the middle of a stream'}: {shown or 'nothing'}"
    kind = _kind(status, said, words)
    return kind(detail, retry_after=retry_after(headers))


def _kind(status: int | None, said: str, words: tuple[object, ...]) -> type[ModelError]:
    for word in words:
        if isinstance(word, str) and word in _BY_WORD:
            return _BY_WORD[word]
    if status in {400, 413, None}:
        for phrase, kind in _PHRASES.items():
            if phrase in said.lower():
                return kind
    if status is not None and status >= _SERVER_ERRORS:
        return Overloaded
    return _BY_STATUS.get(status or 0, ModelError)


def _explanation(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Return what the upstream said, and what it names the error: the narrowest name first."""
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace").strip(), ()
    error = as_object(decoded).get("error", decoded)
    fields = as_object(error)
    said = error if isinstance(error, str) else fields.get("message")
    if not isinstance(said, str):
        said = body.decode(errors="replace").strip()
    detail = as_object(fields.get("details")).get("error_code")
    return said, (detail, fields.get("code"), fields.get("type"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an upstream asks to wait, whether as a number or as a date.

    A date is compared with the answer's own ``date``, so that only one clock is asked.
    """
    for name, unit in _NUMBERS.items():
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit
            return max(seconds, 0.0) if seconds < float("inf") else None
    with suppress(ValueError, TypeError):
        then, now = [parsedate_to_datetime(headers.get(name, "")) for name in _DATES]
        return max((then - now).total_seconds(), 0.0)
    return None
