"""A turn whose messages its model finds too long again and again."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    Usage,
    create_app,
    tool,
)
from agentrail.errors import ContextTooLong
from agentrail.events import ContextCompacted
from agentrail.messages import ToolResult
from agentrail.model import call_tools
from agentrail.model.scripted import Said
from agentrail.session import SessionStore
from agentrail.tool import ask
from tests.host.conftest import Stores
from tests.host.contract import both_doors, run
from tests.host.office import ME, approved, check_log

pytestmark = pytest.mark.anyio


def long(text: str) -> str:
    return f"{text} {'word ' * 36}{text}"


def about(message: Message) -> str:
    """Returns what a message is about, in a word."""
    if message.tool_calls:
        return "call"
    results = [part.content for part in message.parts if isinstance(part, ToolResult)]
    words = message.text.splitlines()[-1].split() if message.text else results
    return words[0]


@define(slots=False)
class Narrow:
    """Answers ``qN`` with ``aN``, and what is asked last as its script says."""

    script: list[Said]
    seen: list[list[str]] = field(factory=list[list[str]])
    """What the requests of the last turn were about."""
    told: list[str] = field(factory=list[str])
    """What was to be summarized."""

    def __call__(self, request: ModelRequest) -> Said:
        first = request.messages[0].text
        if first.startswith("Summarize"):
            self.told.append(request.messages[1].text)
            usage = Usage(input_tokens=100, output_tokens=10)
            return ModelReply(message=Message.assistant(f"s{len(self.told)}"), usage=usage)
        words = [about(message) for message in request.messages]
        if "last" not in words:
            return long(words[-1].replace("q", "a"))
        self.seen.append(words)
        return self.script.pop(0)


@tool
def look() -> str:
    """Look."""
    return "seen"


def hosting(model: Narrow, store: SessionStore, **profile: Any) -> AgentHost:  # noqa: ANN401
    profile.setdefault("tools", [look])
    agent = Profile(id="assistant", model="scripted:m", **profile)
    providers = [ScriptedModel.repeat(model)]
    return create_app(AppConfig(profiles=[agent], providers=providers, store=store)).host


async def talk(host: AgentHost, names: Sequence[str], kind: str = "chat") -> None:
    for name in names:
        await run(host, ChatRequest(long(name), session_id="s"), kind)


async def compacted(store: SessionStore) -> list[ContextCompacted]:
    log = await store.read("s", limit=10_000)
    return [event for event in log if isinstance(event, ContextCompacted)]


TOO_LONG = ContextTooLong("it is too long")
CALLED = ["last", "call", "seen"]


@both_doors
@pytest.mark.parametrize("prompt", ["Be brief.", ""])
async def test_a_second_summary_leaves_the_question_the_call_and_the_result_where_they_are(
    new_store: Stores, kind: str, prompt: str
) -> None:
    calling = call_tools(("look", {}))
    model, store = Narrow([TOO_LONG, calling, TOO_LONG, "done", "more"]), new_store()
    async with hosting(model, store, context_window=8192, prompt=prompt) as host:
        await talk(host, ["q1", "q2", "q3", "q4", "last"], kind)
        await check_log(host)
        first = ["Be"] if prompt else []
        assert model.seen == [
            [*first, "q1", "a1", "q2", "a2", "q3", "a3", "q4", "a4", "last"],
            [*first, "s1", "q3", "a3", "q4", "a4", "last"],
            [*first, "s1", "q3", "a3", "q4", "a4", *CALLED],
            [*first, "s2", "q4", "a4", *CALLED],
        ]
        await talk(host, ["q5"], kind)
        written = await compacted(store)

    assert model.seen[-1] == [*first, "s2", "q4", "a4", *CALLED, "done", "q5"]
    assert [event.summary for event in written] == ["s1", "s2"]
    assert written[0].until < written[1].until
    second = model.told[1]
    assert ["q1" in second, "s1" in second, "q3" in second] == [False, True, True]


async def test_what_was_summarized_is_not_summarized_and_paid_again(new_store: Stores) -> None:
    script: list[Said] = [TOO_LONG, call_tools(("look", {})), TOO_LONG, TOO_LONG]
    model, store = Narrow(script), new_store()
    async with hosting(model, store, context_window=8192) as host:
        await talk(host, ["q1", "q2"])
        with pytest.raises(ContextTooLong):
            await host.chat(ChatRequest("last question", session_id="s"))
        row = (await host.messages(ME, "s", limit=1))[0]
        status = await host.turn(ME, row.turn_id)

    assert (len(model.told), status.usage.input_tokens) == (1, 100)
    assert model.seen[-1] == ["s1", "q2", "a2", *CALLED]


async def test_a_turn_that_was_approved_is_summarized_twice_too(new_store: Stores) -> None:
    @tool
    def send() -> str:
        """Send."""
        return "sent"

    script: list[Said] = [call_tools(("send", {}))]
    script += [TOO_LONG, call_tools(("look", {})), TOO_LONG, "done"]
    model, store = Narrow(script), new_store()
    profile: dict[str, Any] = {
        "context_window": 8192,
        "tools": [look, send],
        "permissions": [ask("send")],
    }
    async with hosting(model, store, **profile) as host:
        await talk(host, ["q1", "q2", "q3", "q4"])
        asked = await host.chat(ChatRequest("last question", session_id="s"))
        assert (await approved(host, asked)).message == "done"
        await check_log(host)

    sent = ["last", "call", "sent"]
    assert model.seen[2:] == [
        ["s1", "q3", "a3", "q4", "a4", *sent],
        ["s1", "q3", "a3", "q4", "a4", *sent, "call", "seen"],
        ["s2", "q4", "a4", *sent, "call", "seen"],
    ]
