"""Requests that cannot be served as they are."""

from agentrail.errors._base import AgentrailError


class RequestError(AgentrailError):
    """The caller's request cannot be served as it is."""

    code = "invalid_request"
    status = 422


class InvalidJSON(RequestError):
    """The request's body is not JSON."""

    code = "invalid_json"
    status = 400


class InvalidId(RequestError):
    """An identifier in the request is not one: see ``agentrail.ids``."""

    code = "invalid_id"


class PayloadTooLarge(RequestError):
    """The body, an attachment, or how many there are is over its limit."""

    code = "payload_too_large"
    status = 413


class RequestTimeout(RequestError):
    """The body took too long to arrive."""

    code = "request_timeout"
    status = 408
    retryable = True


class PreconditionFailed(RequestError):
    """What the request is about was changed since the caller looked at it."""

    code = "precondition_failed"
    status = 412


class UnsupportedMediaType(RequestError):
    """The body is of another type than the route takes."""

    code = "unsupported_media_type"
    status = 415


class AttachmentTypeRefused(RequestError):
    """The host takes no attachments of that type; the type is what the content says."""

    code = "attachment_type_refused"
    status = 415


class Unauthenticated(RequestError):
    """The request carries no valid credentials."""

    code = "unauthenticated"
    status = 401


class Forbidden(RequestError):
    """The request comes from where, or asks for what, it may not."""

    code = "forbidden"
    status = 403


class AgentNotFound(RequestError):
    """No profile has the id that the request names."""

    code = "agent_not_found"
    status = 404


class SessionNotFound(RequestError):
    """The caller has no session with that id; sessions of others look the same."""

    code = "session_not_found"
    status = 404


class AgentMismatch(RequestError):
    """The session belongs to another agent than the one that the request names."""

    code = "agent_mismatch"
    status = 409


class SessionBusy(RequestError):
    """Another turn holds the session, and the time to wait for it is over."""

    code = "session_busy"
    status = 409
    retryable = True


class TurnNotFound(RequestError):
    """The caller has no turn with that id; turns of others look the same."""

    code = "turn_not_found"
    status = 404


class ArtifactNotFound(RequestError):
    """The session has no artifact with that id."""

    code = "artifact_not_found"
    status = 404


class AttachmentNotFound(RequestError):
    """The session has no attachment with that hash."""

    code = "attachment_not_found"
    status = 404


class TokenNotFound(RequestError):
    """There is no bearer token of that id."""

    code = "token_not_found"
    status = 404


class SettingsNotFound(RequestError):
    """The host has no settings but those in its code."""

    code = "settings_not_found"
    status = 404


class RevisionNotFound(RequestError):
    """The settings have no revision of that number, or have it no more."""

    code = "revision_not_found"
    status = 404


class SecretNotFound(RequestError):
    """No sealed secret has that name."""

    code = "secret_not_found"
    status = 404


class NotPending(RequestError):
    """The turn does not wait for the approval that was given or refused."""

    code = "not_pending"
    status = 409


class KeyReused(RequestError):
    """The idempotency key came with another request before."""

    code = "idempotency_key_reused"


class TooManyRequests(RequestError):
    """The caller is over a limit of this host's own."""

    code = "too_many_requests"
    status = 429
    retryable = True


class RequestRefused(RequestError):
    """A critical plugin failed while it decided about the request."""

    code = "request_refused"
    status = 503
    retryable = True
