"""The plugin contract, and the one mechanism that calls what plugins implement."""

from agentrail.hook._account import Account
from agentrail.hook._breaker import Breaker
from agentrail.hook._chain import Call, Middleware, chain
from agentrail.hook._contain import as_failure, contained, thrown
from agentrail.hook._contract import (
    AfterResponse,
    AfterToolCall,
    AttachmentHandler,
    BeforeRequest,
    BeforeToolCall,
    ContextProvider,
    Fallback,
    Interceptor,
    Lifecycle,
    Observer,
    OnChunk,
    OnError,
    Plugin,
    Policy,
    Tool,
    fallback,
)
from agentrail.hook._coverage import COVERAGE, Path
from agentrail.hook._order import Hook, HookTable, compile_hooks, in_order, provider_hooks
from agentrail.hook._policy import FAILED, attempt
from agentrail.hook._run import (
    FailureHandler,
    Funnel,
    PluginFailure,
    calling,
    log_failure,
)
from agentrail.hook._spec import HOOKS, HookSpec, Kind
from agentrail.hook._trace import Watcher, active_tracer, apart, kind_of, late_spans, span
from agentrail.hook._watchdog import Guard, Watchdog

__all__ = [
    "COVERAGE",
    "FAILED",
    "HOOKS",
    "Account",
    "AfterResponse",
    "AfterToolCall",
    "AttachmentHandler",
    "BeforeRequest",
    "BeforeToolCall",
    "Breaker",
    "Call",
    "ContextProvider",
    "FailureHandler",
    "Fallback",
    "Funnel",
    "Guard",
    "Hook",
    "HookSpec",
    "HookTable",
    "Interceptor",
    "Kind",
    "Lifecycle",
    "Middleware",
    "Observer",
    "OnChunk",
    "OnError",
    "Path",
    "Plugin",
    "PluginFailure",
    "Policy",
    "Tool",
    "Watchdog",
    "Watcher",
    "active_tracer",
    "apart",
    "as_failure",
    "attempt",
    "calling",
    "chain",
    "compile_hooks",
    "contained",
    "fallback",
    "in_order",
    "kind_of",
    "late_spans",
    "log_failure",
    "provider_hooks",
    "span",
    "thrown",
]
