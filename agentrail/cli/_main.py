"""The command line."""

import os
import shlex
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentrail.cli._chat import chat as run_chat
from agentrail.cli._console import print_aside, print_error, printable
from agentrail.cli._doctor import doctor as run_doctor
from agentrail.cli._explain import explain as run_explain
from agentrail.cli._explain_turn import explain_turn
from agentrail.cli._new import new as make_project
from agentrail.cli._options import App, AppOption, DataDir
from agentrail.cli._plugin import plugin
from agentrail.cli._records import audit, config, secret, token
from agentrail.cli._serve import optional, served_at
from agentrail.cli._serve import serve as run_serve
from agentrail.cli._sessions import show_session, show_sessions
from agentrail.errors import AgentrailError, ConfigRefused
from agentrail.model import weights
from agentrail.requests import Principal
from agentrail.settings import Server

# What the application raises once it runs is shown as Python shows it: the page that typer makes of
# it is longer, and has the values of variables, which may not belong on a screen.
app = typer.Typer(
    help="A host for AI agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
local = typer.Typer(help="The small model that runs on this machine.", no_args_is_help=True)
app.add_typer(local, name="local")
sessions = typer.Typer(help="The sessions that are kept.", no_args_is_help=True)
app.add_typer(sessions, name="sessions")
app.add_typer(plugin, name="plugin")
app.add_typer(audit, name="audit")
app.add_typer(token, name="token")
app.add_typer(config, name="config")
app.add_typer(secret, name="secret")


class Backend(StrEnum):
    """The event loop under the host."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


Host = Annotated[str | None, typer.Option(help="The address to bind to.", show_default="127.0.0.1")]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help="The port to bind to; 0 takes a free one.", show_default="8642"
    ),
]
BackendOption = Annotated[
    Backend | None, typer.Option("--backend", help="The event loop.", show_default="asyncio")
]
Grace = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds that turns have to end at a stop.", show_default="10"),
]

_MADE = """\
made {0}; to run it:

  cd {1}
  pip install . && agentrail local install --if-missing
  agentrail dev"""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agentrail {version('agentrail-host')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The name of the project.")],
    directory: Annotated[
        Path | None,
        typer.Option(help="The directory to make.", show_default="the name"),
    ] = None,
) -> None:
    """Make a project: a host to run, to change and to test."""
    made = make_project(name, directory)
    typer.echo(_MADE.format(made, shlex.quote(str(made))))


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - an option each
    application: App = "app:app",
    config: Annotated[
        Path | None,
        typer.Option(help="A file of settings; by default agentrail.yaml, .toml or .json here."),
    ] = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    backend: BackendOption = None,
    grace: Grace = None,
) -> None:
    """Serve an application over HTTP."""
    run_serve(application, data_dir, _flags(host, port, data_dir, backend, grace), config)


def _flags(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    backend: Backend | None,
    grace: float | None,
) -> Mapping[str, tuple[str, object]]:
    """Return the options that were given, by the paths of the settings that they are."""
    options = {
        "server.host": ("--host", host),
        "server.port": ("--port", port),
        "server.backend": ("--backend", backend and backend.value),
        "data_dir": ("--data-dir", data_dir and str(data_dir)),
        "stop_grace": ("--grace", grace),
    }
    return {path: option for path, option in options.items() if option[1] is not None}


@app.command()
def dev(
    application: App = "app:app",
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    backend: BackendOption = None,
    grace: Grace = None,
) -> None:
    """Serve an application, and start it again when a Python file changes."""
    server, seconds = served_at(_flags(host, port, data_dir, backend, grace))
    where = (server.host, server.port)
    optional("_dev").dev(application, where, data_dir, server.backend, seconds)


@app.command("dev-child", hidden=True)
def dev_child(
    listener: int, application: str, backend: str, grace: float, data_dir: DataDir = None
) -> None:
    """Serve for ``agentrail dev``."""
    optional("_dev").serve_child(listener, application, backend, grace, data_dir)


@app.command()
def chat(
    message: Annotated[str | None, typer.Argument(help="What to say; nothing for a talk.")] = None,
    session: Annotated[
        str | None, typer.Option(help="The session to go on with.", show_default="terminal")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new session.")] = False,
    agent: Annotated[str | None, typer.Option(help="The agent to ask.")] = None,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
) -> None:
    """Talk to an application's agent in the terminal; the answer streams."""
    if new and session is not None:
        raise typer.BadParameter("--new begins a session, --session goes on with one: give one")
    if not run_chat(application, message, None if new else session or "terminal", agent, data_dir):
        raise typer.Exit(1)


@app.command()
def explain(
    application: App = "app:app",
    data_dir: DataDir = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Print which hooks run on which path instead.")
    ] = False,
    turn: Annotated[
        str | None, typer.Option(help="A turn; print who had which part in it instead.")
    ] = None,
) -> None:
    """Print every hook of an application: who runs it, in which order, and why."""
    if turn is not None and coverage:
        raise typer.BadParameter("--turn and --coverage print different things: give one")
    if turn is not None:
        explain_turn(application, turn, data_dir)
        return
    run_explain(application, data_dir, coverage=coverage)


@app.command()
def doctor(
    application: App = "app:app",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The port that it will be served on.", show_default="8642"
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check what an application needs to run here."""
    flags = _flags(None, port, data_dir, None, None)
    try:
        server, _ = served_at(flags)
    except ConfigRefused:  # the application is checked with them, and that tells it
        server = Server() if port is None else Server(port=port)
    if not run_doctor(application, server.port, data_dir):
        raise typer.Exit(1)


@local.command("install")
def local_install(
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing when they are there.")
    ] = False,
) -> None:
    """Fetch the local model's weights, about 93 MB, into the user's cache."""
    if if_missing and weights.installed() is not None:
        return
    weights.install(progress=partial(Console().print, soft_wrap=True, highlight=False))


@sessions.command("list")
def sessions_list(
    tenant: Annotated[str, typer.Option(help="The tenant.")] = "default",
    user: Annotated[str, typer.Option(help="The user.")] = "local",
    application: AppOption = "app:app",
    data_dir: DataDir = None,
) -> None:
    """Print a user's sessions, the one changed last first."""
    show_sessions(application, data_dir, Principal(tenant_id=tenant, user_id=user))


@sessions.command("show")
def sessions_show(
    session: Annotated[str, typer.Argument(help="The session.")],
    context: Annotated[
        bool, typer.Option("--context", help="Print what the model was given in the last turn.")
    ] = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
) -> None:
    """Print a session's messages, or what the model was given of them and why."""
    show_session(application, session, data_dir, context=context)


def main() -> None:
    """Run the command line; an agentrail error is printed as a sentence, with exit status 2."""
    try:
        app()
    except AgentrailError as error:
        err = Console(stderr=True, highlight=False)
        print_error(err, error.code, error.detail)
        named = Path(os.environ.get("AGENTRAIL_CONFIG", ""))
        if isinstance(error, ConfigRefused) and named.name in {f.file for f in error.faults}:
            print_aside(err, printable(f"AGENTRAIL_CONFIG says {str(named)!r}"))
        sys.exit(2)
    finally:
        _write_out()


def _write_out() -> None:
    """Write what was printed, unless whoever read it has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # Python would tell it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
