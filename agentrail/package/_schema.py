"""JSON Schemas that packages bring: checked before use, and unable to fetch anything."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol, cast
from urllib.parse import unquote

from jsonschema_rs import RegexOptions, ValidationError, validator_for

LARGEST: Final = 64 * 1024
"""The largest schema, in characters of JSON."""

MOST_PARTS: Final = 100_000
"""How many parts a schema may have, each reference counted as what it names."""

_TOLD: Final = 20
"""How many faults of a value are told."""

_LONGEST: Final = 300
"""How many characters one of them has."""

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_DIALECTS: Final = tuple(
    f"{scheme}://json-schema.org/{draft}/schema"
    for scheme in ("http", "https")
    for draft in ("draft/2020-12", "draft/2019-09", "draft-07", "draft-06")
)


class SchemaCheck(Protocol):
    """Checks values against one schema."""

    def faults(self, value: object) -> list[str]:
        """Return what is wrong with a value, as ``path: what``."""
        ...


class _Check:
    def __init__(self, schema: Mapping[str, object], mask: str | None) -> None:
        # A linear engine, so that no pattern takes for ever.
        options = RegexOptions(size_limit=1 << 20)
        self._validator = validator_for(
            dict(schema), pattern_options=options, offline=True, mask=mask
        )

    def faults(self, value: object) -> list[str]:
        try:
            return [_said(error) for error in islice(self._validator.iter_errors(value), _TOLD)]
        except ValueError as error:  # half a character, or nested too deeply
            return [f"it cannot be checked: {error}"]


def compile_schema(schema: Mapping[str, object], mask: str | None = None) -> SchemaCheck:
    """Return the check for a schema that has no fault; ``mask`` stands for values in faults."""
    return _Check(schema, mask)


def schema_fault(schema: object) -> str | None:
    """Return why a schema cannot be used, None when it can."""
    if not isinstance(schema, dict):
        return f"a schema must be a table, not {type(schema).__name__}"
    table = cast("dict[str, object]", schema)
    try:
        text = json.dumps(table, allow_nan=False)
        if len(text) > LARGEST:
            return f"it has {len(text)} characters; at most {LARGEST} are taken"
        wrong = next(_pointing_out(table), None)
        if wrong is None:
            compile_schema(table)
            if _unfolded(table) > MOST_PARTS:
                wrong = f"its references make more than {MOST_PARTS} parts of it"
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        return f"it is no JSON Schema: {str(error)[:200]}"
    return wrong


def _pointing_out(schema: dict[str, object]) -> Iterator[str]:
    """Yield what would have to be fetched to understand a schema."""
    for key, value in _members(schema):
        if not isinstance(value, str):
            continue
        if key in _REFERENCES and value != "#" and not value.startswith("#/"):
            yield f"{key} {value[:80]!r} points outside of the schema; only '#/…' may be used"
        if key == "$schema" and value.rstrip("#") not in _DIALECTS:
            yield f"$schema {value[:80]!r} is no dialect that is known here"
        if key in ("$id", "id") and "://" in value:
            yield f"{key} {value[:80]!r} gives the schema an address of its own"


def _members(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            yield key, inner
            yield from _members(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _members(inner)


def _unfolded(schema: dict[str, object]) -> int:
    """Return about how many parts a schema has once each reference is replaced by what it names.

    References that double each other make a small schema that takes for ever to check against.
    """
    sizes: dict[int, int] = {}

    def size(value: object) -> int:
        known = id(value)
        if known not in sizes:
            sizes[known] = 1  # of a circle, which the value that is checked brings to an end
            parts: list[object] = []
            if isinstance(value, dict):
                table = cast("dict[str, object]", value)
                named = [_pointed(schema, table[key]) for key in _REFERENCES if key in table]
                parts = [*table.values(), *named]
            elif isinstance(value, list):
                parts = cast("list[object]", value)
            sizes[known] = 1 + sum(map(size, parts))
        return sizes[known]

    return size(schema)


def _pointed(schema: object, reference: object) -> object:
    """Return what a local reference names; None where nothing is."""
    if not isinstance(reference, str):
        return None
    for part in unquote(reference).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, dict):
            schema = cast("dict[str, object]", schema).get(key)
        else:
            items = cast("list[object]", schema) if isinstance(schema, list) else []
            schema = next((item for at, item in enumerate(items) if str(at) == key), None)
    return schema


def _said(error: ValidationError) -> str:
    place = ".".join(map(str, error.instance_path))
    message = error.message
    if len(message) > _LONGEST:  # it shows the value
        message = f"{message[: _LONGEST // 2]}…{message[-_LONGEST // 2 :]}"
    return f"{place}: {message}" if place else message
