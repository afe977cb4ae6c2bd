"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer
from attrs import frozen

App = Annotated[str, typer.Argument(help="The application, as module:attribute.")]
AppOption = Annotated[str, typer.Option("--app", help="The application, as module:attribute.")]
DataDir = Annotated[Path | None, typer.Option(help="Where sessions are kept.", show_default="data")]
Url = Annotated[
    str | None, typer.Option(help="The host to ask, instead of the one that runs here.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@frozen
class Where:
    """Which host a command is about."""

    app: str
    """The application, as ``module:attribute``."""
    data_dir: Path | None = None
    url: str | None = None
    """Where the host is served; then the application is not looked at."""
