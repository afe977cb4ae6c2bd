"""Plugin packages that are refused, missing, in the wrong state, or ask for too much."""

from collections.abc import Sequence

from agentrail.errors._base import AgentrailError, Fault


class PackageError(AgentrailError):
    """A plugin package could not be dealt with."""

    code = "package_failed"
    status = 409


class PackageRefused(PackageError):
    """A package is not taken in; nothing of it is kept.

    Attributes:
        code: of the first fault.
        faults: every fault that was found.
    """

    code = "package_refused"
    status = 422

    def __init__(self, faults: Sequence[Fault], *, status: int = 422) -> None:
        super().__init__("the package is refused:\n  - " + "\n  - ".join(map(str, faults)))
        self.faults = tuple(faults)
        self.code = faults[0].code
        self.status = status


class PackageNotFound(PackageError):
    """There is no package of that id, or no such version of it."""

    code = "package_not_found"
    status = 404


class PackageStateError(PackageError):
    """The package is in a state in which that cannot be done to it."""

    code = "package_state"


class PermissionDenied(PackageError):
    """A plugin asked for something that it was not granted."""

    code = "permission_denied"
    status = 403
