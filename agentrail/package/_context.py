"""What a package is given: the only door to what lies outside of it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final, NoReturn, Protocol

import httpx
from attrs import define, field, frozen

from agentrail.errors import PackageError, PermissionDenied
from agentrail.package._database import Rows, read_tables
from agentrail.package._http import guarded_client
from agentrail.package._manifest import Manifest
from agentrail.package._permissions import Permissions
from agentrail.package._tools import table_of

MISSING: Final = object()


class PackageState(Protocol):
    """Keeps what a package wants to keep: bytes by key, and nobody else's."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key, None when there is none."""
        ...

    async def put(self, key: str, value: bytes) -> None:
        """Set the value of a key; it is durable when this returns.

        Raises:
            PackageError: key or value is too long, or the package keeps too much.
        """
        ...

    async def delete(self, key: str) -> None:
        """Forget a key."""
        ...

    async def keys(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with a text, in order."""
        ...


Denied = Callable[[str, str], None]
"""Is told of each permission that was missing, and for what."""

Emit = Callable[[str, Mapping[str, object]], None]
"""Takes an event of the package: a message, and more about it."""


@frozen(slots=True, kw_only=True)
class Backing:
    """What the host puts behind a package's context."""

    state: PackageState
    secrets: Callable[[str], str | None]
    """Returns the value of a secret."""
    denied: Denied
    emit: Emit
    directories: Mapping[str, Path]
    """Where ``data:`` and ``scratch:`` are."""
    database: Path | None = None
    """The session database, where there is a file of it."""
    close: Callable[[], None] = lambda: None
    """Is called when the package was unloaded: it keeps nothing any more."""


@frozen(slots=True, repr=False)
class Secret:
    """A secret by its name.

    As text it is a placeholder, which the package's HTTP client fills in when a request goes to a
    host that was granted: ``{"authorization": f"Bearer {secret}"}``.
    """

    name: str
    _value: Callable[[], str]

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value()

    def __str__(self) -> str:
        """Return the placeholder."""
        return f"{{{{secret:{self.name}}}}}"

    def __repr__(self) -> str:
        """Return the name, and not the secret."""
        return f"Secret({self.name!r})"


@define(slots=True, eq=False, repr=False)
class PluginContext:
    """What a package may use; whatever it was not granted raises ``PermissionDenied``.

    In the host's process this guards against mistakes, not against malice: code that runs here
    can reach whatever the host can.
    """

    manifest: Manifest
    granted: Permissions
    backing: Backing
    _config: Mapping[str, object]
    logger: logging.Logger = field(init=False)
    """A logger of the package's own."""
    _http: httpx.AsyncClient | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Name the logger, and copy the configuration, which the package may write into."""
        self._config = deepcopy(dict(self._config))
        self.logger = logging.getLogger(f"agentrail.package.{self.manifest.id}")

    @property
    def id(self) -> str:
        """The package's id."""
        return self.manifest.id

    @property
    def config(self) -> Mapping[str, object]:
        """The configuration, as far as the package declared that it reads it."""
        found: dict[str, object] = {}
        for key in self.granted.config:
            value = _at(self._config, key)
            if value is not MISSING:
                _put(found, key, value)
        return found

    def get_config(self, key: str, default: object = None) -> object:
        """Return the value of a key, with dots between levels.

        Raises:
            PermissionDenied: the manifest does not declare the key, nor one above it.
        """
        if not any(key == each or key.startswith(f"{each}.") for each in self.granted.config):
            self._deny("config", key)
        value = _at(self._config, key)
        return default if value is MISSING else value

    def secret(self, name: str) -> Secret:
        """Return a secret by its name; its value is not read before it is needed.

        Raises:
            PermissionDenied: the secret was not granted.
        """
        if name not in self.granted.secrets:
            self._deny("secrets", name)
        return Secret(name, lambda: self._reveal(name))

    @property
    def state(self) -> PackageState:
        """What the package keeps, over restarts and new versions."""
        return self.backing.state

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """Return the rows of a query of the session database, each as a mapping.

        It may read the tables that were granted and change nothing; it has 2 seconds, and returns
        at most 10,000 rows.

        Raises:
            PermissionDenied: it would read another table, or do something else than read.
            PackageError: it is no query, took too long, or the host has no such database.
        """
        if not self.granted.database:
            self._deny("database", "")
        if self.backing.database is None:
            raise PackageError("this host keeps its sessions in no database that can be read")
        try:
            return await read_tables(self.backing.database, self.granted.database, sql, parameters)
        except PermissionDenied as error:
            self.backing.denied("database", error.detail)
            raise

    @property
    def http(self) -> httpx.AsyncClient:
        """An HTTP client for the origins that were granted; it follows no redirects by itself.

        Raises:
            PackageError: the package was unloaded.
        """
        if self._closed:
            raise PackageError(f"package {self.id!r} was unloaded, and sends no more requests")
        if self._http is None:
            self._http = guarded_client(self.granted.network, self._reveal_granted, self._deny)
        return self._http

    def directory(self, root: str, *, write: bool = False) -> Path:
        """Return a directory of its own: ``data:`` lasts, ``scratch:`` is gone when it stops.

        Raises:
            PermissionDenied: it was not granted.
        """
        if root not in (self.granted.write if write else self.granted.read):
            self._deny("filesystem", f"{'write' if write else 'read'} {root}")
        path = self.backing.directories[root]
        path.mkdir(parents=True, exist_ok=True)
        return path

    def emit(self, message: str, **metadata: object) -> None:
        """Tell of something that happened, in the host's history of plugin events."""
        if not self._closed:
            self.backing.emit(message, metadata)

    async def aclose(self) -> None:
        """Close what the package left open; it sends and keeps nothing any more."""
        self._closed = True
        self.backing.close()
        client, self._http = self._http, None
        if client is not None:
            await client.aclose()

    def _reveal_granted(self, name: str) -> str:
        if name not in self.granted.secrets:
            self._deny("secrets", name)
        return self._reveal(name)

    def _reveal(self, name: str) -> str:
        value = self.backing.secrets(name)
        if value is None:
            raise PackageError(f"secret {name!r} is not set on this host")
        return value

    def _deny(self, permission: str, what: str) -> NoReturn:
        self.backing.denied(permission, what)
        asked = f"{permission} {what[:200]!r}" if what else permission
        message = (
            f"package {self.id!r} was not granted {asked}: "
            "its manifest has to ask for it, and an administrator to approve"
        )
        raise PermissionDenied(message)


def _at(config: Mapping[str, object], key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = table_of(value).get(part, MISSING)
    return value


def _put(config: dict[str, object], key: str, value: object) -> None:
    *above, last = key.split(".")
    for part in above:
        config = config.setdefault(part, {})  # type: ignore[assignment]
    config[last] = value
