"""Schemas in the form that upstreams enforce."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from agentrail.model._schema import BOUNDS, strict
from agentrail.model._wire import Json


class Inner(msgspec.Struct):
    a: int
    b: str | None = None


class Outer(msgspec.Struct):
    inner: Inner
    count: Annotated[int, msgspec.Meta(ge=1, description="How many.")]
    kind: Literal["x", "y"] = "x"
    many: list[Inner] = msgspec.field(default_factory=list[Inner])


def schema_of(kind: type[msgspec.Struct]) -> Json:
    (_,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema: Json = dict(components.pop(kind.__name__))
    return {**schema, "$defs": components}


def test_every_object_is_closed_and_has_all_its_properties() -> None:
    made: Any = strict(schema_of(Outer), BOUNDS)

    assert made == {
        "type": "object",
        "additionalProperties": False,
        "required": ["inner", "count", "kind", "many"],
        "properties": {
            "inner": {"$ref": "#/$defs/Inner"},
            "count": {"type": "integer", "minimum": 1, "description": "How many."},
            "kind": {"type": "string", "enum": ["x", "y"], "description": 'default: "x"'},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Inner"}},
        },
        "$defs": {"Inner": {
            "type": "object",
            "additionalProperties": False,
            "required": ["a", "b"],
            "properties": {
                "a": {"type": "integer"},
                "b": {"anyOf": [{"type": "string"}, {"type": "null"}],
                      "description": "default: null"},
            },
        }},
    }  # fmt: skip


def test_bounds_that_are_not_enforced_are_said() -> None:
    made: Any = strict(schema_of(Outer))

    assert made["properties"]["count"] == {
        "type": "integer",
        "description": "How many.\nminimum: 1",
    }


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"const": True}, {"type": "boolean", "const": True}),
        ({"enum": [1, "x"]}, {"enum": [1, "x"]}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        (
            {"type": "string", "format": "decimal", "title": "Price"},
            {"type": "string", "description": 'format: "decimal"'},
        ),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"$ref": "#/$defs/X", "default": 5}, {"$ref": "#/$defs/X"}),
    ],
)
def test_parts_are_written_as_upstreams_take_them(part: Json, made: Json) -> None:
    whole: Any = strict({"type": "object", "properties": {"x": part}, "required": ["x"]}, BOUNDS)

    assert whole["properties"]["x"] == made


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"y": {"type": "integer"}}},
        {"type": "array", "items": False, "prefixItems": [{"type": "integer"}]},
        {"type": "array", "items": {}},
        {"not": {"type": "null"}, "type": "integer"},
        {"anyOf": [{"type": "object"}]},
    ],
)
def test_what_no_upstream_enforces_has_no_such_form(part: Json) -> None:
    schema: Json = {"type": "object", "properties": {"x": part}, "required": ["x"]}

    assert strict(schema, BOUNDS) is None


def test_the_schema_itself_is_left_as_it_is() -> None:
    schema = schema_of(Outer)
    before = msgspec.json.encode(schema)

    strict(schema)

    assert msgspec.json.encode(schema) == before
