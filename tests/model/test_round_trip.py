"""Thoughts, calls and images, through whole turns and the session's database, back to the wire."""

import copy
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    Image,
    ModelProvider,
    Profile,
    SQLiteSessionStore,
    Text,
    create_app,
    tool,
)
from tests.model import upstream as wire
from tests.model import wires
from tests.model.upstream import Json
from tests.model.wires import CHAT, MESSAGES, RESPONSES, Events, Format, begin, more, over, typed

pytestmark = pytest.mark.anyio

ASKED = Image(mime_type="image/png", data=b"\x00asked")
SHOWN = Image(mime_type="image/png", data=b"\x00shown")


@tool
def look() -> Sequence[object]:
    """Look at something."""
    return ["A dot.", SHOWN]


@frozen
class Thinking:
    """How a format's upstream thinks and then calls the tool, and what it wants to see again."""

    spoken: Format
    thinks: Events
    again: tuple[Json, ...]
    fields: dict[str, object]


ITEM: Json = {"type": "reasoning", "id": "rs_1", "encrypted_content": "blob=="}
THINKING = (
    Thinking(
        CHAT,
        [("", wire.piece(reasoning_content="hm"))],
        (),
        {"reasoning_field": "reasoning_content"},
    ),
    Thinking(
        RESPONSES,
        [
            typed("response.reasoning_summary_text.delta", delta="hm"),
            wires.item(**ITEM, summary=[{"type": "summary_text", "text": "hm"}]),
        ],
        ({**ITEM, "summary": [{"type": "summary_text", "text": "hm"}]},),
        {},
    ),
    Thinking(
        MESSAGES,
        [
            begin(8, type="thinking", thinking="", signature=""),
            more(8, "thinking_delta", thinking="hm"),
            more(8, "signature_delta", signature="sig=="),
            over(8),
            begin(9, type="redacted_thinking", data="blob=="),
            over(9),
        ],
        (
            {"type": "thinking", "thinking": "hm", "signature": "sig=="},
            {"type": "redacted_thinking", "data": "blob=="},
        ),
        {},
    ),
)


def host_over(path: Path, provider: ModelProvider) -> AgentHost:
    profile = Profile(id="assistant", model="test:m", tools=[look], context_window=100_000)
    store = SQLiteSessionStore(path)
    return create_app(AppConfig(profiles=[profile], providers=[provider], store=store)).host


def conversation(body: Json) -> list[Any]:
    """The conversation in a request, without the marks for the upstream's cache."""
    told: Any = copy.deepcopy(body.get("messages") or body["input"])
    for message in told:
        for block in message["content"] if isinstance(message.get("content"), list) else ():
            block.pop("cache_control", None)
    return list(told)


@pytest.mark.parametrize("how", THINKING, ids=lambda how: str(how.spoken.name))
async def test_what_was_said_comes_back_from_the_database_as_it_was(
    how: Thinking, tmp_path: Path
) -> None:
    spoken, path = how.spoken, tmp_path / "sessions.db"
    # The events of a call may begin with the message's own start, which comes before all else.
    start, *call = [*spoken.call("look", ["{}"]), *spoken.called]
    calls = wires.sends(start, *how.thinks, *call)
    question = ChatRequest((Text("What is this?"), ASKED), session_id="s")

    async with wire.running(calls, spoken.says("A dot."), spoken.says("Yes.")) as upstream:
        async with host_over(path, spoken.provider(upstream, **how.fields)) as host:
            await host.chat(question)
        async with host_over(path, spoken.provider(upstream, **how.fields)) as host:
            answer = await host.chat(ChatRequest("Sure?", session_id="s"))

    assert answer.message == "Yes."
    _, before, after = [conversation(request.body) for request in upstream.requests]
    assert after[: len(before)] == before
    written = json.dumps(after)
    for image in (ASKED, SHOWN):
        assert written.count(b64encode(image.data).decode()) == 1
    for thought in how.again or ({"reasoning_content": "hm"},):
        assert any(thought.items() <= block.items() for block in blocks(after))


def blocks(told: Sequence[Any]) -> list[Json]:
    """The messages or items, and what is in them."""
    inner = [message["content"] for message in told if isinstance(message.get("content"), list)]
    return [*told, *[block for content in inner for block in content]]
