"""Model calls that failed."""

from agentrail.errors._base import AgentrailError


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
