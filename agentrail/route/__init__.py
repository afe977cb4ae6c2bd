"""Routes: how a host is reached over HTTP."""

from agentrail.route._answers import ChatAnswer, answer_of, decode, reply
from agentrail.route._attachment import attachment, attachments
from agentrail.route._commands import CommandList, commands_route
from agentrail.route._limits import RequestLimits
from agentrail.route._metrics import metrics_route
from agentrail.route._route import Endpoint, Route, owner_of, principal_of
from agentrail.route._sse import HEARTBEAT, StreamResponse, frame, until_hang_up
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
    "CommandList",
    "Endpoint",
    "RequestLimits",
    "Route",
    "StreamResponse",
    "answer_of",
    "artifact",
    "attachment",
    "attachments",
    "cancel_turn",
    "chat",
    "commands_route",
    "decide",
    "decode",
    "delete_session",
    "frame",
    "health",
    "metrics_route",
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
    "until_hang_up",
]
