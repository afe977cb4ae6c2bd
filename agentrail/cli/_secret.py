"""``agentrail secret``: what is sealed in a host's data directory."""

import sys
from collections.abc import Sequence

import typer

from agentrail.cli._console import print_json, print_table, printable, time_text
from agentrail.cli._door import Door, reach_secrets
from agentrail.cli._options import Where
from agentrail.errors import RequestError
from agentrail.messages import Wire
from agentrail.secret import SecretInfo


class _Secrets(Wire, frozen=True):
    secrets: Sequence[SecretInfo]


class _Rotated(Wire, frozen=True):
    secrets: int


def put(where: Where, name: str) -> None:
    """Seal a value that is typed in, or that standard input has.

    Raises:
        AgentrailError: it is no value, or there is no such host.
    """
    if sys.stdin.isatty():
        value = str(typer.prompt(f"value of {name}", hide_input=True, err=True))
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise RequestError("standard input has no value: write it there, or type it in")

    async def work(door: Door) -> None:
        await door.send("PUT", f"secrets/{name}", json={"value": value})
        print(f"sealed {name}")

    reach_secrets(where, work)


def show(where: Where, *, as_json: bool) -> None:
    """Print the names of what is sealed.

    Raises:
        AgentrailError: they cannot be read.
    """

    async def work(door: Door) -> None:
        found = (await door.ask(_Secrets, "GET", "secrets")).secrets
        if as_json:
            print_json(found)
            return
        rows = [(s.name, time_text(s.changed_at), printable(s.changed_by), s.key) for s in found]
        print_table(["secret", "changed", "by", "key"], rows)

    reach_secrets(where, work)


def delete(where: Where, name: str) -> None:
    """Keep a secret no more.

    Raises:
        AgentrailError: there is none of that name.
    """

    async def work(door: Door) -> None:
        await door.send("DELETE", f"secrets/{name}")
        print(f"deleted {name}")

    reach_secrets(where, work)


def rotate(where: Where) -> None:
    """Seal everything anew with a new key.

    Raises:
        AgentrailError: it cannot be opened, or its key is not in a file.
    """

    async def work(door: Door) -> None:
        made = await door.ask(_Rotated, "POST", "secrets/rotate")
        print(f"sealed {made.secrets} anew, with a new key")

    reach_secrets(where, work)
