"""agentrail: a host for AI agents.

An application composes profiles (who answers), routes (how it is reached) and plugins (what holds
for all of them); the host runs it on asyncio and on trio.
"""

from agentrail.agent import Limits
from agentrail.command import Commands, command
from agentrail.errors import AgentrailError, ToolError
from agentrail.events import Event
from agentrail.hook import ContextProvider, Middleware, Plugin, PluginFailure, Tool
from agentrail.host import (
    AgentApp,
    AgentHost,
    AppConfig,
    Authenticator,
    BearerTokens,
    RequestLimits,
    create_app,
)
from agentrail.messages import Attachment, Image, Message, Part, Text, ToolCall, ToolResult, Usage
from agentrail.model import ModelProvider, ScriptedModel
from agentrail.plugin import define_plugin
from agentrail.profile import Profile
from agentrail.requests import (
    ChatRequest,
    ChatResponse,
    Delta,
    Host,
    ModelReply,
    ModelRequest,
    Principal,
    RequestContext,
    ToolRequest,
)
from agentrail.route import Route, standard_routes
from agentrail.session import MemorySessionStore, SessionStore, SQLiteSessionStore
from agentrail.tool import tool

__all__ = [
    "AgentApp",
    "AgentHost",
    "AgentrailError",
    "AppConfig",
    "Attachment",
    "Authenticator",
    "BearerTokens",
    "ChatRequest",
    "ChatResponse",
    "Commands",
    "ContextProvider",
    "Delta",
    "Event",
    "Host",
    "Image",
    "Limits",
    "MemorySessionStore",
    "Message",
    "Middleware",
    "ModelProvider",
    "ModelReply",
    "ModelRequest",
    "Part",
    "Plugin",
    "PluginFailure",
    "Principal",
    "Profile",
    "RequestContext",
    "RequestLimits",
    "Route",
    "SQLiteSessionStore",
    "ScriptedModel",
    "SessionStore",
    "Text",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolRequest",
    "ToolResult",
    "Usage",
    "command",
    "create_app",
    "define_plugin",
    "standard_routes",
    "tool",
]
