"""``agentrail plugin`` and packages that no host has yet: making, checking and packing them."""

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from string import Template
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Final

from attrs import evolve

from agentrail.cli._console import printable
from agentrail.errors import ConfigError, Fault, PackageRefused
from agentrail.package import Package, PackageFiles, check_content, files_of, pack, read_package

_SKELETON: Final = Path(__file__).with_name("_package")

_DISTRIBUTION: Final = "agentrail-host"

_TOOL: Final = """
[[contributes.tools]]
name = "greet"
description = "Greet somebody."

[contributes.tools.parameters]
type = "object"
required = ["who"]
properties.who.type = "string"
"""

_FORMS: Final[Mapping[str, tuple[str, str]]] = {
    "class": ("plugin.py:Greeter", ""),
    "module": ("plugin.py", ""),
    "execute": ("plugin.py", ""),
    "tool": ("plugin.py:Greet", _TOOL),
    "agent": ("plugin.py:Greeter", ""),
}
"""The entry point of each form, and what else its manifest has."""


def new_plugin(name: str, directory: Path | None, form: str) -> Path:
    """Return the directory of a new package; it is made whole or not at all.

    Raises:
        ConfigError: the directory is there, or cannot be made.
        PackageRefused: the name is no id.
    """
    target = Path(name) if directory is None else directory
    entry, more = _FORMS[form]
    kind = "hook" if form == "execute" else "tool"
    filled = {"id": name, "entry": entry, "type": kind, "more": more}
    try:
        if os.path.lexists(target):
            raise ConfigError(f"{target} is there already: choose another, with --directory")
        with TemporaryDirectory(prefix=".new-", dir=target.absolute().parent) as beside:
            made = Path(beside, "made")
            made.mkdir()
            _fill(made, "plugin.toml", "plugin.toml.in", filled)
            _fill(made, "plugin.py", f"{form}.py.in", filled)
            _checked(made)  # whether the name is an id
            (made / "tests").mkdir()
            test = "test_told.py.in" if form == "execute" else "test_tool.py.in"
            module = name.replace("-", "_")
            _fill(made, f"tests/test_{module}.py", test, filled)
            made.rename(target)
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror}") from error
    return target


def check_plugin(path: Path) -> bool:
    """Print everything that is wrong with a package; tell whether nothing is."""
    try:
        package = _checked(path)
    except PackageRefused as error:
        for fault in error.faults:
            print(printable(str(placed(path, fault))))
        return False
    count = f"{len(package.files)} file{'s' * (len(package.files) != 1)}"
    manifest = package.manifest
    print(f"{manifest.id} {manifest.version}, {count}, {package.digest}: nothing is wrong")
    return True


def pack_plugin(directory: Path, output: Path | None) -> Path:
    """Return the archive that was made of a package's directory.

    Raises:
        ConfigError: it is no directory, or the archive cannot be written.
        PackageRefused: it would not be taken in.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no directory")
    manifest = _checked(directory).manifest
    target = output or Path(f"{manifest.id}-{manifest.version}.zip")
    data = pack(directory)
    try:
        with NamedTemporaryFile(dir=target.absolute().parent, delete=False) as file:
            file.write(data)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(target)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
    return target


def _fill(made: Path, name: str, template: str, values: Mapping[str, str]) -> None:
    text = Template((_SKELETON / template).read_text(encoding="utf-8"))
    (made / name).write_text(text.substitute(values).rstrip() + "\n", encoding="utf-8")


def _checked(path: Path) -> Package:
    """Return a package as a host would take it in.

    Raises:
        PackageRefused: with what is wrong with the manifest and with the content, both.
    """
    files = files_of(path)
    faults: list[Fault] = []
    package: Package | None = None
    try:
        package = read_package(files, version(_DISTRIBUTION))
    except PackageRefused as error:
        faults.extend(error.faults)
    faults.extend(_content_faults(files, package))
    if path.is_dir() and not faults:
        pack(path)
    if faults or package is None:
        raise PackageRefused(faults)
    return package


def _content_faults(files: PackageFiles, package: Package | None) -> Sequence[Fault]:
    # Whether one that cannot be read asks for compiled code is not known.
    native = package is None or package.manifest.permissions.native
    try:
        check_content(files, native=native)
    except PackageRefused as error:
        return error.faults
    return ()


def placed(path: Path, fault: Fault) -> Fault:
    """Return a fault of the package at a path with a place that an editor finds."""
    if path.is_dir():
        place = str(path / fault.file)
    elif fault.file and path.suffix == ".py":
        place = str(path)
    else:
        place = f"{path}/{fault.file}" if fault.file else str(path)
    return evolve(fault, file=place)
