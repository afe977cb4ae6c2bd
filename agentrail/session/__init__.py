"""Sessions: append-only logs of events, each owned by one user and written by one holder."""

from agentrail.session._owner import check_owner
from agentrail.session._store import Deletion, Lease, Owner, SessionStore, TurnRecord
from agentrail.session._window import (
    KEY_USED,
    Transcript,
    call_ends,
    cancelling_events,
    closing_events,
    recorded,
    summary_message,
    with_attachments,
)
from agentrail.session.memory import MemorySessionStore
from agentrail.session.sqlite import SQLiteSessionStore

__all__ = [
    "KEY_USED",
    "Deletion",
    "Lease",
    "MemorySessionStore",
    "Owner",
    "SQLiteSessionStore",
    "SessionStore",
    "Transcript",
    "TurnRecord",
    "call_ends",
    "cancelling_events",
    "check_owner",
    "closing_events",
    "recorded",
    "summary_message",
    "with_attachments",
]
