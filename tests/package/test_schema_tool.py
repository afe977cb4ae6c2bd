"""Tools made of a schema and a function, and what may be done to whoever checks the schema."""

import functools
import json
import socket
import threading
from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail import RequestContext
from agentrail.errors import ConfigError, ToolArgumentsInvalid
from agentrail.messages import ToolSpec
from agentrail.package import compile_schema
from agentrail.package._schema import LARGEST, schema_fault
from agentrail.package._tools import SchemaTool, function_spec
from tests.contexts import context_of

pytestmark = pytest.mark.anyio

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "pattern": "^[A-Z]"},
        "days": {"type": "integer", "minimum": 1},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def tool_of(function: object, parameters: object = CITY) -> SchemaTool:
    spec = ToolSpec(name="look", description="", parameters=parameters)  # type: ignore[arg-type]
    return SchemaTool(spec, function, 3)  # type: ignore[arg-type]


async def test_arguments_that_fit_reach_the_function() -> None:
    def here(city: str, days: int = 1) -> object:
        return city, days, threading.current_thread() is threading.main_thread()

    async def there(city: str, days: int = 1) -> object:
        await anyio.lowlevel.checkpoint()
        return city, days, threading.current_thread() is threading.main_thread()

    arguments = {"city": "Rome", "days": 2}
    assert await tool_of(here).call(arguments, context_of()) == ("Rome", 2, False)
    assert await tool_of(there).call(arguments, context_of()) == ("Rome", 2, True)
    assert await tool_of(functools.partial(there, days=5)).call({"city": "Rome"}, context_of()) == (
        "Rome",
        5,
        True,
    )


async def test_arguments_that_do_not_fit_are_all_told() -> None:
    def never(**_: object) -> None:
        raise AssertionError

    with pytest.raises(ToolArgumentsInvalid) as caught:
        await tool_of(never).call({"city": "rome", "days": 0, "more": 1}, context_of())

    faults = str(caught.value).splitlines()
    assert faults[0] == "invalid arguments for look:"
    assert [line[:7] for line in sorted(faults[1:])] == ["- Addit", "- city:", "- days:"]


ODD: dict[str, dict[str, object]] = {
    "half a character": {"city": "\ud800"},
    "a deep list": {"city": json.loads("[" * 400 + "]" * 400)},
    "a great number": {"city": "Rome", "days": -(10**400)},
    "no number": {"city": "Rome", "days": float("nan")},
    "much": {"city": "x" * 1_000_000},
    "many": dict.fromkeys(map(str, range(10_000)), 1),
}


@pytest.mark.parametrize("odd", ODD)
async def test_odd_arguments_are_refused_in_few_words(odd: str) -> None:
    with pytest.raises(ToolArgumentsInvalid) as caught:
        await tool_of(print).call(ODD[odd], context_of())

    assert len(str(caught.value)) < 5_000


def test_of_many_faults_the_first_are_told() -> None:
    assert len(compile_schema({"items": {"type": "string"}}).faults([1] * 10_000)) == 20


async def test_the_context_of_the_request_is_given_and_not_asked_for() -> None:
    async def told(city: str, asked: "RequestContext") -> object:
        return city, asked.user_id

    def unreadable(city: str, asked: "RequestContext") -> object:
        return city, asked.user_id

    unreadable.__annotations__["city"] = "Nowhere"

    open_schema = {"type": "object"}
    for function in (told, unreadable):
        answer = await tool_of(function).call({"city": "Rome"}, context_of("ann"))
        assert answer == ("Rome", "ann")
        forged = {"city": "Rome", "asked": {"user_id": "root"}}
        assert await tool_of(function, open_schema).call(forged, context_of("ann")) == (
            "Rome",
            "ann",
        )


def test_a_function_is_named_with_or_without_its_wrapper() -> None:
    bare = {"name": "look", "description": "Looks.", "parameters": CITY}
    for schema in (bare, {"type": "function", "function": bare}):
        spec = function_spec(schema, "here")
        assert (spec.name, spec.description, spec.parameters) == ("look", "Looks.", CITY)
    assert function_spec({"name": "look"}, "here").parameters == {
        "type": "object",
        "properties": {},
    }
    wrongs: list[object] = [{}, {"name": 3}, {"name": ""}, None, [], "look", {"function": "look"}]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="here: its schema has no name"):
            function_spec(wrong, "here")


class Counted:
    """A server on the loopback that counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def _count(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if connection.recv(1, socket.MSG_PEEK) == b"\0":
                    return
                self.connections += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    def close(self) -> None:
        with socket.create_connection(self._listener.getsockname()) as last:
            last.sendall(b"\0")
            self._thread.join()
        self._listener.close()


@pytest.fixture
def counted() -> Iterator[Counted]:
    server = Counted()
    yield server
    server.close()


REMOTE = [
    '{"$ref": "URL/a.json"}',
    '{"properties": {"a": {"$ref": "URL/a.json#/b"}}}',
    '{"$schema": "URL/dialect"}',
    '{"$id": "URL/own.json", "$ref": "other.json"}',
    '{"$id": "URL/own.json", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "b.json"}}}',
    '{"$dynamicRef": "URL/a.json"}',
    '{"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "URL"}',
    '{"$schema": "http://json-schema.org/draft-04/schema#", "id": "URL", "$ref": "a.json"}',
    '{"$defs": {"a": {"$id": "URL/x", "$anchor": "y"}}, "$ref": "URL/x#y"}',
    '{"$ref": "//127.0.0.1/a.json"}',
    '{"$ref": "file:///etc/passwd"}',
    '{"items": [{"not": {"if": {"$ref": "URL"}}}]}',
]


@pytest.mark.parametrize("text", REMOTE)
def test_nothing_is_fetched_to_understand_a_schema(text: str, counted: Counted) -> None:
    schema = json.loads(text.replace("URL", counted.url))

    assert schema_fault(schema)
    with pytest.raises(ConfigError, match="the parameters of tool 'look'"):
        tool_of(print, schema)
    for use in (lambda: compile_schema(schema), lambda: compile_schema(schema).faults({"a": 1})):
        try:
            use()
        except ValueError:
            continue
    assert counted.connections == 0


def doubling(keyword: str, depth: int, ref: str = "$ref") -> object:
    names = [f"d{number}" for number in range(depth)]
    parts: dict[str, object] = {
        name: {keyword: [{ref: f"#/$defs/{after}"}] * 2}
        for name, after in zip(names, [*names[1:], "end"], strict=True)
    }
    return {"$defs": {**parts, "end": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(depth: int) -> object:
    schema: object = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


BAD: dict[str, object] = {
    "no table": [],
    "a truth": True,
    "nothing": None,
    "a number for a name": {1: 2},
    "no number": {"minimum": float("nan")},
    "a negative length": {"minLength": -1},
    "a type that is none": {"type": "text"},
    "a pattern that is none": {"pattern": "("},
    "a pattern that looks ahead": {"pattern": "(?=a)b"},
    "a pattern that unfolds": {"pattern": "(((a{1,100}){1,100}){1,100}){1,100}"},
    "a reference to nothing": {"$ref": "#/$defs/absent"},
    "too long": {"description": "x" * LARGEST},
    "far too long": {"enum": ["x" * 10_000_000]},
    "too deep": nested(5_000),
    "doubling all": doubling("allOf", 30),
    "doubling any": doubling("anyOf", 30),
    "doubling one": doubling("oneOf", 30),
    "doubling by turns": doubling("allOf", 30, "$dynamicRef"),
    "an anchor": {"$defs": {"a": {"$anchor": "here"}}, "$ref": "#here"},
    "an odd object": {"default": object()},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_schema_that_cannot_be_used_says_why(kind: str) -> None:
    wrong = schema_fault(BAD[kind])

    assert wrong
    assert len(wrong) < 400


GOOD: dict[str, object] = {
    "empty": {},
    "a circle of references": {"$ref": "#"},
    "two that name each other": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a circle of all": {"allOf": [{"$ref": "#"}]},
    "a circle of not": {"not": {"$ref": "#"}},
    "a tree": {
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}},
        "additionalProperties": False,
    },
    "a pattern that would take for ever": {
        "properties": {"left": {"type": ["object", "string"], "pattern": "^(a+)+$"}}
    },
    "names with slashes": {"$defs": {"a/b~c": {"type": "object"}}, "$ref": "#/$defs/a~1b~0c"},
    "names in percent": {"$defs": {"a b": {"type": "object"}}, "$ref": "#/$defs/a%20b"},
    "an item of a list": {"prefixItems": [{"type": "object"}], "$ref": "#/prefixItems/0"},
    "a little doubling": {"allOf": [{"$ref": "#/$defs/a"}] * 9, "$defs": {"a": {}}},
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_schema_that_turns_in_circles_is_checked_against_and_done(kind: str) -> None:
    schema = GOOD[kind]
    assert schema_fault(schema) is None
    check = compile_schema(schema)  # type: ignore[arg-type]

    deep: object = {"value": 1}
    for _ in range(100):
        deep = {"left": deep, "right": {"value": 2}}
    for value in ({}, deep, {"left": "a" * 50_000 + "b"}, {"value": "x"}):
        assert isinstance(check.faults(value), list)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
words = st.sampled_from(
    ["$ref", "type", "properties", "items", "allOf", "not", "$defs", "$id", "enum", "pattern", "a"]
)
leaves: list[object] = [True, "#", "#/$defs/a", "#/a", "string", "object", 1, "^a", {}]
schemas: st.SearchStrategy[object] = st.recursive(
    st.sampled_from(leaves),
    lambda inner: st.dictionaries(words, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=10,
)


@given(schemas, json_values)
def test_whatever_a_schema_is_it_is_refused_or_it_checks(schema: object, value: object) -> None:
    """Property: and never breaks whoever asks."""
    if schema_fault(schema) is None:
        assert isinstance(compile_schema(schema).faults(value), list)  # type: ignore[arg-type]
