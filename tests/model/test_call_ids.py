"""The ids of tool calls that came from another upstream."""

from collections.abc import Iterator
from typing import cast

import pytest

from agentrail.messages import Message, ToolCall, ToolResult
from agentrail.requests import ModelRequest
from tests.model.wires import FORMATS, MESSAGES, Format, asking

pytestmark = pytest.mark.anyio

LONG = "chatcmpl-tool-0123456789abcdef0123456789abcdef"


@pytest.fixture(params=FORMATS, ids=lambda spoken: str(spoken.name))
def spoken(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


async def sent(spoken: Format, *ids: str) -> list[str]:
    """Return the ids of calls, and of their results, as they are sent."""
    calls = [ToolCall(id=call_id, name="add") for call_id in ids]
    results = [ToolResult(call_id=call_id, name="add", content="2") for call_id in ids]
    messages = (
        Message.user("hi"),
        Message.assistant(tuple(calls)),
        *[Message(role="tool", parts=(result,)) for result in results],
    )
    async with asking(spoken, spoken.says("ok")) as (provider, upstream):
        await provider.complete(ModelRequest(model="m", messages=messages))
    return list(ids_in(upstream.requests[0].body))


def ids_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            if name in {"id", "call_id", "tool_call_id", "tool_use_id"}:
                yield str(inner)
            else:
                yield from ids_in(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from ids_in(inner)


async def test_an_id_of_an_ordinary_length_stays_as_it_is(spoken: Format) -> None:
    assert await sent(spoken, "call_1", "x" * 40) == ["call_1", "x" * 40] * 2


async def test_a_long_id_is_shortened_the_same_way_for_call_and_result(spoken: Format) -> None:
    first, second, *results = await sent(spoken, LONG, LONG + "1")

    assert results == [first, second]
    assert first != second
    assert max(len(first), len(second)) <= 40


async def test_only_one_api_refuses_other_characters(spoken: Format) -> None:
    expected = "functions_add_0" if spoken is MESSAGES else "functions.add:0"

    assert await sent(spoken, "functions.add:0") == [expected] * 2
