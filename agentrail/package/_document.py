"""Manifest files as data, with the line that each key stands on; nothing in them is executed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from attrs import evolve

from agentrail import config
from agentrail.config import Document, read_text, read_toml
from agentrail.errors import ConfigRefused, Fault, PackageRefused

T = TypeVar("T")

LARGEST: Final = 64 * 1024
"""The largest manifest, in bytes."""

_OPENS: Final = "# /// plugin"
_CLOSES: Final = "# ///"
_CODES: Final = {"document_invalid": "manifest_schema", "document_too_large": "manifest_too_large"}


def read_document(file: str, raw: bytes) -> Document:
    """Return what a ``plugin.toml``, a ``plugin.json`` or a ``.py`` with a comment block says.

    Raises:
        PackageRefused: it is too large, no UTF-8, or not written as it must be.
    """
    if not file.endswith(".py"):
        return as_manifest(partial(config.read_document, file, raw, LARGEST))
    found = list(_blocks(as_manifest(partial(read_text, file, raw, len(raw)))))
    if not found:
        message = "it has no comment block '# /// plugin': see docs/reference/package.md"
        raise PackageRefused([Fault("manifest_missing", message, file)])
    if len(found) > 1:
        message = "it has two comment blocks '# /// plugin'"
        raise PackageRefused([Fault("manifest_duplicate", message, file)])
    above, lines = found[0]
    block = "\n".join(lines)
    if len(block) > LARGEST:
        message = f"its comment block has {len(block)} characters; a manifest may have {LARGEST}"
        raise PackageRefused([Fault("manifest_too_large", message, file)], status=413)
    return as_manifest(partial(read_toml, file, block, above))


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the comment blocks of a module: how many lines are above, and what they say."""
    block: list[str] | None = None
    above = 0
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.rstrip(" \t\r")
        if block is None:
            if bare == _OPENS:
                block, above = [], number
        elif bare == _CLOSES:
            if block:
                yield above, block
            block = None
        elif bare == "#" or line.startswith("# "):
            block.append(line[2:].removesuffix("\r"))
        else:
            block = None


def has_manifest(source: bytes) -> bool:
    """Tell whether a module has a comment block that may be a manifest."""
    return _OPENS.encode() in source


def as_manifest(read: Callable[[], T]) -> T:
    """Return what is read, or tell why it is no manifest."""
    try:
        return read()
    except ConfigRefused as error:
        faults = [evolve(fault, code=_CODES[fault.code]) for fault in error.faults]
        raise PackageRefused(faults, status=error.status) from error
