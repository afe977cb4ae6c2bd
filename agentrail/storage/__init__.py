"""Where things are kept: SQLite files."""

from agentrail.storage.presence import Presence
from agentrail.storage.sqlite import Database, Job

__all__ = ["Database", "Job", "Presence"]
