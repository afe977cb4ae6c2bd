"""How much a turn may take, and what it costs."""

import logging
from math import isfinite

from attrs import frozen
from msgspec.structs import replace

from agentrail.messages import NO_USAGE, Usage

MILLION = 1_000_000

MOST = 1_000_000_000_000
"""More tokens than one call can take."""

_log = logging.getLogger("agentrail.agent")


@frozen(slots=True)
class Limits:
    """How much one turn may take."""

    steps: int = 16
    """Model calls; in the last one the model may call no tools."""
    seconds: float = 600.0
    """The whole turn."""
    tool_seconds: float = 60.0
    """One tool call, where the tool does not say."""
    max_tokens: int | None = None
    """Output tokens of one model call; None leaves it to the model."""
    tokens: int | None = None
    """Tokens of all model calls, read and written; the turn ends after the call that reaches it."""
    cost: float | None = None
    """What all model calls may cost, in the currency of the profile's prices; like ``tokens``."""
    result_chars: int | None = None
    """Characters of one tool result; None means as many as the context window has tokens, about a
    quarter of it.  What is longer is kept whole as an artifact and shown to the model in part."""


@frozen(slots=True)
class Prices:
    """What a model's tokens cost, by the million, in any one currency."""

    input: float
    output: float
    cache_read: float | None = None
    """Input that came from the provider's cache; None means the price of input."""
    cache_write: float | None = None
    """Input that went into the provider's cache; None means the price of input."""

    def cost(self, usage: Usage) -> float:
        """Return what the tokens cost."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        spent = plain * self.input + usage.output_tokens * self.output
        spent += usage.cache_read_tokens * read + usage.cache_write_tokens * write
        return spent / MILLION


def counted(usage: Usage, prices: Prices | None) -> Usage:
    """Return what one call used, with its cost; what no call can use is not counted."""
    tokens = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
    )
    if min(tokens) < 0 or max(tokens) > MOST or not isfinite(usage.cost):
        _log.warning("a model's usage cannot be true and is not counted: %s", usage)
        return NO_USAGE
    return usage if prices is None else replace(usage, cost=prices.cost(usage))
