"""Middleware around model calls and tool calls, ready to use.

Written qualified: ``from agentrail import middleware``, then ``middleware.cache(60)``.
"""

from agentrail.middleware._authorize import authorize
from agentrail.middleware._batch import Handler, batch
from agentrail.middleware._cache import cache
from agentrail.middleware._hide import hide_beginning
from agentrail.middleware._limit import rate_limit
from agentrail.middleware._logging import logging, slow_log
from agentrail.middleware._metrics import metrics
from agentrail.middleware._patterns import API_KEY, CARD, EMAIL, PRIVATE_KEY, SECRETS, Pattern
from agentrail.middleware._pre_post import CallContext, from_pre_post
from agentrail.middleware._redact import redact
from agentrail.middleware._retry import retry
from agentrail.middleware._seams import (
    BothSeams,
    ModelCall,
    ModelMiddleware,
    ToolCaller,
    ToolMiddleware,
    by_tenant,
    by_user,
)

__all__ = [
    "API_KEY",
    "CARD",
    "EMAIL",
    "PRIVATE_KEY",
    "SECRETS",
    "BothSeams",
    "CallContext",
    "Handler",
    "ModelCall",
    "ModelMiddleware",
    "Pattern",
    "ToolCaller",
    "ToolMiddleware",
    "authorize",
    "batch",
    "by_tenant",
    "by_user",
    "cache",
    "from_pre_post",
    "hide_beginning",
    "logging",
    "metrics",
    "rate_limit",
    "redact",
    "retry",
    "slow_log",
]
