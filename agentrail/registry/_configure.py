"""Administrators set the configuration of packages."""

from collections.abc import Mapping
from functools import partial

import msgspec
from attrs import evolve

from agentrail.registry._audited import By, audit
from agentrail.registry._context import check_surroundings
from agentrail.registry._known import PackageInfo
from agentrail.registry._machine import State
from agentrail.registry._packages import Packages
from agentrail.registry._settle import settle


async def configure(
    packages: Packages, package: str, config: Mapping[str, object], by: By
) -> PackageInfo:
    """Set the configuration of a package, over its manifest's and the application's.

    A package that is on is loaded anew with it, and one that failed is tried again; runs under way
    go on with what they had.  ``secret:NAME`` in it is that secret when the package is loaded.

    Raises:
        PackageNotFound: there is none.
        PackageStateError: it does not fit the package's schema, or names a secret that nobody has;
            nothing has changed.
        PackageError: it could not be loaded with it; nothing has changed.
    """
    await packages.change(partial(_configure, packages, package, config, by))
    return await packages.get(package)


async def _configure(
    packages: Packages, package: str, config: Mapping[str, object], by: By
) -> None:
    running, entry = packages.running, packages.inventory.entry(package)
    before, known, done = entry.row, entry.version(None), False
    row = evolve(before.next, config=msgspec.json.encode(config).decode())
    note = audit(by, "configure", known, "", "")
    commit = partial(packages.inventory.write_row, note, entry, row)
    entry.row = evolve(before, config=row.config)
    try:
        if known.package is not None:
            check_surroundings(running.settings, entry, known)
        if entry.on is None and not (entry.wanted and known.state is State.FAILED):
            await commit()
        else:
            swap = partial(running.swap, commit=commit)
            await settle(running, running.settings, swap, again=[package])
        done = True
    finally:
        if not done:
            entry.row = before
