"""Calls of one message that a model did not tell apart."""

from collections.abc import Sequence

import pytest

from agentrail import AgentHost, Message, ModelReply, Principal, ScriptedModel, Tool, ToolCall, tool
from agentrail.model.scripted import Said
from agentrail.requests import Resume
from agentrail.tool import ask as asks_for
from tests.agent.conftest import ask, logged_results, make_host, shown

pytestmark = pytest.mark.anyio

both_doors = pytest.mark.parametrize("kind", ["chat", "stream"])
ME = Principal()


def calls(*pairs: tuple[str, str]) -> ModelReply:
    """Returns the reply that sends a letter for each id and name."""
    parts = [ToolCall(id=call_id, name="send", arguments={"to": to}) for call_id, to in pairs]
    return ModelReply(message=Message.assistant(tuple(parts)), stop_reason="tool_calls")


def sending(done: list[str]) -> Sequence[Tool]:
    @tool
    def send(to: str) -> str:
        """Send a letter."""
        done.append(to)
        return f"sent to {to}"

    return [send]


def ids_of(host_model: ScriptedModel, request: int = -1) -> list[str]:
    messages = host_model.requests[request].messages
    return [call.id for message in messages for call in message.tool_calls]


TWINS = [
    [("call_0", "ada"), ("call_0", "bob")],
    [("", "ada"), ("", "bob")],
    [("", "ada"), ("call_0", "bob")],
    [("call_0", "ada"), ("call_0", "bob"), ("call_1", "eve"), ("call_0", "ann"), ("", "max")],
]


@both_doors
@pytest.mark.parametrize("twins", TWINS)
async def test_each_call_has_an_id_and_a_result_of_its_own_in_later_turns_too(
    twins: list[tuple[str, str]], kind: str
) -> None:
    done: list[str] = []
    model = ScriptedModel([calls(*twins), "done", "next"])
    async with make_host(model, sending(done)) as host:
        await ask(host, kind)
        await ask(host, kind)
        logged = await logged_results(host)

    names = [to for _, to in twins]
    assert done == names
    for request in (1, 2):
        ids = ids_of(model, request)
        assert len(set(ids)) == len(twins)
        assert all(ids)
        results = shown(model, request)
        assert [result.call_id for result in results] == ids
        assert [result.content for result in results] == [f"sent to {to}" for to in names]
    assert [result.call_id for result in logged] == ids_of(model)


async def test_ids_that_differ_stay_as_the_model_gave_them() -> None:
    model = ScriptedModel([calls(("a", "ada"), ("b", "bob")), calls(("a", "eve")), "done"])
    async with make_host(model, sending([])) as host:
        await ask(host)

    assert ids_of(model) == ["a", "b", "a"]


async def waiting(host: AgentHost, turn_id: str) -> dict[str, str]:
    """Returns the ids of the calls that wait, by whom the letters are for."""
    status = await host.turn(ME, turn_id)
    return {str(asked.call.arguments["to"]): asked.call.id for asked in status.approvals}


@pytest.mark.parametrize("call_id", ["call_0", ""])
async def test_each_is_approved_for_itself_and_none_is_lost(call_id: str) -> None:
    done: list[str] = []
    script: list[Said] = [calls((call_id, "ada"), (call_id, "bob")), "done"]
    model = ScriptedModel(script)
    async with make_host(model, sending(done), permissions=[asks_for("send")]) as host:
        response = await ask(host)
        ids = await waiting(host, response.turn_id)
        assert sorted(ids) == ["ada", "bob"]
        assert {asked.call.id for asked in response.approvals} == set(ids.values())
        await host.decide(ME, response.turn_id, ids["ada"], approved=True)
        assert await waiting(host, response.turn_id) == {"bob": ids["bob"]}
        await host.decide(ME, response.turn_id, ids["bob"], approved=False)
        assert (await host.chat(Resume(response.turn_id))).message == "done"

    assert done == ["ada"]
    assert [(each.call_id, each.outcome) for each in shown(model)] == [
        (ids["ada"], "ok"),
        (ids["bob"], "denied"),
    ]
