"""``agentrail secret``: what is sealed in a host's data directory."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from agentrail.cli._console import print_json, print_table, printable, remark, time_text
from agentrail.cli._door import Answered, Door, reach
from agentrail.cli._input import at_terminal
from agentrail.cli._load import found_settings
from agentrail.cli._options import Where
from agentrail.errors import ConfigError, RequestError
from agentrail.messages import Wire
from agentrail.secret import PREFIX, SecretInfo, check_name
from agentrail.settings import ConfigState

_LINE_END: Final = re.compile(r"\r?\n\Z")


class _Secrets(Wire, frozen=True):
    secrets: Sequence[SecretInfo]


class _Rotated(Wire, frozen=True):
    secrets: int


def put(where: Where, name: str) -> None:
    """Seal a value that is typed in, or that standard input has.

    Raises:
        InvalidId: the name is none.
        AgentrailError: it is no value, or there is no such host.
    """
    check_name(name)
    if at_terminal():
        value = str(typer.prompt(f"value of {name}", hide_input=True, err=True))
    else:
        value = _LINE_END.sub("", _piped())
    if not value:
        raise RequestError("standard input has no value: write it there, or type it in")

    async def work(door: Door) -> None:
        await door.send("PUT", f"secrets/{name}", json={"value": value})
        print(f"sealed {name}")
        for place in _before(name) if where.url is None else ():
            remark(f"{place} is there too: a host that has it goes by that")
        await _tell_faults(door)

    reach(where, "secrets", work)


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

    reach(where, "secrets", work)


def delete(where: Where, name: str) -> None:
    """Keep a secret no more.

    Raises:
        InvalidId: the name is none.
        AgentrailError: there is none of that name.
    """
    check_name(name)

    async def work(door: Door) -> None:
        await door.send("DELETE", f"secrets/{name}")
        print(f"deleted {name}")
        await _tell_faults(door)

    reach(where, "secrets", work)


def rotate(where: Where) -> None:
    """Seal everything anew with a new key.

    Raises:
        AgentrailError: it cannot be opened, or its key is not in a file.
    """

    async def work(door: Door) -> None:
        made = await door.ask(_Rotated, "POST", "secrets/rotate")
        print(f"sealed {made.secrets} anew, with a new key")

    reach(where, "secrets", work)


def _piped() -> str:
    """Return what standard input has.

    Raises:
        RequestError: it is no text.
    """
    raw = sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        return raw.decode()
    except UnicodeDecodeError:  # it has the value in it, and is not passed on
        pass
    raise RequestError("standard input is not UTF-8: a secret is a text; encode it, as with base64")


def _before(name: str) -> Sequence[str]:
    """Return where else a secret is, as far as it is seen from here, that counts before a seal."""
    variable, directory = f"{PREFIX}{name}", None
    with suppress(ConfigError):
        source = found_settings()
        directory = None if source is None else source.read().settings.secrets.directory
    file = None if directory is None else Path(directory, name)
    found = [f"the variable {variable}"] if os.environ.get(variable) else []
    return [*found, f"the file {str(file)!r}"] if file is not None and file.is_file() else found


async def _tell_faults(door: Door) -> None:
    """Tell why a host does not go by its settings, now that a secret is another."""
    if not door.running:  # the next one reads them as they are then
        return
    try:
        state = await door.ask(ConfigState, "GET", "config")
    except Answered:  # it has none, or they are not for everybody
        return
    for fault in state.faults:
        remark(f"the host is degraded: {fault}")
