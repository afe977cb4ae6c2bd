"""``agentrail config``: the settings that a host went by, and going by others."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from agentrail.cli._console import print_json, print_table, printable, remark, time_text
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

_ABSENT: Final = "-"
"""Stands for a setting that is not there."""

_EMPTY: Final[Sequence[object]] = ([], {})
_PINNED: Final = "it counts until the file of settings is changed"
_WAITS: Final = "{} counts from the next start on"


class _Revisions(Wire, frozen=True):
    revisions: Sequence[Revision]


def show_state(where: Where, *, as_json: bool) -> None:
    """Print which settings a host goes by, and what is wrong with others.

    Raises:
        AgentrailError: it cannot be told.
    """

    async def work(door: Door) -> None:
        state = await door.ask(ConfigState, "GET", "config")
        if as_json:
            print_json(state)
            return
        found = state.revision
        if found.number:
            used = "is used" if door.running else "was used last"
            by = printable(f"{found.action} by {found.actor}")
            print(f"revision {found.number} {used}: {by}, {time_text(found.at)}")
        else:
            print("no revision was used yet")
        if state.pinned:
            print(_PINNED)
        if state.faults:
            print("degraded: the settings as they are now are refused")
        for line in (*map(str, state.faults), *map(_WAITS.format, state.restart)):
            print(f"  {printable(line)}")

    reach(where, "settings", work)


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

    reach(where, "settings", work)


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

    reach(where, "settings", work)


def show_difference(where: Where, first: int, second: int, *, as_json: bool) -> None:
    """Print the settings that differ between two revisions.

    Raises:
        AgentrailError: there is none of such a number.
    """

    async def work(door: Door) -> None:
        changes = _changes(await _revision(door, first), await _revision(door, second))
        if as_json:
            print_json(changes)
            return
        rows = [
            (each.path, *(_ABSENT if v is None else _json(v) for v in (each.before, each.after)))
            for each in changes
        ]
        print_table(["setting", str(first), str(second)], rows)

    reach(where, "settings", work)


def reload(where: Where) -> None:
    """Have a host go by its settings as they are now.

    Raises:
        AgentrailError: it refuses them, and tells every fault.
    """
    reach(where, "settings", partial(_change, path="config/reload"))


def roll_back(where: Where, number: int) -> None:
    """Have a host go by an earlier revision.

    Raises:
        AgentrailError: it cannot.
    """
    reach(where, "settings", partial(_change, path="config/rollback", body={"revision": number}))


async def _change(door: Door, path: str, body: object = None) -> None:
    if not door.running and body is None:
        message = "no host runs here: the next one reads its settings as they are then"
        raise HostNotRunning(message)
    more = {} if body is None else {"json": body}
    state = await door.ask(ConfigState, "POST", path, **more)
    when = "" if door.running else " from the next start on"
    print(f"revision {state.revision.number} is used{when}")
    if state.pinned:
        remark("until the file of settings is changed")
    for each in state.restart:
        remark(_WAITS.format(each))


async def _revision(door: Door, number: int) -> WholeRevision:
    return await door.ask(WholeRevision, "GET", f"config/history/{number}")


def _changes(one: WholeRevision, other: WholeRevision) -> Sequence[SettingChange]:
    """Return the settings that differ, without the defaults of what is in one of them alone."""
    said = {each.path for each in (*one.settings, *other.settings) if each.source}
    found = _without_empty(changes_between(one.settings, other.settings))
    return [each for each in found if each.path in said or not _in_one(each)]


def _told(revision: Revision) -> str:
    """Return what a revision changed; of what came or went with all that is in it, the whole."""
    changes = _without_empty(revision.changes)
    inside = Counter(each.path.rpartition(".")[0] for each in changes if _in_one(each))
    whole = {path for path, count in inside.items() if path and count > 1}
    paths = [_above(each.path, whole) if _in_one(each) else each.path for each in changes]
    return printable(", ".join(dict.fromkeys(paths)))


def _above(path: str, whole: Collection[str]) -> str:
    """Return the outermost of what a setting is in, or the setting."""
    keys = path.split(".")
    above = (".".join(keys[:end]) for end in range(1, len(keys)))
    return next((each for each in above if each in whole), path)


def _in_one(change: SettingChange) -> bool:
    return change.before is None or change.after is None


def _without_empty(changes: Sequence[SettingChange]) -> Sequence[SettingChange]:
    """Return changes without lists and mappings that were empty before something was in them."""
    return [
        each
        for each in changes
        if not (_in_one(each) and (each.before in _EMPTY or each.after in _EMPTY))
    ]


def _json(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False))
