"""Every error that agentrail raises on purpose, with its code.

AgentrailError                internal_error
├── ConfigError               config_invalid: the application is put together wrongly
│   ├── CompositionError      composition_invalid: its parts do not fit together
│   └── ModelReferenceError   model_reference_invalid: a model reference names no provider
├── PluginStartError          plugin_start_failed: the plugins that had started were stopped
├── HostNotRunning            host_not_running
├── RequestError              invalid_request: the request cannot be served as it is
│   ├── InvalidJSON           invalid_json
│   ├── InvalidId             invalid_id
│   ├── PayloadTooLarge       payload_too_large
│   ├── AttachmentTypeRefused attachment_type_refused
│   ├── Unauthenticated       unauthenticated
│   ├── Forbidden             forbidden
│   ├── AgentNotFound         agent_not_found
│   ├── SessionNotFound       session_not_found
│   ├── AgentMismatch         agent_mismatch
│   ├── SessionBusy           session_busy
│   ├── TurnNotFound          turn_not_found
│   ├── ArtifactNotFound      artifact_not_found
│   ├── AttachmentNotFound    attachment_not_found
│   ├── NotPending            not_pending: the turn does not wait for that approval
│   ├── KeyReused             idempotency_key_reused: the key came with another request before
│   ├── TooManyRequests       too_many_requests: a limit of this host's own
│   └── RequestRefused        request_refused: a critical plugin failed
├── SessionError              session_error
│   ├── LeaseLost             lease_lost: another writer took the session over
│   ├── TurnExists            turn_exists: a turn of that id was begun before
│   └── StorageError          storage_failed
├── ModelError                model_failed
│   ├── RateLimited           model_rate_limited
│   ├── Overloaded            model_overloaded
│   ├── ContextTooLong        context_too_long
│   ├── ModelRefused          model_refused
│   ├── ModelUnauthorized     model_unauthorized
│   │   └── QuotaExhausted    model_quota_exhausted: the account has nothing left to spend
│   ├── ModelNotFound         model_not_found: the upstream has no model of that name
│   ├── ModelUnavailable      model_unavailable: out of reach, or it broke off
│   │   └── CircuitOpen       model_circuit_open: it failed before, so it was not asked
│   ├── ModelProtocolError    model_protocol_error: it answered with something unreadable
│   └── OutputInvalid         output_invalid: it did not answer with what was to be the output
├── ToolError                 tool_failed: raise it in a tool to tell the model what went wrong
│   └── ToolArgumentsInvalid  tool_arguments_invalid
├── HookError                 hook_failed
│   ├── HookTimeout           hook_timeout: a hook was still running at its deadline
│   └── HookTypeError         hook_type_error: a hook returned something else than it may
└── DeadlineExceeded          deadline_exceeded: the turn took longer than it may

Roots are for catching, leaves for raising.  ``code`` is stable and part of the wire format.
"""

from collections.abc import Sequence
from typing import ClassVar


class AgentrailError(Exception):
    """The root of all agentrail errors.

    Attributes:
        code: a stable identifier of the kind of error.
        status: the HTTP status that fits it.
        retryable: whether the same request may succeed later, unchanged.
        detail: what happened, to what, and what to do about it.
        retry_after: seconds to wait before trying again, when known.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class ConfigError(AgentrailError):
    """The application is put together wrongly."""

    code = "config_invalid"


class CompositionError(ConfigError):
    """Plugins, profiles, tools or routes do not fit together.

    Attributes:
        faults: every fault that was found, one sentence each.
    """

    code = "composition_invalid"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("the application cannot be composed:\n  - " + "\n  - ".join(faults))


class ModelReferenceError(ConfigError):
    """A model reference is not ``provider:model``, or names no known provider."""

    code = "model_reference_invalid"


class PluginStartError(AgentrailError):
    """A plugin's ``start`` failed; the plugins that had started were stopped again."""

    code = "plugin_start_failed"


class HostNotRunning(AgentrailError):
    """The host was used before its start or after its stop."""

    code = "host_not_running"
    status = 503
    retryable = True


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


class ModelError(AgentrailError):
    """A model call failed."""

    code = "model_failed"
    status = 502


class RateLimited(ModelError):
    """The upstream refuses more calls for now."""

    code = "model_rate_limited"
    status = 429
    retryable = True


class Overloaded(ModelError):
    """The upstream has trouble of its own."""

    code = "model_overloaded"
    status = 503
    retryable = True


class ContextTooLong(ModelError):
    """The messages do not fit the model's window."""

    code = "context_too_long"
    status = 413


class ModelRefused(ModelError):
    """The upstream's filter refused the request or the answer."""

    code = "model_refused"
    status = 422


class ModelUnauthorized(ModelError):
    """The upstream does not accept the host's credentials."""

    code = "model_unauthorized"


class QuotaExhausted(ModelUnauthorized):
    """The account behind the host's credentials has nothing left to spend."""

    code = "model_quota_exhausted"


class ModelNotFound(ModelError):
    """The upstream has no model of that name, or nothing at all at its address."""

    code = "model_not_found"


class ModelUnavailable(ModelError):
    """The upstream cannot be reached, or broke off in the middle of an answer."""

    code = "model_unavailable"
    retryable = True


class CircuitOpen(ModelUnavailable):
    """The upstream was not asked: it failed again and again, or said how long to wait."""

    code = "model_circuit_open"


class ModelProtocolError(ModelError):
    """The upstream answered with something that cannot be read."""

    code = "model_protocol_error"
    retryable = True


class OutputInvalid(ModelError):
    """The model did not answer with what its profile's output type wants."""

    code = "output_invalid"


class ToolError(AgentrailError):
    """A tool could not do its work; its text is what the model is told."""

    code = "tool_failed"


class ToolArgumentsInvalid(ToolError):
    """A tool was called with arguments that do not fit its schema."""

    code = "tool_arguments_invalid"


class DeadlineExceeded(AgentrailError):
    """The turn took longer than its profile allows."""

    code = "deadline_exceeded"
    status = 504
    retryable = True


class Interrupted(AgentrailError):
    """The host that ran the turn ended before the turn did; what it had done is kept."""

    code = "interrupted"
    retryable = True


class HookError(AgentrailError):
    """A plugin's hook did not do what its contract says."""

    code = "hook_failed"


class HookTimeout(HookError):
    """A hook was still running at its deadline."""

    code = "hook_timeout"


class HookTypeError(HookError):
    """A hook returned something else than its contract says."""

    code = "hook_type_error"
