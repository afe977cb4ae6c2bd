"""The host: composes an application and runs its turns."""

from agentrail.host._app import AgentApp, already_started, create_app
from agentrail.host._auth import Authenticator, BearerTokens, is_loopback
from agentrail.host._compose import Composition, Served
from agentrail.host._config import AppConfig
from agentrail.host._host import AgentHost
from agentrail.host._inspect import Seen, inspect_context, said
from agentrail.host._past import Past, no_turn, past_of
from agentrail.host._stream import RunStream
from agentrail.route import RequestLimits
from agentrail.settings import SettingsSource

__all__ = [
    "AgentApp",
    "AgentHost",
    "AppConfig",
    "Authenticator",
    "BearerTokens",
    "Composition",
    "Past",
    "RequestLimits",
    "RunStream",
    "Seen",
    "Served",
    "SettingsSource",
    "already_started",
    "create_app",
    "inspect_context",
    "is_loopback",
    "no_turn",
    "past_of",
    "said",
]
