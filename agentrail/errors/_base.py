"""The root of the tree, and what goes wrong in the host itself."""

from collections.abc import Sequence
from typing import cast

from attrs import field, frozen


def _writable(text: str) -> str:
    """Return a text that can be written: halves of characters are escaped."""
    return text.encode(errors="backslashreplace").decode()


@frozen(slots=True)
class Fault:
    """One thing that is wrong with a package or a file of settings.

    Attributes:
        code: a stable identifier of the kind of fault.
        message: what is wrong, and what to do about it.
        file: the file, where it is one file's fault; of a package, the path inside it.
        line: the line in it, from 1.
        key: the key in it, with dots between its levels.
    """

    code: str
    message: str = field(converter=_writable)
    file: str = field(default="", converter=_writable)
    line: int | None = None
    key: str = field(default="", converter=_writable)

    def __str__(self) -> str:
        """Return the fault as one line, as ``file:line: key: message``."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class AgentrailError(Exception):
    """The root of all agentrail errors.

    Attributes:
        code: a stable identifier of the kind of error.
        status: the HTTP status that fits it.
        retryable: whether the same request may succeed later, unchanged.
        detail: what happened, to what, and what to do about it.
        retry_after: seconds to wait before trying again, when known.
    """

    code: str = "internal_error"
    status: int = 500
    retryable: bool = False

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class ConfigError(AgentrailError):
    """The application is put together wrongly."""

    code = "config_invalid"


class ConfigRefused(ConfigError):
    """A file of settings is not used.

    Attributes:
        faults: every fault that was found.
    """

    code = "config_refused"
    status = 422

    def __init__(self, faults: Sequence[Fault], *, status: int = 422) -> None:
        super().__init__("the settings are refused:\n  - " + "\n  - ".join(map(str, faults)))
        self.faults = tuple(faults)
        self.status = status


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


def unwrapped(error: Exception) -> Exception:
    """Return the one error of a task group, which is its owner's own affair; else the error."""
    while isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        error, *others = group.exceptions
        if others:
            return group
    return error
