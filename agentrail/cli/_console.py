"""How the commands print."""

from rich.console import Console
from rich.text import Text


def print_error(console: Console, code: str, detail: str) -> None:
    """Print an error as a sentence; what it says is shown as it is, never read as markup."""
    console.print(Text.assemble((code, "red"), ": ", detail), soft_wrap=True)


def print_aside(console: Console, text: str) -> None:
    """Print a remark that is no part of an answer."""
    console.print(Text(text, style="dim"), soft_wrap=True)
