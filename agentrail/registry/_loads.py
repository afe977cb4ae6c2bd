"""The packages that are loaded, until each is unloaded once."""

import logging
import shutil
from itertools import count
from pathlib import Path

import anyio
from attrs import define, field

from agentrail.errors import PackageError
from agentrail.package import Loaded, Runner
from agentrail.plugin import PackageSettings
from agentrail.registry._context import configuration, plugin_context
from agentrail.registry._events import Events
from agentrail.registry._known import Entry, Known
from agentrail.storage import Database

_log = logging.getLogger("agentrail.registry")


@define(slots=True, eq=False)
class Loads:
    """Loads packages, each time with a scratch directory of its own."""

    settings: PackageSettings
    database: Database
    events: Events
    runner: Runner
    directory: Path
    sessions: Path | None
    _loaded: dict[int, Loaded] = field(factory=dict[int, Loaded], init=False)
    """By identity."""
    _numbers: "count[int]" = field(factory=count, init=False)

    async def start(self) -> None:
        """Remove what a host left behind that died."""
        await anyio.to_thread.run_sync(remove, self.directory / "scratch")

    async def load(self, entry: Entry, known: Known) -> Loaded:
        """Load a version; nothing is left of it when it fails or is cancelled.

        Raises:
            PackageError: it took too long.
            Exception: what its code raises.
        """
        assert known.package is not None  # noqa: S101 - checked before
        scratch = self.directory / "scratch" / f"{entry.id}-{next(self._numbers)}"
        places = {
            "data:": self.directory / "data" / entry.id,
            "scratch:": scratch,
            "sessions": self.sessions,
        }
        config = configuration(self.settings, entry, known)
        context = plugin_context(known, config, self.database, self.events, self.settings, places)
        made: Loaded | None = None
        try:
            with anyio.move_on_after(self.settings.load_seconds):
                made = await self.runner.load(known.package, context)
        finally:
            if made is None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(remove, scratch)
        if made is None:
            message = f"loading it took longer than {self.settings.load_seconds:g} s"
            raise PackageError(message)
        unload = made.unload

        async def unload_and_clear() -> None:
            try:
                await unload()
            finally:
                await anyio.to_thread.run_sync(remove, scratch)

        loaded = Loaded(made.plugin, unload_and_clear)
        self._loaded[id(loaded)] = loaded
        self.events.emit("load", entry.id, known.row.version)
        return loaded

    async def unload(self, loaded: Loaded) -> None:
        """Unload what was loaded, unless it was before; whatever fails, cancelled or not."""
        if self._loaded.pop(id(loaded), None) is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                await loaded.unload()
            except Exception:  # noqa: BLE001 - boundary: plugin
                _log.exception("a package was not unloaded as a whole")

    async def close(self) -> None:
        """Unload all that is loaded; nothing calls it any more."""
        for loaded in list(self._loaded.values()):
            await self.unload(loaded)


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it; it need not be there."""
    shutil.rmtree(directory, ignore_errors=True)
