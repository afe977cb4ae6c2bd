"""Finding the application that a command is about."""

import os
import re
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from traceback import StackSummary, TracebackException
from types import ModuleType
from typing import Final

from agentrail.cli._hidden import hide_printed
from agentrail.errors import AgentrailError, ConfigError
from agentrail.host import AgentApp, AppConfig, SettingsSource, create_app
from agentrail.settings import NAMES

USUAL: Final = "app:app"
"""The application where none is named."""

VARIABLES: Final = (
    "AGENTRAIL_CONFIG",
    "AGENTRAIL_PLUGINS_ENABLED",
    "AGENTRAIL_SESSION_WAIT",
    "AGENTRAIL_STOP_GRACE",
)
"""Variables of one level that are settings, or tell where they are."""

_VARIABLE: Final = re.compile(
    r"AGENTRAIL_(SERVER|PROVIDERS|PROFILES|PLUGINS|MIDDLEWARES|ROLES|LIMITS|RETENTION|TELEMETRY"
    r"|SECRETS|RELOAD|(?!SECRET_).*__.*)"
)
"""The variables of whole mappings and lists, and those of two levels, whatever they say."""

_LIBRARIES: Final = tuple(
    f"{directory}{os.sep}"
    for directory in (
        Path(__file__).parents[1],
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)
"""Where the code is that an application's author did not write."""


def load_app(
    spec: str, data_dir: Path | None = None, settings: SettingsSource | None = None
) -> AgentApp:
    """Return the application that ``module:attribute`` names, looked for from here.

    ``data_dir`` is handed to the application as ``AGENTRAIL_DATA_DIR``.  ``settings`` are put over
    it, by default those that are found here; then ``app.py`` may be missing.

    Raises:
        ConfigError: there is no such module or attribute, it is no application, or its code
            raised something; then its frames are told too.
        ConfigRefused: the settings cannot be used.
    """
    _prepare(data_dir)
    settings = settings or found_settings()
    if settings is None:
        app = _loaded(spec)
    else:
        hide_printed(settings.hidden)
        app = create_app(application(spec, data_dir)[0], settings)
    hide_printed(app.host.core.hide)  # the application may have added handlers
    return app


def application(spec: str, data_dir: Path | None = None) -> tuple[AppConfig, SettingsSource | None]:
    """Return what an application says without settings, and where it has some of its own.

    Where there is no ``app.py``, it says nothing.

    Raises:
        ConfigError: as ``load_app``.
    """
    _prepare(data_dir)
    if spec == USUAL and not any(Path(name).exists() for name in ("app.py", "app")):
        return AppConfig(profiles=()), None
    host = _loaded(spec).host
    if host.settled is None:
        return host.core.config, None
    return host.settled.base, host.settled.source


def _prepare(data_dir: Path | None) -> None:
    if data_dir is not None:
        os.environ["AGENTRAIL_DATA_DIR"] = str(data_dir)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def found_settings() -> SettingsSource | None:
    """Return where settings are read that are found here; None where there are none.

    Raises:
        ConfigRefused: several files are found.
    """
    return import_module("agentrail.cli._settings").source() if has_settings() else None


def has_settings() -> bool:
    """Tell whether there is a file of settings here, or one that a variable names, or variables."""
    return any(map(os.path.lexists, NAMES)) or any(
        name in VARIABLES or _VARIABLE.fullmatch(name) for name in os.environ
    )


def _loaded(spec: str) -> AgentApp:
    module_name, _, attribute = spec.partition(":")
    parts = module_name.split(".")
    if parts[-1] == "py" or not all(part.isidentifier() for part in parts):
        message = f"{spec!r} names no application: write 'module:attribute', as 'app:app'"
        raise ConfigError(message)
    try:
        module = import_module(module_name)
    except AgentrailError:
        raise
    except Exception as error:  # boundary: plugin - it is the application's own code that runs
        raise ConfigError(_failure(module_name, error)) from error
    name = attribute or "app"
    app: object = getattr(module, name, None)
    if not isinstance(app, AgentApp):
        message = f"{module_name!r} has no application {name!r}{_instead(module, app)}"
        raise ConfigError(message)
    return app


def _instead(module: ModuleType, named: object) -> str:
    """Return what a module has in the place of an application, and what to do."""
    there = [name for name, value in vars(module).items() if isinstance(value, AgentApp)]
    if there:
        return f": write {' or '.join(repr(f'{module.__name__}:{name}') for name in there)}"
    other = "" if named is None else f" but an object of type {type(named).__name__}"
    return f"{other}: make one with agentrail.create_app(AppConfig(...))"


def _failure(module_name: str, error: Exception) -> str:
    """Return why a module cannot be loaded, and where in the application that happened."""
    # Of the module itself or of a package around it; what the module imports is another matter.
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        return (
            f"there is no module {module_name!r} here; run this where your app.py is, "
            "or name the application as 'module:attribute'"
        )
    told = TracebackException.from_exception(error)
    own = [frame for frame in told.stack if _is_own(frame.filename)]
    where = StackSummary.from_list(own).format()
    if isinstance(error, SyntaxError):
        where += list(told.format_exception_only())[:-1]
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{module_name!r} cannot be loaded: {what}\n{''.join(where)}".rstrip()


def _is_own(filename: str) -> bool:
    return not filename.startswith("<") and not filename.startswith(_LIBRARIES)
