"""What a package is given when it is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from agentrail.errors import PackageStateError
from agentrail.package import Backing, PluginContext, compile_schema, missing_requirements
from agentrail.plugin import PackageSettings
from agentrail.registry._events import Events
from agentrail.registry._known import Entry, Known
from agentrail.registry._values import PackageValues
from agentrail.settings import with_secrets
from agentrail.storage import Database


def configuration(settings: PackageSettings, entry: Entry, known: Known) -> Mapping[str, object]:
    """Return a package's configuration: its manifest's, the application's, an administrator's.

    Administrators name secrets as ``secret:NAME``, as settings do.

    Raises:
        PackageStateError: nobody has one that is named.
        ConfigError: one is there and cannot be read.
    """

    def secret(name: str) -> str:
        value = settings.secrets(name)
        if value is None:
            message = (
                f"the configuration of {known} names the secret {name!r}, which nobody has: "
                f"'agentrail secret set {name}' seals it"
            )
            raise PackageStateError(message)
        return value

    merged: dict[str, object] = {}
    if known.package is not None:
        merged = _merged(merged, known.package.manifest.config)
    merged = _merged(merged, settings.config.get(entry.id, {}))
    own = with_secrets(msgspec.json.decode(entry.row.config), secret)
    return _merged(merged, cast("Mapping[str, object]", own))


def check_surroundings(settings: PackageSettings, entry: Entry, known: Known) -> None:
    """Return when a version has the configuration and the Python packages that it needs.

    Raises:
        PackageStateError: it has not.
        ConfigError: a secret in it cannot be read.
    """
    if known.package is None:
        message = f"{known} cannot be used: {known.reason or 'its files are gone'}"
        raise PackageStateError(message)
    manifest = known.package.manifest
    schema = manifest.config_schema
    config = configuration(settings, entry, known)
    faults = compile_schema(schema, mask="its value").faults(config) if schema is not None else []
    if faults:
        message = f"the configuration of {known} does not fit its schema: {'; '.join(faults)}"
        raise PackageStateError(message)
    missing = missing_requirements(manifest.requirements)
    if missing:
        raise PackageStateError(
            f"{known} needs Python packages that this host does not have: {', '.join(missing)}; "
            f"pip install {' '.join(repr(each) for each in missing)} adds them"
        )


def plugin_context(
    known: Known,
    config: Mapping[str, object],
    database: Database,
    events: Events,
    settings: PackageSettings,
    places: Mapping[str, Path | None],
) -> PluginContext:
    """Return the context of a version.

    ``places`` are its directories ``data:`` and ``scratch:``, and the session database as
    ``sessions``, where there is a file of it.
    """
    assert known.package is not None  # noqa: S101 - checked before
    package, version = known.row.id, known.row.version

    def denied(permission: str, what: str) -> None:
        events.emit(
            "denied",
            package,
            version,
            error=f"it was not granted {permission}",
            metadata={"permission": permission, "resource": what[:200]},
        )

    values = PackageValues(database, package)
    backing = Backing(
        state=values,
        close=values.close,
        secrets=settings.secrets,
        denied=denied,
        emit=lambda message, metadata: events.emit(
            "custom", package, version, message=message, metadata=metadata
        ),
        directories={name: path for name, path in places.items() if path and name[-1] == ":"},
        database=places["sessions"],
    )
    return PluginContext(known.package.manifest, known.row.granted, backing, config)


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            found[key] = _merged(
                cast("Mapping[str, object]", inner), cast("Mapping[str, object]", value)
            )
        else:
            found[key] = value
    return found
