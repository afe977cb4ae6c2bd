"""Routes: how a host is reached over HTTP."""

from agentrail.route._answers import ChatAnswer, answer_of, reply
from agentrail.route._route import Endpoint, Route, owner_of, principal_of
from agentrail.route._sse import HEARTBEAT, StreamResponse, frame
from agentrail.route._standard import (
    chat,
    delete_session,
    health,
    read_chat_request,
    ready,
    session_messages,
    sessions,
    standard_routes,
    stream,
)
from agentrail.route._turns import artifact, cancel_turn, decide, turn, turn_events

__all__ = [
    "HEARTBEAT",
    "ChatAnswer",
    "Endpoint",
    "Route",
    "StreamResponse",
    "answer_of",
    "artifact",
    "cancel_turn",
    "chat",
    "decide",
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
    "turn",
    "turn_events",
]
