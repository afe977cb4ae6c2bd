"""The commands of ``agentrail audit``, ``token``, ``config`` and ``secret``."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from agentrail.cli._options import AppOption, DataDir, Json, Url, Where

audit = typer.Typer(help="Who changed what.", no_args_is_help=True)
token = typer.Typer(help="The bearer tokens of a host.", no_args_is_help=True)
config = typer.Typer(help="Settings in a file and the environment.", no_args_is_help=True)
secret = typer.Typer(help="The secrets that a host keeps sealed.", no_args_is_help=True)


def _audit() -> ModuleType:
    return import_module("agentrail.cli._audit")


def _token() -> ModuleType:
    return import_module("agentrail.cli._token")


@audit.command("verify")
def audit_verify(
    head: Annotated[
        str | None, typer.Option(help="An entry that was noted before, as NUMBER:HASH.")
    ] = None,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Check that no entry of the audit log was changed or removed."""
    if not _audit().verify(Where(application, data_dir, url), head):
        raise typer.Exit(1)


@audit.command("list")
def audit_list(
    prefix: Annotated[
        str, typer.Argument(metavar="object", help="What their objects begin with.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 100,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the audit log, the oldest entry first."""
    _audit().show(Where(application, data_dir, url), prefix, limit, as_json=as_json)


@token.command("create")
def token_create(
    user: Annotated[str, typer.Argument(help="The user that it stands for.")],
    role: Annotated[
        list[str], typer.Option(help="viewer, operator, publisher, admin or auditor; repeatable.")
    ],
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Make a token and print it, this once."""
    _token().create(Where(application, data_dir, url), user, role)


@token.command("list")
def token_list(
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the tokens, of each no more than how it begins."""
    _token().show(Where(application, data_dir, url), as_json=as_json)


@token.command("revoke")
def token_revoke(
    token_id: Annotated[
        str,
        typer.Argument(metavar="token", help="The token, by its id, as 'token list' prints it."),
    ],
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Accept a token no more."""
    _token().revoke(Where(application, data_dir, url), token_id)


SettingsFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="file",
        help="The file; by default agentrail.yaml, .toml or .json here.",
        show_default=False,
    ),
]


def _settings() -> ModuleType:
    return import_module("agentrail.cli._settings")


@config.command("check")
def config_check(file: SettingsFile = None) -> None:
    """Check settings; every fault is printed with its line, and the exit status is 2."""
    _settings().check_settings(file)


@config.command("show")
def config_show(
    file: SettingsFile = None,
    every: Annotated[bool, typer.Option("--all", help="Print the defaults too.")] = False,
    as_json: Json = False,
) -> None:
    """Print what settings say, with the places that they came from; secrets are hidden."""
    _settings().show_settings(file, as_json=as_json, every=every)


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of such files, with which editors complete them."""
    _settings().print_schema()


Number = Annotated[int, typer.Argument(min=1, help="The number of a revision.")]


def _revisions() -> ModuleType:
    return import_module("agentrail.cli._revisions")


@config.command("state")
def config_state(
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print which settings a host goes by, and what is wrong with its file of them."""
    _revisions().show_state(Where(application, data_dir, url), as_json=as_json)


@config.command("history")
def config_history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 50,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the settings that a host went by, the newest first, and what each changed."""
    _revisions().show_history(Where(application, data_dir, url), limit, as_json=as_json)


@config.command("revision")
def config_revision(
    number: Number,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the settings of a revision; secrets are hidden."""
    _revisions().show_revision(Where(application, data_dir, url), number, as_json=as_json)


@config.command("diff")
def config_diff(
    first: Number,
    second: Number,
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the settings that differ between two revisions."""
    where = Where(application, data_dir, url)
    _revisions().show_difference(where, first, second, as_json=as_json)


@config.command("reload")
def config_reload(
    application: AppOption = "app:app", data_dir: DataDir = None, url: Url = None
) -> None:
    """Have a host go by its settings as they are now; every fault is printed."""
    _revisions().reload(Where(application, data_dir, url))


@config.command("rollback")
def config_rollback(
    number: Number,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Go by an earlier revision again, until the file of settings is changed."""
    _revisions().roll_back(Where(application, data_dir, url), number)


SecretName = Annotated[
    str, typer.Argument(metavar="name", help="What settings name as secret:NAME.")
]


def _secret() -> ModuleType:
    return import_module("agentrail.cli._secret")


@secret.command("set")
def secret_set(
    name: SecretName,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Seal a value, which is typed in or comes from standard input."""
    _secret().put(Where(application, data_dir, url), name)


@secret.command("list")
def secret_list(
    as_json: Json = False,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Print the names of what is sealed."""
    _secret().show(Where(application, data_dir, url), as_json=as_json)


@secret.command("delete")
def secret_delete(
    name: SecretName,
    application: AppOption = "app:app",
    data_dir: DataDir = None,
    url: Url = None,
) -> None:
    """Keep a secret no more."""
    _secret().delete(Where(application, data_dir, url), name)


@secret.command("rotate")
def secret_rotate(
    application: AppOption = "app:app", data_dir: DataDir = None, url: Url = None
) -> None:
    """Seal everything anew with a new key, and drop the one before it."""
    _secret().rotate(Where(application, data_dir, url))
