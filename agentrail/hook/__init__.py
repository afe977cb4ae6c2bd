"""The plugin contract, and the one mechanism that calls what plugins implement."""

from agentrail.hook._chain import Call, Middleware, chain
from agentrail.hook._contract import (
    AfterResponse,
    AfterToolCall,
    AttachmentHandler,
    BeforeRequest,
    BeforeToolCall,
    ContextProvider,
    Interceptor,
    Lifecycle,
    Observer,
    OnChunk,
    OnError,
    Plugin,
    Tool,
)
from agentrail.hook._order import Hook, HookTable, compile_hooks, in_order, provider_hooks
from agentrail.hook._run import (
    FailureHandler,
    Funnel,
    PluginFailure,
    calling,
    log_failure,
)
from agentrail.hook._spec import HOOKS, HookSpec, Kind
from agentrail.hook._trace import active_tracer, span
from agentrail.hook._watchdog import Guard, Watchdog

__all__ = [
    "HOOKS",
    "AfterResponse",
    "AfterToolCall",
    "AttachmentHandler",
    "BeforeRequest",
    "BeforeToolCall",
    "Call",
    "ContextProvider",
    "FailureHandler",
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
    "Plugin",
    "PluginFailure",
    "Tool",
    "Watchdog",
    "active_tracer",
    "calling",
    "chain",
    "compile_hooks",
    "in_order",
    "log_failure",
    "provider_hooks",
    "span",
]
