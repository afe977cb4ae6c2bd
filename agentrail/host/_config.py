"""What an application is made of."""

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from agentrail.clock import Clock, SystemClock
from agentrail.hook import FailureHandler, Middleware, Plugin, log_failure
from agentrail.host._auth import Authenticator
from agentrail.messages import ToolResult
from agentrail.model import ModelProvider
from agentrail.profile import Profile
from agentrail.requests import ModelReply, ModelRequest, ToolRequest
from agentrail.route import Route
from agentrail.session import SessionStore


@frozen(kw_only=True)
class RequestLimits:
    """What one request may bring; sizes in bytes."""

    body_bytes: int = 32 * 1024 * 1024
    message_chars: int = 1_000_000
    attachments: int = 20
    attachment_bytes: int = 20 * 1024 * 1024


def _data_dir() -> Path:
    return Path(os.environ.get("AGENTRAIL_DATA_DIR", "data"))


@frozen(kw_only=True)
class AppConfig:
    """An application: who answers, how it is reached, and what holds for all of it."""

    profiles: Sequence[Profile]
    """At least one; the first answers when a request names none."""
    routes: Sequence[Route] | None = None
    """The HTTP endpoints; None means the standard ones."""
    plugins: Sequence[Plugin] = ()
    providers: Sequence[ModelProvider] = ()
    """Model providers besides ``openai`` and ``local``, or instead of one of that name."""
    model_middleware: Sequence[Middleware[ModelRequest, ModelReply]] = ()
    """Wraps every model call, the first one outermost, inside the plugins' hooks."""
    tool_middleware: Sequence[Middleware[ToolRequest, ToolResult]] = ()
    """Wraps every tool call, the first one outermost, inside the plugins' hooks."""
    data_dir: Path = field(factory=_data_dir, converter=Path)
    """Where sessions are kept; ``AGENTRAIL_DATA_DIR``, or ``data``, when left out."""
    store: SessionStore | None = None
    """Keeps the sessions instead of a SQLite file in ``data_dir``."""
    authenticator: Authenticator | None = None
    """Who may ask; None serves this machine alone and believes what requests say of themselves."""
    limits: RequestLimits = field(factory=RequestLimits)
    session_wait: float = 30.0
    """Seconds that a turn waits for its session's present turn; 0 refuses it at once."""
    stop_grace: float = 10.0
    """Seconds that turns under way have to end when the host stops; then they are cancelled."""
    on_plugin_error: FailureHandler = log_failure
    """Is told of every hook that fails."""
    clock: Clock = field(factory=SystemClock)
