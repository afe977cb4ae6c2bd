"""Sessions that could not be read or written."""

from agentrail.errors._base import AgentrailError


class SessionError(AgentrailError):
    """A session could not be read or written."""

    code = "session_error"


class LeaseLost(SessionError):
    """Another writer took the session over; nothing more was written."""

    code = "lease_lost"
    status = 409
    retryable = True


class TurnExists(SessionError):
    """A turn of that id was begun before, in another process; nothing was written."""

    code = "turn_exists"
    status = 409
    retryable = True


class StorageError(SessionError):
    """The storage under the sessions failed."""

    code = "storage_failed"
    status = 503
    retryable = True
