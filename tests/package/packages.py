"""Packages on disk, loaded as a host loads them."""

import textwrap
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import define, field

from agentrail.package import (
    Backing,
    InProcess,
    Loaded,
    Package,
    Permissions,
    PluginContext,
    files_of,
    read_package,
)

MANIFEST = 'id = "{id}"\nversion = "1.0.0"\n'


@define
class Values:
    """What a package keeps, for as long as the test."""

    kept: dict[str, bytes] = field(factory=dict[str, bytes])

    async def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    async def put(self, key: str, value: bytes) -> None:
        self.kept[key] = value

    async def delete(self, key: str) -> None:
        self.kept.pop(key, None)

    async def keys(self, prefix: str = "") -> Sequence[str]:
        return sorted(key for key in self.kept if key.startswith(prefix))


@define
class Behind:
    """What stands behind the contexts of a test, and what it was told."""

    root: Path
    secrets: dict[str, str] = field(factory=dict[str, str])
    database: Path | None = None
    values: Values = field(factory=Values)
    denied: list[tuple[str, str]] = field(factory=list[tuple[str, str]])
    emitted: list[tuple[str, Mapping[str, object]]] = field(
        factory=list[tuple[str, Mapping[str, object]]]
    )

    def context(
        self,
        package: Package,
        config: Mapping[str, object] | None = None,
        granted: Permissions | None = None,
    ) -> PluginContext:
        """Grants what the manifest asks for, if nothing else is said."""
        backing = Backing(
            state=self.values,
            secrets=self.secrets.get,
            denied=lambda permission, what: self.denied.append((permission, what)),
            emit=lambda message, metadata: self.emitted.append((message, metadata)),
            directories={"data:": self.root / "data", "scratch:": self.root / "scratch"},
            database=self.database,
        )
        asked = package.manifest.permissions
        return PluginContext(package.manifest, granted or asked, backing, config or {})


def make(root: Path, files: Mapping[str, str], id: str = "sample") -> Package:  # noqa: A002
    """Writes a package and reads it; a manifest is added where there is none."""
    told = {"plugin.toml", "plugin.json"} & files.keys() or [
        name for name, text in files.items() if "get_manifest" in text or "# /// plugin" in text
    ]
    if files and not told:
        files = {"plugin.toml": MANIFEST.format(id=id), **files}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
    return read_package(files_of(root), "1.0.0")


@asynccontextmanager
async def loaded(
    package: Package, behind: Behind, config: Mapping[str, object] | None = None
) -> AsyncGenerator[Loaded]:
    """Loads a package and unloads it."""
    result = await InProcess().load(package, behind.context(package, config))
    try:
        yield result
    finally:
        await result.unload()
