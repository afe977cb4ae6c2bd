"""Every error that agentrail raises on purpose, with its code.

AgentrailError                internal_error
├── ConfigError               config_invalid: the application is put together wrongly
│   ├── ConfigRefused         config_refused: a file of settings is not used, and why
│   ├── CompositionError      composition_invalid: its parts do not fit together
│   └── ModelReferenceError   model_reference_invalid: a model reference names no provider
├── PluginStartError          plugin_start_failed: the plugins that had started were stopped
├── HostNotRunning            host_not_running
├── RequestError              invalid_request: the request cannot be served as it is
│   ├── InvalidJSON           invalid_json
│   ├── InvalidId             invalid_id
│   ├── PayloadTooLarge       payload_too_large
│   ├── RequestTimeout        request_timeout: the body took too long to arrive
│   ├── PreconditionFailed    precondition_failed: it was changed since it was looked at
│   ├── UnsupportedMediaType  unsupported_media_type: the route takes other bodies
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
│   ├── RevisionNotFound      revision_not_found
│   ├── TokenNotFound         token_not_found
│   ├── SecretNotFound        secret_not_found: no sealed secret has that name
│   ├── SettingsNotFound      settings_not_found
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
├── PackageError              package_failed
│   ├── PackageRefused        the code of its first fault: nothing of the package is kept
│   ├── PackageNotFound       package_not_found
│   ├── PackageStateError     package_state: not in the state that it is in
│   └── PermissionDenied      permission_denied: a plugin asked for what it was not granted
├── ToolError                 tool_failed: raise it in a tool to tell the model what went wrong
│   └── ToolArgumentsInvalid  tool_arguments_invalid
├── HookError                 hook_failed
│   ├── HookTimeout           hook_timeout: a hook was still running at its deadline
│   └── HookTypeError         hook_type_error: a hook returned something else than it may
└── DeadlineExceeded          deadline_exceeded: the turn took longer than it may

Roots are for catching, leaves for raising.  ``code`` is stable and part of the wire format.
"""

from agentrail.errors._base import (
    AgentrailError,
    CompositionError,
    ConfigError,
    ConfigRefused,
    DeadlineExceeded,
    Fault,
    HookError,
    HookTimeout,
    HookTypeError,
    HostNotRunning,
    Interrupted,
    ModelReferenceError,
    PluginStartError,
    ToolArgumentsInvalid,
    ToolError,
    unwrapped,
)
from agentrail.errors._model import (
    CircuitOpen,
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelProtocolError,
    ModelRefused,
    ModelUnauthorized,
    ModelUnavailable,
    OutputInvalid,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from agentrail.errors._package import (
    PackageError,
    PackageNotFound,
    PackageRefused,
    PackageStateError,
    PermissionDenied,
)
from agentrail.errors._request import (
    AgentMismatch,
    AgentNotFound,
    ArtifactNotFound,
    AttachmentNotFound,
    AttachmentTypeRefused,
    Forbidden,
    InvalidId,
    InvalidJSON,
    KeyReused,
    NotPending,
    PayloadTooLarge,
    PreconditionFailed,
    RequestError,
    RequestRefused,
    RequestTimeout,
    RevisionNotFound,
    SecretNotFound,
    SessionBusy,
    SessionNotFound,
    SettingsNotFound,
    TokenNotFound,
    TooManyRequests,
    TurnNotFound,
    Unauthenticated,
    UnsupportedMediaType,
)
from agentrail.errors._session import (
    LeaseLost,
    SessionError,
    StorageError,
    TurnExists,
)

__all__ = [
    "AgentMismatch",
    "AgentNotFound",
    "AgentrailError",
    "ArtifactNotFound",
    "AttachmentNotFound",
    "AttachmentTypeRefused",
    "CircuitOpen",
    "CompositionError",
    "ConfigError",
    "ConfigRefused",
    "ContextTooLong",
    "DeadlineExceeded",
    "Fault",
    "Forbidden",
    "HookError",
    "HookTimeout",
    "HookTypeError",
    "HostNotRunning",
    "Interrupted",
    "InvalidId",
    "InvalidJSON",
    "KeyReused",
    "LeaseLost",
    "ModelError",
    "ModelNotFound",
    "ModelProtocolError",
    "ModelReferenceError",
    "ModelRefused",
    "ModelUnauthorized",
    "ModelUnavailable",
    "NotPending",
    "OutputInvalid",
    "Overloaded",
    "PackageError",
    "PackageNotFound",
    "PackageRefused",
    "PackageStateError",
    "PayloadTooLarge",
    "PermissionDenied",
    "PluginStartError",
    "PreconditionFailed",
    "QuotaExhausted",
    "RateLimited",
    "RequestError",
    "RequestRefused",
    "RequestTimeout",
    "RevisionNotFound",
    "SecretNotFound",
    "SessionBusy",
    "SessionError",
    "SessionNotFound",
    "SettingsNotFound",
    "StorageError",
    "TokenNotFound",
    "TooManyRequests",
    "ToolArgumentsInvalid",
    "ToolError",
    "TurnExists",
    "TurnNotFound",
    "Unauthenticated",
    "UnsupportedMediaType",
    "unwrapped",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # as tracebacks and logs are to name them
