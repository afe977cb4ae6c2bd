"""A model whose answers were recorded once, from a real one."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from agentrail import (
    AppConfig,
    ChatRequest,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    Text,
    create_app,
    tool,
)
from agentrail.errors import ConfigError, ModelError, Overloaded
from agentrail.host import AgentHost
from agentrail.messages import Reasoning, Usage
from agentrail.model import ModelProvider, call_tools
from agentrail.model.openai import OpenAICompatible
from agentrail.model.scripted import Scripted
from agentrail.testing import ModelProviderContract, RecordedModel
from tests.model.upstream import piece, running, streams, usage

pytestmark = pytest.mark.anyio

HI = ModelRequest(model="m", messages=(Message.user("hi"),))
KEY = "sk-very-secret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exchanges.json"


class Unavailable(ScriptedModel):
    """What is behind a recording, and must not be needed."""

    async def start(self) -> None:
        raise AssertionError("nobody starts it")


def content(path: Path) -> str:
    return path.read_text("utf-8")


async def record(path: Path, provider: ModelProvider, *requests: ModelRequest) -> list[ModelReply]:
    model = RecordedModel(path, provider, record=True)
    await model.start()
    replies = [await model.complete(request) for request in requests]
    await model.stop()
    return replies


async def played(path: Path) -> RecordedModel:
    model = RecordedModel(path, Unavailable([]), record=False)
    await model.start()
    return model


def asking(text: str, **fields: object) -> ModelRequest:
    return replace(HI, messages=(Message.user(text),), **fields)


async def test_a_request_gets_the_answer_that_was_recorded(path: Path) -> None:
    reply = ModelReply(
        message=Message.assistant((Reasoning(text="well", signature="s"), Text(text="Hello."))),
        stop_reason="length",
        usage=Usage(input_tokens=3, output_tokens=2),
    )
    (recorded,) = await record(path, ScriptedModel([reply]), HI)
    model = await played(path)

    assert model.name == "scripted"
    assert recorded == reply
    assert await model.complete(HI) == reply


async def test_answers_are_found_by_what_was_asked_and_not_by_when(path: Path) -> None:
    questions = [asking(text) for text in ("one", "two", "one")]
    await record(path, ScriptedModel(["1", "2", "1 again"]), *questions)
    model = await played(path)

    answers = [(await model.complete(asking(text))).message.text for text in ("two", "one", "one")]
    assert answers == ["2", "1", "1 again"]


async def test_answers_to_concurrent_calls_are_kept_apart(path: Path) -> None:
    """In the file they stand in the order in which they were asked for."""
    first_may_end = anyio.Event()

    async def answer(request: ModelRequest) -> str:
        if request.messages[-1].text == "first":
            await first_may_end.wait()
        else:
            first_may_end.set()
        return request.messages[-1].text.upper()

    model = RecordedModel(path, ScriptedModel.repeat(answer), record=True)
    await model.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(model.complete, asking("first"))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(model.complete, asking("second"))

    exchanges = json.loads(content(path))
    assert [each["message"]["parts"][0]["text"] for each in exchanges] == ["FIRST", "SECOND"]


async def test_what_was_streamed_is_streamed_again_in_the_same_pieces(path: Path) -> None:
    seen: list[list[Delta]] = [[], []]

    async def keep(delta: Delta) -> None:
        seen[0].append(delta)

    async def keep_again(delta: Delta) -> None:
        seen[1].append(delta)

    words = ["once ", "upon", " a time"]
    await record(path, ScriptedModel([words]), replace(HI, emit=keep))
    model = await played(path)
    await model.complete(replace(HI, emit=keep_again))

    assert [delta.text for delta in seen[0]] == words
    assert seen[1] == seen[0]


async def test_reasoning_is_streamed_again_too(path: Path) -> None:
    seen: list[Delta] = []

    async def keep(delta: Delta) -> None:
        seen.append(delta)

    reply = Message.assistant((Reasoning(text="let me see, let me see"), Text(text="fine")))
    model = ScriptedModel([reply], chunk=12)
    await record(path, model, replace(HI, emit=keep))
    before = list(seen)
    seen.clear()
    await (await played(path)).complete(replace(HI, emit=keep))

    assert seen == before
    assert [delta.reasoning for delta in seen] == ["let me see, ", "let me see", ""]


async def test_what_a_file_cannot_tell_apart_is_one_request(path: Path) -> None:
    zeros: list[float] = [0, 0.0]
    await record(
        path, ScriptedModel(["1", "2"]), *[asking("hi", temperature=zero) for zero in zeros]
    )
    model = await played(path)

    answers = [await model.complete(asking("hi", temperature=zero)) for zero in zeros]
    assert [answer.message.text for answer in answers] == ["1", "2"]


async def test_what_was_recorded_whole_is_streamed_in_one_piece(path: Path) -> None:
    seen: list[str] = []

    async def keep(delta: Delta) -> None:
        seen.append(delta.text)

    await record(path, ScriptedModel(["once upon a time"]), HI)
    await (await played(path)).complete(replace(HI, emit=keep))

    assert seen == ["once upon a time"]


async def test_a_reply_without_text_is_streamed_in_no_piece(path: Path) -> None:
    seen: list[Delta] = []

    async def keep(delta: Delta) -> None:
        seen.append(delta)

    await record(path, ScriptedModel([call_tools(("add", {"a": 1}))]), replace(HI, emit=keep))
    reply = await (await played(path)).complete(replace(HI, emit=keep))

    assert [call.name for call in reply.message.tool_calls] == ["add"]
    assert reply.stop_reason == "tool_calls"
    assert seen == []


async def test_a_request_that_was_not_recorded_fails_and_shows_the_difference(path: Path) -> None:
    other = replace(HI, messages=tuple([Message.user(text) for text in "abc"]))
    await record(path, ScriptedModel(["1", "2"]), other, asking("good night"))
    model = await played(path)

    with pytest.raises(ModelError) as failure:
        await model.complete(asking("good day", temperature=0.5))

    message = str(failure.value)
    assert f"{path} has no answer for this request" in message
    assert "AGENTRAIL_RECORD=1" in message
    lines = [line.replace(" ", "") for line in message.splitlines()]
    assert [line for line in lines if line[0] in "+-"] == [
        "---recorded",
        "+++asked",
        '-"text":"goodnight"',
        '+"text":"goodday"',
        "-]",
        "+],",
        '+"temperature":0.5',
    ]


async def test_more_requests_than_were_recorded_fail(path: Path) -> None:
    await record(path, ScriptedModel(["1"]), HI)
    model = await played(path)
    await model.complete(HI)

    with pytest.raises(ModelError, match="then once more"):
        await model.complete(HI)


async def test_it_plays_from_the_beginning_when_it_is_started_again(path: Path) -> None:
    await record(path, ScriptedModel(["1"]), HI)
    model = await played(path)
    for _ in range(2):
        await model.complete(HI)
        await model.stop()
        await model.start()


async def test_the_ids_of_messages_do_not_matter(path: Path) -> None:
    reply = ModelReply(message=replace(Message.assistant("fine"), id="msg_3"))
    question = Message.user("hi")
    await record(path, ScriptedModel([reply]), replace(HI, messages=(replace(question, id="a"),)))
    model = await played(path)

    answer = await model.complete(replace(HI, messages=(replace(question, id="b"),)))
    assert (answer.message.text, answer.message.id) == ("fine", "")
    assert "msg_3" not in content(path)


async def test_a_failed_call_is_not_recorded(path: Path) -> None:
    model = RecordedModel(path, ScriptedModel([Overloaded("busy"), "fine"]), record=True)
    await model.start()
    with pytest.raises(Overloaded):
        await model.complete(HI)
    await model.complete(HI)

    assert len(json.loads(content(path))) == 1


async def test_a_recording_replaces_the_one_before_and_is_the_same_for_the_same_answers(
    path: Path,
) -> None:
    texts: list[str] = []
    for _ in range(2):
        await record(path, ScriptedModel(["1", "2"]), asking("b"), asking("a"))
        texts.append(content(path))

    assert texts[0] == texts[1]
    assert texts[0].endswith("]\n")
    assert max(len(line) for line in texts[0].splitlines()) < 80


async def test_without_a_recording_it_says_how_to_make_one(path: Path) -> None:
    model = RecordedModel(path, Unavailable([]), record=False)
    with pytest.raises(ConfigError, match=r"nothing is recorded in .*AGENTRAIL_RECORD=1"):
        await model.start()


@pytest.mark.parametrize("text", ["", "[", '{"a": 1}', '[{"request": {}}]', '[{"message": 3}]'])
async def test_what_is_no_recording_is_refused(path: Path, text: str) -> None:
    await anyio.Path(path).write_text(text)
    with pytest.raises(ConfigError, match="is no recording"):
        await RecordedModel(path, Unavailable([]), record=False).start()


@pytest.mark.parametrize(("value", "recording"), [("1", True), ("0", False), ("", False)])
def test_the_environment_says_whether_to_record(
    path: Path, monkeypatch: pytest.MonkeyPatch, value: str, recording: bool
) -> None:
    monkeypatch.setenv("AGENTRAIL_RECORD", value)
    assert RecordedModel(path, ScriptedModel([])).recording is recording
    assert RecordedModel(path, ScriptedModel([]), record=not recording).recording is not recording


# A whole application, and a real provider.


def host_of(model: ModelProvider) -> AgentHost:
    @tool
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    profile = Profile(id="assistant", model=f"{model.name}:m", prompt="Be kind.", tools=[add])
    config = AppConfig(profiles=[profile], providers=[model], store=MemorySessionStore())
    return create_app(config).host


async def talk(host: AgentHost) -> list[str]:
    """Have a conversation, of which a part is streamed; return its answers."""
    answer = await host.chat(ChatRequest("What is two and three?", session_id="s"))
    pieces: list[str] = []
    async with host.stream(ChatRequest("Thank you.", session_id="s")) as events:
        async for event in events:
            pieces += [getattr(event, "text", "")] if event.type == "message.delta" else []
    return [answer.message, "".join(pieces)]


async def test_a_conversation_with_tools_is_played_to_another_run_of_the_host(path: Path) -> None:
    """Whose messages, turns and sessions have other ids."""
    script: list[Scripted] = [
        call_tools(("add", {"a": 2, "b": 3}), text="Let me see."),
        "Five.",
        "My pleasure.",
    ]
    async with host_of(RecordedModel(path, ScriptedModel(script), record=True)) as host:
        recorded = await talk(host)
    async with host_of(RecordedModel(path, Unavailable([]), record=False)) as host:
        assert await talk(host) == recorded == ["Five.", "My pleasure."]


async def test_neither_keys_nor_headers_nor_identities_are_in_the_file(path: Path) -> None:
    answers = [streams(piece(content="fine"), piece("stop"), usage(5, 1)) for _ in range(2)]
    async with running(*answers) as upstream:
        provider = OpenAICompatible(
            base_url=upstream.base_url, api_key=KEY, headers={"x-account": "account-7"}
        )
        model = RecordedModel(path, provider, record=True)
        async with host_of(model) as host:
            request = ChatRequest("hi", session_id="session-7", tenant_id="acme", user_id="ada")
            await host.chat(request)

    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    text = content(path)
    assert "fine" in text
    for secret in (KEY, "authorization", "account-7", "session-7", "acme", "ada", "127.0.0.1"):
        assert secret not in text


async def test_a_real_providers_answers_are_played_without_network(path: Path) -> None:
    answers = [streams(piece(content="fi"), piece(content="ne"), piece("stop"), usage(5, 2))]
    async with running(*answers) as upstream:
        provider = OpenAICompatible(base_url=upstream.base_url, api_key=KEY)
        recorded = await record(path, provider, HI)

    model = RecordedModel(path, OpenAICompatible(), record=False)
    await model.start()
    assert [await model.complete(HI)] == recorded
    assert recorded[0].usage == Usage(input_tokens=5, output_tokens=2)


class TestRecording(ModelProviderContract):
    """While it records, a provider is as it is without."""

    @pytest.fixture
    async def provider(self, path: Path) -> AsyncGenerator[ModelProvider]:
        scripted = ScriptedModel.repeat("one two three four five", chunk=4)
        provider = RecordedModel(path, scripted, record=True)
        await provider.start()
        yield provider
        await provider.stop()

    @pytest.fixture
    def model(self) -> str:
        return "any"


def test_a_recording_of_one_process_is_played_in_another(path: Path) -> None:
    anyio.run(record, path, ScriptedModel(["fine"]), HI)
    code = """
import sys, anyio
from agentrail import Message, ModelRequest, ScriptedModel
from agentrail.testing import RecordedModel

async def main():
    model = RecordedModel(sys.argv[1], ScriptedModel([]))
    await model.start()
    reply = await model.complete(ModelRequest(model="m", messages=(Message.user("hi"),)))
    print(reply.message.text)

anyio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "fine\n"
