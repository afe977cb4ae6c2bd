"""Answers that are more than text: the schema is sent, the answer checked, and tried once more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pytest

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    Limits,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    Usage,
    create_app,
    tool,
)
from agentrail.agent import Output
from agentrail.errors import CompositionError, ConfigError, OutputInvalid
from agentrail.events import MessageDelta, TurnEnd, TurnError
from agentrail.messages import OutputSpec
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.requests import Resume
from agentrail.tool import ask
from tests.conftest import Serve
from tests.host.conftest import MakeHost
from tests.host.contract import both_doors
from tests.host.office import again, approved, check_log, streamed, transcript

pytestmark = pytest.mark.anyio


@dataclass
class Leg:
    """A part of a way."""

    to: str
    km: Annotated[int, msgspec.Meta(ge=1)]


@dataclass
class Trip:
    """A way."""

    legs: list[Leg]
    by: Literal["train", "foot"] = "train"
    notes: list[str] = field(default_factory=list[str])


@attrs.frozen
class AttrsTrip:
    legs: list[Leg]
    by: Literal["train", "foot"] = "train"


class StructTrip(msgspec.Struct, rename="camel"):
    legs: list[Leg]
    by: Literal["train", "foot"] = "train"
    arrives_at: str = "noon"


class DictTrip(TypedDict):
    legs: list[Leg]


GOOD = '{"legs":[{"to":"Kiel","km":94}],"by":"train"}'
BAD = '{"legs":[{"to":"Kiel","km":"far"}]}'
KIEL = Trip([Leg("Kiel", 94)])


def config(*script: Scripted, output: object = Trip, **profile: Any) -> dict[str, Any]:  # noqa: ANN401
    agent = Profile(id="assistant", model="scripted:m", output=output, **profile)
    return {"profiles": [agent], "providers": [ScriptedModel(script)]}


def requests_of(config: dict[str, Any]) -> list[ModelRequest]:
    model: ScriptedModel = config["providers"][0]
    return model.requests


def output_in(request: ModelRequest) -> OutputSpec:
    assert request.output is not None
    return request.output


def properties(schema: Mapping[str, Any]) -> set[str]:
    return set(schema["properties"])


async def answer(host: AgentHost, kind: str = "chat", session_id: str = "s") -> ChatResponse:
    request = ChatRequest("where to?", session_id=session_id)
    if kind == "chat":
        return await host.chat(request)
    end = (await streamed(host, request))[-1]
    assert isinstance(end, TurnEnd)
    return ChatResponse(end.message, stop_reason=end.stop_reason, output=end.output)


async def test_the_model_is_told_the_schema_and_the_answer_is_a_value(make_host: MakeHost) -> None:
    given = config(GOOD)
    async with make_host(**given) as host:
        response = await answer(host)

    assert (response.output, response.message) == (KIEL, GOOD)
    spec = output_in(requests_of(given)[0])
    schema: Mapping[str, Any] = spec.parameters
    assert (spec.name, schema["type"], schema["required"]) == ("Trip", "object", ["legs"])
    assert schema["properties"]["by"]["enum"] == ["foot", "train"]
    assert schema["properties"]["legs"]["items"] == {"$ref": "#/$defs/Leg"}
    assert {*schema["$defs"]} == {"Leg"}
    assert schema["$defs"]["Leg"]["properties"]["km"] == {"type": "integer", "minimum": 1}


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (Trip, KIEL),
        (AttrsTrip, AttrsTrip([Leg("Kiel", 94)])),
        (StructTrip, StructTrip([Leg("Kiel", 94)])),
        (DictTrip, {"legs": [Leg("Kiel", 94)]}),
    ],
)
async def test_each_way_of_writing_a_type_is_one(
    make_host: MakeHost, output: object, value: object
) -> None:
    given = config('{"legs":[{"to":"Kiel","km":94}]}', output=output)
    async with make_host(**given) as host:
        response = await answer(host)

    assert response.output == value
    assert type(response.output) is type(value)
    assert "legs" in properties(output_in(requests_of(given)[0]).parameters)


async def test_names_are_those_of_the_types_json(make_host: MakeHost) -> None:
    given = config('{"legs":[],"arrivesAt":"one"}', output=StructTrip)
    async with make_host(**given) as host:
        assert (await answer(host)).output == StructTrip([], arrives_at="one")

    assert "arrivesAt" in properties(output_in(requests_of(given)[0]).parameters)


async def test_a_reader_gets_the_pieces_and_the_value_as_json(make_host: MakeHost) -> None:
    async with make_host(**config(GOOD)) as host:
        events = await streamed(host, ChatRequest("where to?", session_id="s"))
        read_again = await again(host, events[0].turn_id)

    end = events[-1]
    assert isinstance(end, TurnEnd)
    assert "".join(e.text for e in events if isinstance(e, MessageDelta)) == end.message == GOOD
    assert msgspec.to_builtins(end.output) == {**msgspec.json.decode(GOOD), "notes": []}
    last = read_again[-1]
    assert isinstance(last, TurnEnd)
    assert msgspec.to_builtins(last.output) == msgspec.to_builtins(end.output)


@pytest.mark.parametrize("output", [Trip, AttrsTrip, DictTrip])
async def test_over_http_it_is_json(served: Serve, output: object) -> None:
    text = '{"legs":[{"to":"Kiel","km":94}]}'
    app = create_app(AppConfig(**config(text, text, output=output), store=MemorySessionStore()))
    client = await served(app)

    answer = (await client.post("/chat", json={"message": "where to?"})).json()
    frames = (await client.post("/stream", json={"message": "where to?"})).text.splitlines()

    end = msgspec.json.decode(frames[-2].removeprefix("data: "))
    assert (end["type"], end["output"]) == ("turn.end", answer["output"])
    assert answer["output"]["legs"] == [{"to": "Kiel", "km": 94}]


@both_doors
async def test_an_answer_that_does_not_fit_is_tried_once_more(
    make_host: MakeHost, kind: str
) -> None:
    given = config(BAD, GOOD, GOOD)
    async with make_host(**given) as host:
        response = await answer(host, kind)
        await check_log(host)
        said = [(message.role, message.text) for message in await transcript(host)]
        await answer(host, kind)

    assert msgspec.to_builtins(response.output) == msgspec.to_builtins(KIEL)
    assert (response.message, response.stop_reason) == (GOOD, "stop")
    first, second, next_turn = requests_of(given)
    assert second.messages[:-2] == first.messages
    correction = second.messages[-1]
    assert (second.messages[-2].text, correction.role) == (BAD, "system")
    assert "$.legs[0].km" in correction.text
    assert output_in(second) == output_in(first)
    assert said[1:] == [("assistant", BAD), ("system", correction.text), ("assistant", GOOD)]
    assert [message.text for message in next_turn.messages][:-1] == [text for _, text in said]


@both_doors
@pytest.mark.parametrize("bad", [BAD, "no JSON at all", "[]", "{}", ""])
async def test_an_answer_that_does_not_fit_twice_is_an_error(
    make_host: MakeHost, kind: str, bad: str
) -> None:
    given = config(bad, bad, GOOD)
    async with make_host(**given) as host:
        if kind == "chat":
            with pytest.raises(OutputInvalid, match="Trip"):
                await answer(host)
        else:
            end = (await streamed(host, ChatRequest("where to?", session_id="s")))[-1]
            assert isinstance(end, TurnError)
            assert (end.code, end.status, end.retryable) == ("output_invalid", 502, False)
        assert len(requests_of(given)) == 2
        await check_log(host)
        assert msgspec.to_builtins((await answer(host, kind)).output)


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"\n```\n{GOOD}\n```\n", f" {GOOD}\n"])
async def test_a_fence_around_the_json_is_no_reason_to_ask_again(
    make_host: MakeHost, text: str
) -> None:
    given = config(text)
    async with make_host(**given) as host:
        response = await answer(host)

    assert (response.output, response.message) == (KIEL, text)


@tool
def distance(to: str) -> int:
    """Tell how far it is."""
    return len(to)


@both_doors
async def test_tools_may_be_called_before_the_answer(make_host: MakeHost, kind: str) -> None:
    look = call_tools(("distance", {"to": "Kiel"}))
    given = config(look, BAD, look, GOOD, tools=[distance])
    async with make_host(**given) as host:
        response = await answer(host, kind)
        await check_log(host)

    assert response.message == GOOD
    assert msgspec.to_builtins(response.output) == msgspec.to_builtins(KIEL)
    assert [bool(request.tools) and bool(request.output) for request in requests_of(given)] == [
        True
    ] * 4


async def test_an_answer_after_an_approval_is_a_value_too(make_host: MakeHost) -> None:
    look = call_tools(("distance", {"to": "Kiel"}))
    given = config(look, GOOD, tools=[distance], permissions=[ask("distance")])
    async with make_host(**given) as host:
        asked = await answer(host)
        assert (asked.outcome, asked.output) == ("suspended", None)
        response = await approved(host, asked)

    assert response.output == KIEL
    assert Resume(asked.turn_id).turn_id == response.turn_id


async def test_no_step_is_left_to_try_again_in(make_host: MakeHost) -> None:
    given = config(BAD, GOOD, limits=Limits(steps=1))
    async with make_host(**given) as host:
        with pytest.raises(OutputInvalid):
            await answer(host)

    assert len(requests_of(given)) == 1


@pytest.mark.parametrize("limits", [Limits(tokens=10), Limits(cost=0.0)])
async def test_no_money_is_spent_on_another_try_that_is_not_there(
    make_host: MakeHost, limits: Limits
) -> None:
    reply = ModelReply(message=Message.assistant(BAD), usage=Usage(input_tokens=10))
    given = config(reply, GOOD, limits=limits)
    async with make_host(**given) as host:
        with pytest.raises(OutputInvalid):
            await answer(host)

    assert len(requests_of(given)) == 1


async def test_a_turn_that_ends_at_its_limit_has_no_value(make_host: MakeHost) -> None:
    look = call_tools(("distance", {"to": "Kiel"}))
    given = config(look, GOOD, tools=[distance], limits=Limits(tokens=0))
    async with make_host(**given) as host:
        response = await answer(host)

    assert (response.stop_reason, response.output) == ("token_limit", None)


async def test_without_an_output_nothing_is_asked_for(make_host: MakeHost) -> None:
    given = config("fine", output=None)
    async with make_host(**given) as host:
        response = await answer(host)

    assert (response.output, requests_of(given)[0].output) == (None, None)


class Unfit:
    """What JSON has no schema for."""

    def __init__(self, other: object) -> None:
        self.other = other


@pytest.mark.parametrize("output", [int, list[Leg], Leg | Trip, Sequence[str], Unfit, "Trip"])
def test_what_is_no_object_refuses_to_compose(make_host: MakeHost, output: object) -> None:
    with pytest.raises(CompositionError, match=r"'assistant'.*cannot be an output"):
        make_host(**config(output=output))


class Branch(msgspec.Struct):
    name: str
    parts: "list[Branch]" = []


async def test_a_type_may_be_a_part_of_itself(make_host: MakeHost) -> None:
    given = config('{"name":"a","parts":[{"name":"b"}]}', output=Branch)
    async with make_host(**given) as host:
        assert (await answer(host)).output == Branch("a", [Branch("b")])

    schema: Mapping[str, Any] = output_in(requests_of(given)[0]).parameters
    part = schema["properties"]["parts"]["items"]["$ref"].removeprefix("#/$defs/")
    assert schema["$defs"][part]["properties"] == schema["properties"]


async def test_an_answer_that_is_nested_without_end_is_an_error(make_host: MakeHost) -> None:
    given = config(*['{"name":"a","parts":[' * 50_000] * 2, output=Branch)
    async with make_host(**given) as host:
        with pytest.raises(OutputInvalid):
            await answer(host)


def test_a_type_that_cannot_be_resolved_is_named() -> None:
    class Lost(msgspec.Struct):
        other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - that is the point

    with pytest.raises(ConfigError, match=r"Lost.*cannot be an output.*Nowhere"):
        Output.of(Lost)
