"""The commands of ``agentrail plugin``; what they do is imported once one of them runs."""

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from agentrail.cli._options import AppOption, DataDir, Json, Url, Where

plugin = typer.Typer(help="Plugin packages.", no_args_is_help=True)


class Form(StrEnum):
    """A way to write a plugin."""

    CLASS = "class"
    MODULE = "module"
    EXECUTE = "execute"
    TOOL = "tool"
    AGENT = "agent"


Name = Annotated[str, typer.Argument(metavar="plugin", help="The package, by its id.")]
Version = Annotated[str | None, typer.Option("--version", help="The version.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _host() -> ModuleType:
    return import_module("agentrail.cli._plugin_host")


def _files() -> ModuleType:
    return import_module("agentrail.cli._plugin_files")


@plugin.command("list")
def list_(
    keyword: Annotated[
        str | None, typer.Argument(help="What is in their id, name or description.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="The state that they are in.")] = None,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the packages of a host."""
    _host().show_plugins(Where(application, data_dir, url), keyword, state, as_json=as_json)


@plugin.command()
def inspect(
    name: Name,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print a package: its state, what it asks for, its tools and its versions."""
    _host().inspect_plugin(Where(application, data_dir, url), name, as_json=as_json)


@plugin.command()
def install(
    path: Annotated[Path, typer.Argument(help="An archive, a directory, or a single .py.")],
    yes: Yes = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Upload a package, approve what it asks for, and switch it on."""
    if not _host().install_plugin(Where(application, data_dir, url), path, yes=yes):
        raise typer.Exit(1)


@plugin.command()
def approve(  # noqa: PLR0913, PLR0917 - what is approved is named as exactly as somebody wants
    name: Name,
    version: Annotated[
        str | None, typer.Option("--version", show_default="the one that waits")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Approve nothing but what has it.")] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Let its code run in the host's process.")
    ] = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Grant a version of a package what it asks for."""
    work = _host()
    asked = work.Asked(version, digest, promote)
    work.approve_plugin(Where(application, data_dir, url), name, asked)


@plugin.command()
def enable(
    name: Name, application: AppOption = "app:app", data_dir: DataDir = None, url: Url = None
) -> None:
    """Switch a package on."""
    _host().change_plugin(Where(application, data_dir, url), name, "toggle", {"enabled": True})


@plugin.command()
def disable(
    name: Name, application: AppOption = "app:app", data_dir: DataDir = None, url: Url = None
) -> None:
    """Switch a package off; runs under way go on with it."""
    _host().change_plugin(Where(application, data_dir, url), name, "toggle", {"enabled": False})


@plugin.command()
def upgrade(
    name: Name,
    version: Version = None,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Use another version of a package, by default the newest."""
    _host().change_plugin(Where(application, data_dir, url), name, "upgrade", {"version": version})


@plugin.command()
def rollback(
    name: Name,
    version: Version = None,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Use the version of a package again that was used before."""
    _host().change_plugin(Where(application, data_dir, url), name, "rollback", {"version": version})


@plugin.command()
def configure(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A file of YAML, TOML or JSON.")],
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Set the configuration of a package, over its manifest's and the application's."""
    _host().configure_plugin(Where(application, data_dir, url), name, file)


@plugin.command()
def release(
    name: Name,
    version: Version = None,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Let a version be switched on again that broke down too often, by default the newest such."""
    _host().change_plugin(Where(application, data_dir, url), name, "release", {"version": version})


@plugin.command()
def remove(
    name: Name,
    version: Version = None,
    yes: Yes = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Remove a package with all that it kept, or one version of it."""
    if not _host().remove_plugin(Where(application, data_dir, url), name, version, yes=yes):
        raise typer.Exit(1)


@plugin.command()
def logs(
    name: Name, application: AppOption = "app:app", data_dir: DataDir = None, url: Url = None
) -> None:
    """Print what a package logged last, while its host has run."""
    _host().show_logs(Where(application, data_dir, url), name)


@plugin.command()
def events(
    name: Annotated[
        str | None, typer.Argument(metavar="plugin", help="The package; all without it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 100,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print what happened to packages."""
    _host().show_events(Where(application, data_dir, url), name, limit, as_json=as_json)


@plugin.command()
def new(
    name: Annotated[str, typer.Argument(help="The id of the package.")],
    form: Annotated[Form, typer.Option(help="The way to write it.")] = Form.CLASS,
    directory: Annotated[
        Path | None, typer.Option(help="The directory to make.", show_default="the name")
    ] = None,
) -> None:
    """Make a package: a manifest, its code and a test."""
    typer.echo(f"made {_files().new_plugin(name, directory, form.value)}")


@plugin.command()
def check(
    path: Annotated[Path, typer.Argument(help="An archive, a directory, or a single .py.")],
) -> None:
    """Print what is wrong with a package, as a host would refuse it; none of its code runs."""
    if not _files().check_plugin(path):
        raise typer.Exit(1)


@plugin.command()
def pack(
    directory: Annotated[Path, typer.Argument(help="The directory of the package.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file.", show_default="ID-VERSION.zip"),
    ] = None,
) -> None:
    """Make an archive of a package's directory."""
    typer.echo(f"made {_files().pack_plugin(directory, output)}")
