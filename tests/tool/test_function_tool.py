"""`@tool`: the schema that the model is told, and the call with what it sends back."""

import dataclasses
import enum
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Literal, NotRequired, TypedDict, cast

import anyio
import anyio.to_thread
import attrs
import pytest
from msgspec import Meta, Struct

from agentrail.errors import ConfigError, ToolArgumentsInvalid
from agentrail.hook import Tool
from agentrail.requests import RequestContext
from agentrail.tool import tool

pytestmark = pytest.mark.anyio


class Unit(enum.Enum):
    CELSIUS = "c"
    KELVIN = "k"


@dataclasses.dataclass
class Place:
    city: str
    country: str = "DE"


@attrs.frozen
class Box:
    width: int


class Window(Struct):
    first: int
    last: int


class Filters(TypedDict):
    tag: str
    strict: NotRequired[bool]


class Opaque:
    """msgspec knows no JSON for it."""


@tool
async def forecast(
    city: str,
    days: Annotated[int, Meta(ge=1, le=9)] = 3,
    unit: Unit = Unit.CELSIUS,
    detail: Literal["short", "long"] | None = None,
) -> str:
    """Tell the weather
    of the days to come.

    The model does not read this paragraph.

    Args:
        city: The city's name,
            in English.
        days (int): How many days: 1 to 9.

    Returns:
        city: this is no parameter's description.
    """
    return f"{city} {days} {unit.value} {detail}"


async def test_the_spec_comes_from_the_signature_and_the_docstring() -> None:
    assert forecast.spec.name == "forecast"
    assert forecast.spec.description == "Tell the weather of the days to come."
    assert forecast.spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name, in English."},
            "days": {
                "type": "integer",
                "minimum": 1,
                "maximum": 9,
                "default": 3,
                "description": "How many days: 1 to 9.",
            },
            "unit": {"$ref": "#/$defs/Unit", "default": "c"},
            "detail": {"anyOf": [{"enum": ["long", "short"]}, {"type": "null"}], "default": None},
        },
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"Unit": {"title": "Unit", "enum": ["c", "k"]}},
    }


async def test_arguments_arrive_converted_and_defaults_are_the_functions_own(
    context: RequestContext,
) -> None:
    assert await forecast.call({"city": "Berlin"}, context) == "Berlin 3 c None"
    assert await forecast.call({"city": "Rome", "unit": "k", "detail": "long"}, context) == (
        "Rome 3 k long"
    )


async def test_every_shape_of_parameter_is_converted(context: RequestContext) -> None:
    @tool
    async def shapes(
        place: Place, box: Box, window: Window, filters: Filters, table: dict[int, list[Place]]
    ) -> tuple[object, ...]:
        """Take them all."""
        return (place, box, window, filters, table)

    given: dict[str, object] = {
        "place": {"city": "Rome"},
        "box": {"width": 2},
        "window": {"first": 1, "last": 2},
        "filters": {"tag": "a"},
        "table": {"7": [{"city": "Oslo", "country": "NO"}]},
    }
    assert await shapes.call(given, context) == (
        Place("Rome"),
        Box(2),
        Window(1, 2),
        {"tag": "a"},
        {7: [Place("Oslo", "NO")]},
    )
    schema = cast("dict[str, dict[str, dict[str, object]]]", shapes.spec.parameters)
    assert set(schema["$defs"]) == {"Place", "Box", "Window", "Filters"}
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place"}


async def test_a_default_that_is_no_json_is_used_and_not_shown(context: RequestContext) -> None:
    sentinel = Opaque()

    @tool
    async def search(where: object = sentinel, tags: list[str] = ["a"]) -> bool:  # noqa: B006
        """Search."""
        return where is sentinel and tags == ["a"]

    assert await search.call({}, context) is True
    schema = cast("dict[str, dict[str, dict[str, object]]]", search.spec.parameters)
    assert schema["properties"]["where"] == {}
    assert schema["properties"]["tags"]["default"] == ["a"]


async def test_an_object_is_any_json(context: RequestContext) -> None:
    @tool
    async def keep(value: object, table: dict[str, object]) -> object:
        """Keep.

        Args:
            value: anything.
        """
        return [value, table]

    assert await keep.call({"value": [1], "table": {"a": {"b": 2}}}, context) == [
        [1],
        {"a": {"b": 2}},
    ]
    schema = cast("dict[str, dict[str, object]]", keep.spec.parameters)
    assert schema["properties"] == {
        "value": {"description": "anything."},
        "table": {
            "type": "object",
            "additionalProperties": {"description": "any JSON value"},
        },
    }


async def test_the_context_is_passed_and_not_shown(context: RequestContext) -> None:
    @tool
    async def whoami(request: RequestContext, prefix: str = "") -> str:
        """Tell who asks.

        Args:
            request: described for the reader of the code.
        """
        return prefix + request.user_id

    assert await whoami.call({"prefix": "I am "}, context) == "I am local"
    schema = cast("dict[str, dict[str, object]]", whoami.spec.parameters)
    assert list(schema["properties"]) == ["prefix"]
    with pytest.raises(ToolArgumentsInvalid, match="unknown field `request`"):
        await whoami.call({"request": {}}, context)


async def test_all_faults_of_the_arguments_are_told_at_once(context: RequestContext) -> None:
    with pytest.raises(ToolArgumentsInvalid) as refused:
        await forecast.call({"days": "3", "unit": "f", "town": "Rome"}, context)

    assert str(refused.value).splitlines() == [
        "invalid arguments for forecast, which takes city, days, unit, detail:",
        "- Object missing required field `city`",
        "- Expected `int`, got `str` - at `$.days`",
        "- Invalid enum value 'f' - at `$.unit`",
        "- Object contains unknown field `town`",
    ]


async def test_a_fault_inside_an_argument_has_its_path(context: RequestContext) -> None:
    @tool
    async def visit(places: list[Place]) -> None:
        """Visit."""

    with pytest.raises(ToolArgumentsInvalid, match=r"got `int` - at `\$\.places\[1\]\.city`"):
        await visit.call({"places": [{"city": "Rome"}, {"city": 3}]}, context)


async def test_a_tool_without_arguments_says_so(context: RequestContext) -> None:
    @tool
    async def now() -> str:
        """Tell the time."""
        return "noon"

    assert now.spec.parameters == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    with pytest.raises(ToolArgumentsInvalid, match="takes no arguments"):
        await now.call({"zone": "UTC"}, context)


async def test_a_sync_function_runs_in_a_worker_thread(context: RequestContext) -> None:
    @tool
    def where() -> int:
        """Tell the thread."""
        return threading.get_ident()

    assert where() == threading.get_ident()
    assert await where.call({}, context) != threading.get_ident()


async def test_a_cancelled_sync_call_returns_while_its_thread_goes_on(
    context: RequestContext,
) -> None:
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    @tool
    def slow() -> None:
        """Wait."""
        entered.set()
        leave.wait()
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(slow.call, dict[str, object](), context)
        await anyio.to_thread.run_sync(entered.wait)
        group.cancel_scope.cancel()

    assert not left.is_set()
    leave.set()
    await anyio.to_thread.run_sync(left.wait)


async def test_a_sync_function_that_returns_an_awaitable_is_awaited(
    context: RequestContext,
) -> None:
    async def answer() -> str:
        return "yes"

    @tool
    def ask() -> Awaitable[str]:
        """Ask."""
        return answer()

    assert await ask.call({}, context) == "yes"


async def test_a_tool_is_still_its_function() -> None:
    assert await forecast("Rome", 1) == "Rome 1 c None"
    assert forecast.__name__ == "forecast"
    assert list(inspect.signature(forecast).parameters) == ["city", "days", "unit", "detail"]
    assert isinstance(forecast, Tool)


async def test_options_name_the_tool_and_limit_it() -> None:
    @tool(name="look-up", timeout=30.0)
    async def find(text: str) -> str:
        """Look up."""
        return text

    assert (find.spec.name, find.timeout, forecast.timeout) == ("look-up", 30.0, None)
    assert await find("x") == "x"


async def test_a_bound_method_makes_a_tool(context: RequestContext) -> None:
    class Counter:
        def __init__(self) -> None:
            self.total = 0

        async def add(self, amount: int) -> int:
            """Add to the total."""
            self.total += amount
            return self.total

    add = tool(Counter().add)

    await add.call({"amount": 2}, context)
    assert await add.call({"amount": 3}, context) == 5


async def test_a_fault_that_the_tools_own_code_finds_is_not_one_of_the_arguments(
    context: RequestContext,
) -> None:
    @tool
    async def check(text: str) -> str:
        """Check."""
        raise ValueError(text)

    with pytest.raises(ValueError, match="mine"):
        await check.call({"text": "mine"}, context)


def no_docstring(city: str) -> str:
    return city


def only_sections(city: str) -> str:
    """Args:
    city: it.
    """
    return city


def no_annotation(city: str) -> str:
    """Tell."""
    return city


del no_annotation.__annotations__["city"]


def many(*cities: str) -> str:
    """Tell."""
    return " ".join(cities)


def keywords(**cities: str) -> str:
    """Tell."""
    return " ".join(cities)


def by_place(city: str, /) -> str:
    """Tell."""
    return city


def no_schema(city: str, thing: list[Opaque]) -> str:
    """Tell."""
    return f"{city} {thing}"


def unresolved(city: str) -> str:
    """Tell."""
    return city


unresolved.__annotations__["city"] = "Nowhere"


def stranger(city: str) -> str:
    """Tell.

    Args:
        town: its name once.
    """
    return city


async def pieces(city: str) -> AsyncIterator[str]:
    """Tell piece by piece."""
    yield city


def wrong_name(city: str) -> str:
    """Tell."""
    return city


wrong_name.__name__ = "wrong name"


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (no_docstring, "no_docstring needs a docstring"),
        (only_sections, "only_sections needs a docstring"),
        (no_annotation, "no_annotation: parameter 'city' needs an annotation"),
        (many, "many: parameter 'cities' cannot be passed by name"),
        (keywords, "keywords: parameter 'cities' cannot be passed by name"),
        (by_place, "by_place: parameter 'city' cannot be passed by name"),
        (no_schema, "no_schema: parameter 'thing' has no JSON Schema: .*Opaque.* is not supported"),
        (unresolved, "unresolved: an annotation cannot be resolved: name 'Nowhere'"),
        (stranger, "stranger: the docstring describes 'town', which is no parameter"),
        (pieces, "pieces is a generator"),
        (wrong_name, "'wrong name' is no name for a tool"),
        (Opaque(), "makes a tool of a function"),
    ],
)
async def test_what_cannot_be_a_tool_is_refused_at_its_definition(
    function: Callable[..., object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        tool(function)


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a.b", "a\n"])
async def test_a_name_that_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a tool"):
        tool(name=name)(forecast.__wrapped__)
