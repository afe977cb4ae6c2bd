"""Sessions: append-only logs of events, each owned by one user and written by one holder."""

from agentrail.session._owner import check_owner
from agentrail.session._store import Lease, Owner, SessionStore, TurnRecord
from agentrail.session._window import (
    Transcript,
    closing_events,
    recorded,
    unanswered,
    with_attachments,
)
from agentrail.session.memory import MemorySessionStore
from agentrail.session.sqlite import SQLiteSessionStore

__all__ = [
    "Lease",
    "MemorySessionStore",
    "Owner",
    "SQLiteSessionStore",
    "SessionStore",
    "Transcript",
    "TurnRecord",
    "check_owner",
    "closing_events",
    "recorded",
    "unanswered",
    "with_attachments",
]
