"""``agentrail config``: the settings that a host went by, and going by others."""

import json
from collections.abc import Iterable, Sequence
from functools import partial

from rich.console import Console

from agentrail.cli._console import print_aside, print_json, print_table, printable, time_text
from agentrail.cli._door import Door, reach
from agentrail.cli._options import Where
from agentrail.errors import HostNotRunning
from agentrail.messages import Wire
from agentrail.settings import (
    ConfigState,
    Revision,
    SettingChange,
    WholeRevision,
    changes_between,
)


class _Revisions(Wire, frozen=True):
    revisions: Sequence[Revision]


def show_history(where: Where, limit: int, *, as_json: bool) -> None:
    """Print the revisions, the newest first, with what each changed.

    Raises:
        AgentrailError: they cannot be read.
    """

    async def work(door: Door) -> None:
        path = f"config/history?limit={limit}"
        found = (await door.ask(_Revisions, "GET", path)).revisions
        if as_json:
            print_json(found)
            return
        rows = [
            (str(each.number), time_text(each.at), each.action, printable(each.actor), _told(each))
            for each in found
        ]
        print_table(["revision", "since", "action", "by", "changed"], rows)

    reach(where, work)


def show_revision(where: Where, number: int, *, as_json: bool) -> None:
    """Print the settings of a revision; secrets are hidden.

    Raises:
        AgentrailError: there is none of that number.
    """

    async def work(door: Door) -> None:
        found = await _revision(door, number)
        if as_json:
            print_json(found)
            return
        rows = [
            (each.path, _json(each.value), printable(each.source))
            for each in found.settings
            if each.source
        ]
        print_table(["setting", "value", "from"], rows)

    reach(where, work)


def show_difference(where: Where, first: int, second: int, *, as_json: bool) -> None:
    """Print the settings that differ between two revisions.

    Raises:
        AgentrailError: there is none of such a number.
    """

    async def work(door: Door) -> None:
        one, other = await _revision(door, first), await _revision(door, second)
        changes = changes_between(one.settings, other.settings)
        if as_json:
            print_json(changes)
        else:
            _print_changes(changes, str(first), str(second))

    reach(where, work)


def reload(where: Where) -> None:
    """Have a host go by its settings as they are now.

    Raises:
        AgentrailError: it refuses them, and tells every fault.
    """
    reach(where, partial(_change, path="config/reload"))


def roll_back(where: Where, number: int) -> None:
    """Have a host go by an earlier revision.

    Raises:
        AgentrailError: it cannot.
    """
    reach(where, partial(_change, path="config/rollback", body={"revision": number}))


async def _change(door: Door, path: str, body: object = None) -> None:
    if not door.running and body is None:
        message = "no host runs here: the next one reads its settings as they are then"
        raise HostNotRunning(message)
    more = {} if body is None else {"json": body}
    state = await door.ask(ConfigState, "POST", path, **more)
    err = Console(stderr=True, highlight=False)
    print(f"revision {state.revision.number} is used")
    if state.pinned:
        print_aside(err, "until the file of settings is changed")
    for each in state.restart:
        print_aside(err, f"{each} counts from the next start on")


async def _revision(door: Door, number: int) -> WholeRevision:
    return await door.ask(WholeRevision, "GET", f"config/history/{number}")


def _print_changes(changes: Iterable[SettingChange], before: str, after: str) -> None:
    rows = [(each.path, _json(each.before), _json(each.after)) for each in changes]
    print_table(["setting", before, after], rows)


def _told(revision: Revision) -> str:
    paths = [change.path for change in revision.changes]
    return printable(", ".join(paths))


def _json(value: object) -> str:
    return "" if value is None else printable(json.dumps(value, ensure_ascii=False))
