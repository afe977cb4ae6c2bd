"""JSON Schemas, for the upstreams that keep a model's answer to one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import msgspec

from agentrail.model._wire import Json, as_object

BOUNDS: Final = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("pattern", "minItems", "maxItems"),
    }
)
"""What narrows a value down, where an upstream enforces it."""

_KEPT: Final = frozenset({"type", "description", "enum", "const", "$ref"})
_SAYS: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "$ref"})
# Enforced by none, so they are said in words.
_TOLD: Final = frozenset(
    {"minLength", "maxLength", "uniqueItems", "contentEncoding", "default", "examples"}
)
_DROPPED: Final = frozenset({"title", "$schema", "$id", "$comment", "deprecated"})
_PARTS: Final = frozenset(
    {"properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "$defs", "format"}
)
_KNOWN: Final = _KEPT | _TOLD | _DROPPED | _PARTS | BOUNDS
_FORMATS: Final = frozenset(
    {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean"}


class _Loose(Exception):
    """A schema, or a part of one, that no upstream enforces."""


def strict(schema: Mapping[str, object], bounds: frozenset[str] = frozenset()) -> Json | None:
    """Return the schema in the form that upstreams enforce; None where it has none.

    In that form every object is closed and has all of its properties, and the bounds that are not
    in ``bounds`` stand in descriptions.
    """
    try:
        return _strict(schema, bounds)
    except _Loose:
        return None


def _strict(schema: Mapping[str, object], bounds: frozenset[str]) -> Json:
    if not schema.keys() <= _KNOWN or not schema.keys() & _SAYS:
        raise _Loose
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    made: Json = {word: schema[word] for word in schema if word in _KEPT or word in bounds}
    for word in ("properties", "$defs"):
        if word in schema:
            parts = as_object(schema[word])
            made[word] = {name: _strict(as_object(part), bounds) for name, part in parts.items()}
    if either := _list(schema.get("anyOf", schema.get("oneOf"))):
        made["anyOf"] = [_strict(as_object(part), bounds) for part in either]
    if "items" in schema:
        made["items"] = _strict(as_object(schema["items"]), bounds)
    if schema.get("format") in _FORMATS:
        made["format"] = schema["format"]
    if "type" not in schema and (kind := _kind(schema)):
        made["type"] = kind
    if schema.get("type") == "object":
        made |= {"required": _every_property(schema), "additionalProperties": False}
    told = [*([made["description"]] if "description" in made else []), *_told(schema, made)]
    return made | ({"description": "\n".join(map(str, told))} if told else {})


def _kind(schema: Mapping[str, object]) -> str | None:
    """Return the type of the values that a schema lists, which need not say it."""
    kinds = {type(value) for value in _list(schema.get("enum", [schema.get("const")]))}
    return _TYPES.get(kinds.pop()) if len(kinds) == 1 else None


def _every_property(schema: Mapping[str, object]) -> list[str]:
    """Return the names of an object's properties.

    Raises:
        _Loose: it may have others, or one may be missing and nothing can be written instead.
    """
    required = _list(schema.get("required", []))
    if "properties" not in schema or schema.get("additionalProperties", False) is not False:
        raise _Loose
    for name, part in as_object(schema["properties"]).items():
        nothing = "default" in as_object(part) or as_object(part).get("type") == "array"
        if name not in required and not nothing:
            raise _Loose
    return list(as_object(schema["properties"]))


def _told(schema: Mapping[str, object], made: Json) -> Iterator[str]:
    for word, value in schema.items():
        if word in _TOLD | BOUNDS | {"format"} and word not in made:
            yield f"{word}: {msgspec.json.encode(value).decode()}"


def _list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
