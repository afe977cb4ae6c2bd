"""``agentrail audit``: who changed what, and whether that is still what was written."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from agentrail.audit import AuditEntry
from agentrail.cli._console import print_json, print_table, time_text
from agentrail.cli._door import Door, reach
from agentrail.cli._options import Where
from agentrail.errors import ConfigError
from agentrail.messages import Wire


class _Fault(Wire, frozen=True):
    seq: int
    message: str


class _Verdict(Wire, frozen=True):
    whole: bool
    entries: int
    head: str
    faults: Sequence[_Fault]


class _Page(Wire, frozen=True):
    entries: Sequence[AuditEntry]


def verify(where: Where, head: str | None) -> bool:
    """Print whether the log is whole; tell it too.

    Raises:
        ConfigError: ``head`` is not a number and a hash.
        AgentrailError: it cannot be read.
    """
    seq, _, digest = (head or "").partition(":")
    if head is not None and not (seq.isdecimal() and digest):
        raise ConfigError(f"{head!r} is no entry: write NUMBER:HASH, as this command prints it")
    noted = {"seq": seq, "hash": digest} if head else {}

    async def work(door: Door) -> bool:
        found = await door.ask(_Verdict, "GET", "audit/verify", params=noted)
        console = Console(highlight=False)
        for fault in found.faults:
            console.print(Text(f"entry {fault.seq}: {fault.message}", style="red"), soft_wrap=True)
        standing = "the log is whole" if found.whole else "the log was tampered with"
        print(f"{standing}: {found.entries} entries, head {found.entries}:{found.head}")
        return found.whole

    return reach(where, "records", work)


def show(where: Where, prefix: str, limit: int, *, as_json: bool) -> None:
    """Print the newest entries, the oldest of them first.

    Raises:
        AgentrailError: they cannot be read.
    """
    query = {"object": prefix, "limit": limit}

    async def work(door: Door) -> None:
        found = (await door.ask(_Page, "GET", "audit", params=query)).entries[::-1]
        if as_json:
            print_json(found)
            return
        rows = [
            (
                str(each.seq),
                time_text(each.at),
                each.actor,
                each.action,
                each.object,
                each.outcome,
                f"{each.before} → {each.after}" if each.before else each.after,
                each.detail,
            )
            for each in found
        ]
        head = ["entry", "time", "who", "what", "object", "outcome", "change", "why"]
        print_table(head, rows)

    reach(where, "records", work)
