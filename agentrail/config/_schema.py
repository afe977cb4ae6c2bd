"""What settings may be: a JSON Schema, and every fault of settings that are not so."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, cast

from jsonschema_rs import ValidationError, ValidationErrorKind, validator_for

from agentrail.config._document import Document, checked, inside
from agentrail.config._keys import is_name
from agentrail.config._layers import Layered
from agentrail.errors import ConfigRefused, Fault

Schema = Mapping[str, object]

MOST: Final = 100
"""How many faults are told at once."""

_KINDS: Final = {
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
_BOUNDS: Final = (
    ValidationErrorKind.Minimum,
    ValidationErrorKind.ExclusiveMinimum,
    ValidationErrorKind.Maximum,
    ValidationErrorKind.ExclusiveMaximum,
)
_BOUND: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})


def faults_of(settings: Layered, schema: Schema) -> list[Fault]:
    """Return what is wrong with settings, each fault with its place; no value is in a message."""
    # Faults are put into words without the values, which may be secret.
    validator = validator_for(dict(schema), mask="it", offline=True)
    errors = validator.iter_errors(_shortened(settings.data, [], schema))
    found = (fault for error in errors for fault in _told(error, settings, schema))
    return list(islice(chain(found, _not_whole(settings, schema)), MOST))


def _shortened(value: object, path: list[str], schema: Schema) -> object:
    """Return settings with no more of a long list than has the faults that are told.

    All faults are looked for before the first is had, which takes long for very many.
    """
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        return {key: _shortened(each, [*path, key], schema) for key, each in table.items()}
    if not isinstance(value, list):
        return value
    items = cast("list[object]", value)
    if len(items) > MOST:
        forms = [
            validator_for({"$defs": schema.get("$defs", {}), **cast("Schema", part["items"])})
            for part in _parts(schema, path)
            if "items" in part
        ]
        wrong = (at for at, each in enumerate(items) if not any(f.is_valid(each) for f in forms))
        items = items[: next(islice(wrong, MOST, None), None)]
    return [_shortened(each, [*path, str(at)], schema) for at, each in enumerate(items)]


def _not_whole(settings: Layered, schema: Schema) -> Iterator[Fault]:
    """Yield the numbers with a point that JSON Schema takes for whole ones, as 1.0."""
    for path in _with_point(settings.data, []):
        types = types_at(schema, path)
        if "integer" in types and "number" not in types:
            message = "it must be a whole number, written without a point"
            yield settings.fault("config_type", message, ".".join(path))


def _with_point(value: object, path: list[str]) -> Iterator[list[str]]:
    if isinstance(value, float) and value.is_integer():
        yield path
    for key, each in inside("", value):
        yield from _with_point(each, [*path, key])


def _told(error: ValidationError, settings: Layered, schema: Schema) -> Iterator[Fault]:
    kind, at = error.kind, [str(part) for part in error.instance_path]
    path = ".".join(at)
    if isinstance(kind, ValidationErrorKind.AnyOf):
        yield from _of_forms(error, settings, schema)
    elif isinstance(kind, ValidationErrorKind.Type):
        yield settings.fault("config_type", f"it must be {_listed(kind.types)}", path)
    elif isinstance(kind, ValidationErrorKind.AdditionalProperties):
        # Of the form that was meant, not of every form that may be here.
        known = list(cast("Schema", _part(schema, error.schema_path[:-1]).get("properties", {})))
        for key in kind.unexpected:
            near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield _unknown(settings, at, key, hint)
    elif isinstance(kind, ValidationErrorKind.Required):
        yield settings.fault("config_missing", f"{kind.property!r} is missing", path)
    elif isinstance(kind, ValidationErrorKind.Enum):
        yield settings.fault("config_value", _one_of(kind.options, error.instance), path)
    elif isinstance(kind, _BOUNDS):
        message = f"it must be {_BOUND[kind.name]} {kind.limit}"
        yield settings.fault("config_value", message, path)
    else:
        told = [part["description"] for part in _parts(schema, at) if "description" in part]
        hint = f": {told[0]}" if told and isinstance(kind, ValidationErrorKind.Pattern) else ""
        yield settings.fault("config_value", f"{error.message}{hint}", path)


def _unknown(settings: Layered, at: Sequence[str], key: str, hint: str) -> Fault:
    """Return a fault of a key that is no setting; one that is no name may be a secret."""
    path = ".".join([*at, key])
    if is_name(key):
        return settings.fault("config_unknown", f"there is no setting {key!r} here{hint}", path)
    message = f"there is a key here that is no setting{hint}"
    return settings.fault("config_unknown", message, path, ".".join(at))


def _of_forms(error: ValidationError, settings: Layered, schema: Schema) -> Iterator[Fault]:
    """Yield what is wrong with a value that may have several forms, going by the nearest one."""
    at = [str(part) for part in error.instance_path]
    forms = list(_forms_of(error))
    near = min(_distance(form, len(at)) for form in forms)
    nearest = [form for form in forms if _distance(form, len(at)) == near]
    if near == 0:
        for each in min(nearest, key=len):
            yield from _told(each, settings, schema)
        return
    marks = [
        each
        for form in nearest
        for each in form
        if isinstance(each.kind, ValidationErrorKind.Enum) and isinstance(each.instance, str)
    ]
    if marks:
        path = ".".join(str(part) for part in marks[0].instance_path)
        names = [name for each in marks for name in _options(each)]
        yield settings.fault("config_value", _one_of(names, marks[0].instance), path)
    else:
        types = sorted(types_at(schema, at))
        yield settings.fault("config_type", f"it must be {_listed(types)}", ".".join(at))


def _forms_of(error: ValidationError) -> Iterator[Sequence[ValidationError]]:
    """Yield the faults of each form that a value may have; forms of forms are forms too."""
    if not isinstance(error.kind, ValidationErrorKind.AnyOf):
        return
    for errors in error.kind.context:
        if len(errors) == 1 and isinstance(errors[0].kind, ValidationErrorKind.AnyOf):
            yield from _forms_of(errors[0])
        else:
            yield errors


def _distance(errors: Sequence[ValidationError], depth: int) -> int:
    """Return how far a value is from a form: it has its type and name, its type, or neither."""
    far = {"type": 2, "enum": 2}, {"enum": 1}
    levels = [(len(each.instance_path) - depth, each.kind.name) for each in errors]
    return max((far[level].get(name, 0) for level, name in levels if level < len(far)), default=0)


def _options(error: ValidationError) -> Sequence[str]:
    kind = error.kind
    return list(map(str, kind.options)) if isinstance(kind, ValidationErrorKind.Enum) else ()


def _one_of(options: Sequence[object], value: object) -> str:
    names = list(map(str, options))
    near = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"it must be one of {', '.join(names)}{hint}"


def _listed(types: Sequence[str]) -> str:
    return " or ".join(_KINDS.get(each, each) for each in types)


def coerced(text: str, schema: Schema, path: Sequence[str]) -> object:
    """Return a text, as a variable has it, as the value that a setting takes.

    What takes a text gets it as it is, but for a list in brackets where one is taken too; else it
    is read as JSON, and what is none stays a text.
    """
    types = types_at(schema, path)
    listed = "array" in types and text.lstrip().startswith("[")
    if not types or ("string" in types and not listed):
        return text
    word = text.strip().lower()
    if "boolean" in types and word in _YES | _NO:
        return word in _YES
    try:
        value: object = json.loads(text)
        checked(Document("", {"": value}), finite=True)
    except (ValueError, RecursionError, ConfigRefused):
        return text
    return value


def types_at(schema: Schema, path: Sequence[str]) -> set[str]:
    """Return the types of JSON that a setting takes; none where there is no such setting."""
    found: set[str] = set()
    for part in _parts(schema, path):
        kinds = part.get("type", ())
        found.update([kinds] if isinstance(kinds, str) else cast("Sequence[str]", kinds))
        if "enum" in part and not kinds:
            found.add("string")
    return found


def properties_at(schema: Schema, path: Sequence[str]) -> list[str]:
    """Return the names of the settings in a mapping."""
    found: dict[str, None] = {}
    for part in _parts(schema, path):
        found.update(dict.fromkeys(cast("Schema", part.get("properties", {}))))
    return list(found)


def _part(schema: Schema, place: Sequence[str | int]) -> Schema:
    part: object = schema
    for step in place:
        part = cast("Mapping[str | int, object]", part)[step]
    return cast("Schema", part)


def _parts(schema: Schema, path: Sequence[str]) -> list[Schema]:
    """Return the parts of a schema that say what may be at a path."""
    parts = list(_forms(schema, schema))
    for key in path:
        parts = [
            form for part in parts for inner in _below(part, key) for form in _forms(inner, schema)
        ]
    return parts


def _below(part: Schema, key: str) -> Iterator[Schema]:
    properties = cast("Mapping[str, Schema]", part.get("properties", {}))
    if key in properties:
        yield properties[key]
    elif isinstance(more := part.get("additionalProperties"), dict):
        yield cast("Schema", more)
    if key.isdecimal() and isinstance(items := part.get("items"), dict):
        yield cast("Schema", items)


def _forms(part: Schema, root: Schema) -> Iterator[Schema]:
    """Yield a part of a schema, or all that it may be instead."""
    if isinstance(name := part.get("$ref"), str):
        definitions = cast("Mapping[str, Schema]", root.get("$defs", {}))
        yield from _forms(definitions[name.removeprefix("#/$defs/")], root)
    elif isinstance(options := part.get("anyOf"), list):
        for each in cast("list[Schema]", options):
            yield from _forms(each, root)
    else:
        yield part
