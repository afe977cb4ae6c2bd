"""What an application is made of."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from attrs import field, frozen

from agentrail.access import May
from agentrail.clock import Clock, SystemClock
from agentrail.hook import FailureHandler, Middleware, Plugin, log_failure
from agentrail.host._auth import Authenticator
from agentrail.messages import ToolResult
from agentrail.model import ModelProvider
from agentrail.plugin import PackageSettings
from agentrail.profile import Profile
from agentrail.requests import ModelReply, ModelRequest, ToolRequest
from agentrail.route import RequestLimits, Route
from agentrail.session import SessionStore
from agentrail.telemetry import captures_content

HookSpans = Literal["all", "slow", "errors"]
"""Which calls of hooks make spans."""


def _data_dir() -> Path:
    return Path(os.environ.get("AGENTRAIL_DATA_DIR", "data"))


def _hook_spans() -> HookSpans:
    return cast("HookSpans", os.environ.get("AGENTRAIL_HOOK_SPANS") or "all")


@frozen(kw_only=True)
class AppConfig:
    """An application: who answers, how it is reached, and what holds for all of it."""

    profiles: Sequence[Profile]
    """At least one; the first answers when a request names none."""
    routes: Sequence[Route] | None = None
    """The HTTP endpoints; None means the standard ones."""
    plugins: Sequence[Plugin] = ()
    packages: PackageSettings | None = None
    """Plugins that come as files, and may be changed while the host runs; None takes none."""
    providers: Sequence[ModelProvider] = ()
    """Model providers besides ``openai`` and ``local``, or instead of one of that name."""
    model_middleware: Sequence[Middleware[ModelRequest, ModelReply]] = ()
    """Wraps every model call, the first one outermost, inside the plugins' hooks."""
    tool_middleware: Sequence[Middleware[ToolRequest, ToolResult]] = ()
    """Wraps every tool call, the first one outermost, inside the plugins' hooks."""
    data_dir: Path = field(factory=_data_dir, converter=Path)
    """Where sessions and attachments are kept; ``AGENTRAIL_DATA_DIR``, or ``data``, when left out.
    """
    store: SessionStore | None = None
    """Keeps the sessions instead of a SQLite file in ``data_dir``."""
    authenticator: Authenticator | None = None
    """Who may ask; None serves this machine alone and believes what requests say of themselves."""
    roles: Mapping[str, Sequence[May]] = field(factory=dict[str, Sequence[May]])
    """What principals with roles of the application's own may do over ``/api``."""
    limits: RequestLimits = field(factory=RequestLimits)
    session_wait: float = 30.0
    """Seconds that a turn waits for its session's present turn; 0 refuses it at once."""
    stop_grace: float = 10.0
    """Seconds that turns under way have to end when the host stops; then they are cancelled."""
    session_days: float | None = None
    """Days after which a session that nobody has used is deleted; None keeps it for ever."""
    on_plugin_error: FailureHandler = log_failure
    """Is told of every hook that fails."""
    hook_spans: HookSpans = field(factory=_hook_spans)
    """Which hook calls make spans: ``all``; ``slow``, those that took ``slow_hook`` seconds or
    failed; ``errors``, those that failed.  ``AGENTRAIL_HOOK_SPANS``, or all, when left out."""
    slow_hook: float = 0.1
    """Seconds from which on a call of a hook is slow."""
    capture_content: bool = field(factory=captures_content)
    """Whether spans have what users, models and tools say.
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``, or not, when left out."""
    clock: Clock = field(factory=SystemClock)
