"""Finding the application that a command is about."""

import importlib
import os
import sys
from pathlib import Path

from agentrail.errors import ConfigError
from agentrail.host import AgentApp


def load_app(spec: str, data_dir: Path | None = None) -> AgentApp:
    """Return the application that ``module:attribute`` names, looked for from here.

    ``data_dir`` is handed to the application as ``AGENTRAIL_DATA_DIR``.

    Raises:
        ConfigError: there is no such module or attribute, or it is no application.
    """
    module_name, _, attribute = spec.partition(":")
    parts = module_name.split(".")
    if parts[-1] == "py" or not all(part.isidentifier() for part in parts):
        message = f"{spec!r} names no application: write 'module:attribute', as 'app:app'"
        raise ConfigError(message)
    if data_dir is not None:
        os.environ["AGENTRAIL_DATA_DIR"] = str(data_dir)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Of the module itself or of a package around it; what the module imports is another matter.
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        message = (
            f"there is no module {module_name!r} here; run this where your app.py is, "
            "or name the application as 'module:attribute'"
        )
        raise ConfigError(message) from error
    app: object = getattr(module, attribute or "app", None)
    if not isinstance(app, AgentApp):
        message = (
            f"{module_name!r} has no application {attribute or 'app'!r}: "
            "make one with agentrail.create_app(AppConfig(...))"
        )
        raise ConfigError(message)
    return app
