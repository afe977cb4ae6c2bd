"""Packages to take in, and hosts that take them."""

import io
import zipfile
from itertools import repeat
from pathlib import Path
from typing import Any

from attrs import define

from agentrail import AppConfig, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.host import AgentHost
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings
from agentrail.registry import By, PackageInfo, Packages
from agentrail.requests import ModelReply

ADA = By("ada", "a test")

TELL = """
def get_tools():
    def tell():
        return "{says}"
    schema = {{"name": "tell", "description": "Tells.",
              "parameters": {{"type": "object", "properties": {{}}}}}}
    return [{{"schema": schema, "handler": tell}}]
"""
"""A module with one tool."""

LAZY = """
[activation]
events = ["onTool:tell"]
[[contributes.tools]]
name = "tell"
description = "Tells."
"""
"""What a manifest says of a package that is loaded when its tool is called."""


def files(
    name: str, version: str = "1.0.0", more: str = "", source: str | None = None
) -> dict[str, str]:
    """Return the files of a package; its tool tells its version."""
    manifest = f'id = "{name}"\nversion = "{version}"\ndescription = "Tells."\n{more}'
    body = TELL.format(says=f"{name} {version}") if source is None else source
    return {"plugin.toml": manifest, "__init__.py": body}


def write(directory: Path, name: str, version: str = "1.0.0", **more: Any) -> Path:  # noqa: ANN401
    """Write a package into a directory."""
    where = directory / name
    where.mkdir(parents=True, exist_ok=True)
    for file, text in files(name, version, **more).items():
        (where / file).write_text(text)
    return where


def archive(name: str, version: str = "1.0.0", **more: Any) -> bytes:  # noqa: ANN401
    """Return an archive of a package."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for file, text in files(name, version, **more).items():
            zipped.writestr(file, text)
    return out.getvalue()


@define
class Chunks:
    """An upload that comes in pieces."""

    data: bytes

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if not self.data:
            raise StopAsyncIteration
        half = (len(self.data) + 1) // 2 if len(self.data) > 100 else len(self.data)
        piece, self.data = self.data[:half], self.data[half:]
        return piece


async def upload(
    packages: Packages,
    name: str,
    version: str = "1.0.0",
    *,
    ready: bool = True,
    **more: Any,  # noqa: ANN401
) -> PackageInfo:
    """Upload a package, approved and promoted unless it is not to be ready."""
    info = await packages.upload(Chunks(archive(name, version, **more)), f"{name}.zip", ADA)
    if ready:
        info = await packages.approve(name, ADA, version=version, promote=True)
    return info


def host_of(data: Path, *replies: Any, settings: Any = None, **config: Any) -> AgentHost:  # noqa: ANN401
    """Return a host with packages."""
    config.setdefault("store", MemorySessionStore())
    return create_app(
        AppConfig(
            profiles=[Profile(id="a", model="scripted:m")],
            providers=[ScriptedModel(replies or repeat("fine"), record=False)],
            packages=settings or PackageSettings(),
            data_dir=data,
            **config,
        )
    ).host


def call(tool: str) -> ModelReply:
    """Return a reply that calls a tool."""
    return call_tools((tool, {}))
