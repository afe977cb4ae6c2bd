"""Routes: how a host is reached over HTTP."""

from agentrail.route._route import Endpoint, Route, owner_of, principal_of
from agentrail.route._sse import HEARTBEAT, StreamResponse, frame
from agentrail.route._standard import (
    chat,
    delete_session,
    health,
    read_chat_request,
    ready,
    reply,
    session_messages,
    sessions,
    standard_routes,
    stream,
)

__all__ = [
    "HEARTBEAT",
    "Endpoint",
    "Route",
    "StreamResponse",
    "chat",
    "delete_session",
    "frame",
    "health",
    "owner_of",
    "principal_of",
    "read_chat_request",
    "ready",
    "reply",
    "session_messages",
    "sessions",
    "standard_routes",
    "stream",
]
