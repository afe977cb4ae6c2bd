"""An application with packages, and packages for it."""

import json
from pathlib import Path
from typing import Any

from tests.cli.command import agentrail
from tests.forks import Done

APP = """
from agentrail import AppConfig, BearerTokens, Principal, Profile, ScriptedModel, create_app
from agentrail.plugin import PackageSettings


async def say(request):
    return " ".join(sorted(tool.name for tool in request.tools)) or "nothing"


def parts(**more):
    return AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel.repeat(say)],
        packages=PackageSettings(),
        **more,
    )


app = create_app(parts())
guarded = create_app(parts(authenticator=BearerTokens({"secret": Principal(user_id="ada")})))
"""
"""Answers with the names of the tools that the model is given."""

SOURCE = """
import logging


class Greeter:
    def __init__(self, context):
        self.context = context

    def start(self):
        self.context.logger.warning("it begins")

    def get_tools(self):
        return [{"name": "greet", "description": "Greets.", "parameters": {"type": "object"}}]

    def handle_greet(self):
        return "Hello."
"""


def package(here: Path, version: str = "1.0.0", name: str = "hello", more: str = "") -> Path:
    """Return the directory of a package with a tool ``greet``."""
    directory = here / f"{name}-{version}"
    directory.mkdir()
    lines = [f'id = "{name}"', f'version = "{version}"', 'entry_point = "code.py:Greeter"', more]
    (directory / "plugin.toml").write_text("\n".join(lines).replace("code.py", "greeter.py"))
    (directory / "greeter.py").write_text(SOURCE)
    return directory


def plugin(here: Path, *arguments: str, **variables: str) -> Done:
    """Run a command about packages that succeeds."""
    done = agentrail(here, "plugin", *arguments, **variables)
    assert done.status == 0, done.err
    return done


def seen(here: Path, *arguments: str) -> dict[str, Any]:
    """Return the package ``hello`` as a command shows it to programs."""
    found: dict[str, Any] = json.loads(plugin(here, "inspect", "hello", "--json", *arguments).out)
    return found
