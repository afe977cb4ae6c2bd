"""Where things are kept: SQLite files, and files by the hash of their content."""

from agentrail.storage.blobs import Blobs
from agentrail.storage.presence import Presence
from agentrail.storage.reading import ReadOnlyDatabase, read_only
from agentrail.storage.sqlite import Database, Job

__all__ = ["Blobs", "Database", "Job", "Presence", "ReadOnlyDatabase", "read_only"]
