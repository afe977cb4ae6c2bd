"""How the commands print."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from agentrail.messages import ToolCall
from agentrail.requests import Asked


def print_error(console: Console, code: str, detail: str) -> None:
    """Print an error as a sentence; what it says is never read as markup, nor by the terminal."""
    detail = "\n".join(printable(line) for line in detail.split("\n"))
    console.print(Text.assemble((code, "red"), ": ", detail), soft_wrap=True)


def print_aside(console: Console, text: str) -> None:
    """Print a remark that is no part of an answer."""
    console.print(Text(text, style="dim"), soft_wrap=True)


def remark(text: str) -> None:
    """Print a remark to standard error, without what would steer a terminal."""
    print_aside(Console(stderr=True, highlight=False), printable(text))


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], dim: Collection[str] = ()
) -> None:
    """Print a table with nothing cut off; rows whose first cell is in ``dim`` are dim."""
    console = Console(highlight=False)
    widths = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate((head, *rows)):
        pieces = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        style = "bold" if number == 0 else "dim" if row[0] in dim else ""
        console.print(Text("  ".join(pieces).rstrip(), style=style), soft_wrap=True)


def print_json(value: object) -> None:
    """Print what a program is to read."""
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def time_text(at: float) -> str:
    """Return a time in seconds since 1970 as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def printable(text: str) -> str:
    """Return a text without what would break a line or steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def call_text(call: ToolCall) -> str:
    """Return a tool call with the whole of its arguments, on one line."""
    return printable(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}")


def asked_text(asked: Asked) -> str:
    """Return a call that waits for approval, and why it does."""
    reason = printable(asked.reason).rstrip(".")
    return f"{call_text(asked.call)}: {reason}" if reason else call_text(asked.call)
