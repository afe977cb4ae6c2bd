"""A package: its files, and what its manifest says of them."""

import json
import subprocess
import sys
from functools import partial
from typing import Final, cast

import packaging.version
from attrs import evolve, frozen

from agentrail.config import Document, checked
from agentrail.errors import Fault, PackageRefused
from agentrail.package._document import LARGEST, as_manifest, has_manifest, read_document
from agentrail.package._files import PackageFiles
from agentrail.package._manifest import Manifest, parse_manifest
from agentrail.package._semver import Version
from agentrail.package._tools import table_of

NAMES: Final = ("plugin.toml", "plugin.json")

_SECONDS: Final = 10.0
_INIT: Final = "__init__.py"
_READER: Final = """
import ast, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
try:
    tree = ast.parse(sys.stdin.buffer.read())
except SyntaxError as error:
    print(json.dumps([error.lineno, f"it is no Python: {error.msg}"]))
    sys.exit()
for node in tree.body:
    if isinstance(node, ast.FunctionDef) and node.name == "get_manifest":
        for step in node.body:
            if isinstance(step, ast.Return) and step.value is not None:
                print(json.dumps([step.lineno, ast.literal_eval(step.value)]))
                sys.exit()
"""
"""Reads what ``get_manifest`` returns, where that is written out, and runs nothing of the file."""


@frozen(slots=True)
class Package:
    """A package that may be taken in."""

    manifest: Manifest
    files: PackageFiles
    module: str
    """The module that its entry point names, inside the package; empty for the package itself."""
    attribute: str
    """The attribute of it; empty for the module itself."""

    @property
    def digest(self) -> str:
        """What identifies its files, as ``sha256:…``."""
        return self.files.digest


def read_package(files: PackageFiles, host: str) -> Package:
    """Return the package that files are, for a host of version ``host``; nothing of it is run.

    Raises:
        PackageRefused: it has no manifest, a bad one, or is for another host.
    """
    document = _document(files)
    manifest = parse_manifest(document)
    if Version.parse(_release(host)) not in manifest.requires_host:
        message = f"it is for hosts of versions {manifest.requires_host}; this one is {host}"
        raise PackageRefused([document.fault("host_incompatible", message, "requires_host")])
    module, attribute = _entry(manifest.entry_point, files)
    if module is None:
        message = (
            f"{manifest.entry_point or 'no entry point, and'!r} names no module of the package"
        )
        raise PackageRefused([document.fault("manifest_entrypoint", message, "entry_point")])
    manifest = evolve(manifest, origin=f"{manifest.id}@{manifest.version} {files.digest}")
    return Package(manifest, files, module, attribute)


def _document(files: PackageFiles) -> Document:
    found = [path for path in files if path.rpartition("/")[2] in NAMES]
    if len(found) > 1:
        message = f"it has more than one manifest: {', '.join(found[:5])}"
        raise PackageRefused([Fault("manifest_duplicate", message, found[1])])
    if found and "/" in found[0]:
        message = f"its manifest must stand beside its modules, not as {found[0]}"
        raise PackageRefused([Fault("manifest_missing", message, found[0])])
    if found:
        return read_document(found[0], files.read(found[0]))
    only = next(iter(files), "") if len(files) == 1 else ""
    if only.endswith(".py") and has_manifest(files.read(only)):
        return read_document(only, files.read(only))
    module = _INIT if _INIT in files else only
    if module.endswith(".py"):
        return _told_by(module, files.read(module))
    message = f"it has no manifest: add {NAMES[0]}"
    raise PackageRefused([Fault("manifest_missing", message)])


def _told_by(file: str, source: bytes) -> Document:
    """Return what a module's ``get_manifest`` returns, read in a process of its own."""
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter, and a program of ours
            [sys.executable, "-I", "-S", "-c", _READER],
            input=source,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            env={},
        )
        line, said = json.loads(done.stdout or b"[null, null]")
    except (subprocess.SubprocessError, ValueError, RecursionError):
        done, line, said = None, None, None
    if isinstance(said, str):  # why it cannot be read
        raise PackageRefused([Fault("manifest_schema", said[:200], file, line)])
    if done is not None and isinstance(line, int) and isinstance(said, dict):
        if len(done.stdout) > LARGEST:
            message = f"its get_manifest() has {len(done.stdout)} bytes; it may have {LARGEST}"
            raise PackageRefused([Fault("manifest_too_large", message, file, line)], status=413)
        data = table_of(cast("object", said))
        told = Document(file, data, lambda: [(key, line) for key in data])
        return as_manifest(partial(checked, told))
    message = (
        f"it has no manifest: add {NAMES[0]}, a comment block '# /// plugin' to a single file, "
        "or a get_manifest() that returns a dictionary that is written out"
    )
    raise PackageRefused([Fault("manifest_missing", message, file)])


def _entry(entry: str, files: PackageFiles) -> tuple[str | None, str]:
    """Return the module and the attribute that an entry point names."""
    where, _, attribute = entry.partition(":")
    if where.endswith(".py"):
        module = where.removesuffix(".py").replace("/", ".")
    elif where:
        module = where
    elif _INIT in files:
        module = ""
    else:
        modules = [path for path in files if path.endswith(".py")]
        if len(modules) != 1 or "/" in modules[0]:
            return None, attribute
        module = modules[0].removesuffix(".py")
    module = f".{module}".removesuffix(".__init__")[1:]
    path = module.replace(".", "/")
    paths = (f"{path}.py", f"{path}/{_INIT}") if module else (_INIT,)
    return (module if any(each in files for each in paths) else None), attribute


def _release(version: str) -> str:
    """Return the numbers of a version, whatever stands behind them."""
    numbers = map(str, packaging.version.Version(version).release)
    return ".".join([*numbers, "0", "0"][:3])
