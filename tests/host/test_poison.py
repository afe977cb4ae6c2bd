"""What cannot be written ends the turn that has it: not the host, and not the session."""

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from attrs import define, field

from agentrail import (
    AgentHost,
    AppConfig,
    ChatRequest,
    ChatResponse,
    Delta,
    Event,
    Image,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    SQLiteSessionStore,
    ToolCall,
    ToolResult,
    Usage,
    create_app,
    define_plugin,
    tool,
)
from agentrail.errors import AgentrailError, ModelUnavailable
from agentrail.events import TurnEnd, TurnError
from agentrail.hook import PluginFailure
from agentrail.model import call_tools
from agentrail.session import SessionStore
from tests.host.conftest import MakeHost, Stores
from tests.host.office import ME, check_log, results, streamed, transcript

pytestmark = pytest.mark.anyio

ASKED = ChatRequest("look", session_id="s")
DOORS = ("chat", "stream", "apart")
POISON = cast("Any", Path("no-json"))
READ = call_tools(("read", {"path": "a"}))


@tool
async def read(path: str) -> str:
    """Read a file."""
    return f"{path} was read"


async def end(host: AgentHost, door: str) -> str:
    """Run the turn through a door and return how it ended."""
    if door == "stream":
        events = await streamed(host, ASKED)
        return outcome(events[-1])
    asked = (
        ASKED if door == "chat" else ChatRequest("look", session_id="s", on_disconnect="continue")
    )
    try:
        return (await host.chat(asked)).outcome
    except AgentrailError as error:
        return error.code


def outcome(last: Event) -> str:
    """Return how a terminal event says that its turn ended."""
    if isinstance(last, TurnError):
        return last.code
    assert isinstance(last, TurnEnd)
    return last.outcome


async def check_goes_on(host: AgentHost) -> None:
    """Assert that the session and the others are served after it."""
    assert (await host.chat(ChatRequest("and now?", session_id="s"))).outcome == "completed"
    assert (await host.chat(ChatRequest("hello", session_id="other"))).outcome == "completed"
    assert outcome((await streamed(host, ChatRequest("hi", session_id="third")))[-1]) == "completed"
    await check_log(host)


# What hooks return.


def _path(call: ToolCall, _context: object) -> ToolCall:
    return ToolCall(id=call.id, name=call.name, arguments={"path": POISON})


def _list(call: ToolCall, _context: object) -> ToolCall:
    return ToolCall(id=call.id, name=call.name, arguments=cast("Any", ["a"]))


@pytest.mark.parametrize("before", [_path, _list])
@pytest.mark.parametrize("door", DOORS)
async def test_arguments_of_a_hook_that_are_no_json_are_its_failure(
    make_host: MakeHost, door: str, before: Callable[..., ToolCall]
) -> None:
    failures: list[PluginFailure] = []
    host = make_host(
        READ,
        *["done"] * 4,
        profiles=[Profile(id="assistant", model="scripted:m", tools=[read])],
        plugins=[define_plugin("p", before_tool_call=before)],
        on_plugin_error=failures.append,
        session_wait=0,
    )
    async with host:
        assert await end(host, door) == "completed"
        ((told, _),) = results(await transcript(host))
        await check_goes_on(host)
    assert told == "denied"
    assert [failure.hook for failure in failures] == ["before_tool_call"]


@pytest.mark.parametrize(
    "fields",
    [{"content": None}, {"content": "x", "outcome": POISON}, {"content": "x", "images": [1]}],
)
@pytest.mark.parametrize("hook", ["before_tool_call", "after_tool_call"])
async def test_a_result_of_a_hook_that_is_none_is_its_failure(
    make_host: MakeHost, hook: str, fields: dict[str, Any]
) -> None:
    failures: list[PluginFailure] = []

    def answer(call: ToolCall, *_: object) -> ToolResult:
        return ToolResult(call_id=call.id, name=call.name, **fields)

    hooks: dict[str, Any] = {hook: answer}
    host = make_host(
        READ,
        *["done"] * 4,
        profiles=[Profile(id="assistant", model="scripted:m", tools=[read])],
        plugins=[define_plugin("p", **hooks)],
        on_plugin_error=failures.append,
        session_wait=0,
    )
    async with host:
        assert await end(host, "chat") == "completed"
        (told,) = results(await transcript(host))
        await check_goes_on(host)
    if hook == "after_tool_call":
        assert told == ("ok", "a was read")
    else:
        assert told[0] == "denied"
    assert [failure.hook for failure in failures] == [hook]


async def test_a_critical_plugin_whose_result_is_none_refuses_the_request(
    make_host: MakeHost,
) -> None:
    def redact(call: ToolCall, *_: object) -> ToolResult:
        return ToolResult(call_id=call.id, name=call.name, content=cast("Any", None))

    host = make_host(
        READ,
        *["done"] * 3,
        profiles=[Profile(id="assistant", model="scripted:m", tools=[read])],
        plugins=[define_plugin("p", after_tool_call=redact, critical=True)],
        session_wait=0,
    )
    async with host:
        assert await end(host, "chat") == "request_refused"
        ((told, text),) = results(await transcript(host))
        await check_goes_on(host)
    assert told == "cancelled"
    assert "was read" not in text


async def _pieces() -> AsyncIterator[str]:
    yield "one"
    yield cast("Any", None)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("door", DOORS)
async def test_an_interceptor_that_answers_with_no_text_fails_its_turn(
    make_host: MakeHost, door: str, keep: bool
) -> None:
    def intercept(request: ChatRequest, _context: object) -> ChatResponse | None:
        return ChatResponse(text_stream=_pieces(), keep=keep) if request.text == "look" else None

    host = make_host(
        *["done"] * 3,
        plugins=[define_plugin("p", intercept_chat_request=intercept)],
        session_wait=0,
    )
    async with host:
        assert await end(host, door) == "hook_type_error"
        if keep:
            await check_goes_on(host)
            assert [message.text for message in await transcript(host)][:2] == ["look", "one"]


async def test_an_interceptor_whose_message_is_no_text_fails_its_turn(make_host: MakeHost) -> None:
    def intercept(request: ChatRequest, _context: object) -> ChatResponse | None:
        return ChatResponse(cast("Any", 1), keep=True) if request.text == "look" else None

    host = make_host(
        *["done"] * 3,
        plugins=[define_plugin("p", intercept_chat_request=intercept)],
        session_wait=0,
    )
    async with host:
        assert await end(host, "stream") == "hook_type_error"
        await check_goes_on(host)


# What models and tools return.


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=2**63),
        Usage(output_tokens=2**200),
        Usage(input_tokens=-1),
        Usage(cost=float("nan")),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_usage_that_cannot_be_true_is_not_counted(
    make_host: MakeHost, door: str, usage: Usage
) -> None:
    reply = ModelReply(message=Message.assistant("hi"), usage=usage)
    async with make_host(reply, *["done"] * 3, session_wait=0) as host:
        assert await end(host, door) == "completed"
        turn_id = (await host.core.store.read("s"))[0].turn_id
        assert (await host.turn(ME, turn_id)).usage == Usage()
        await check_goes_on(host)


@pytest.fixture
def unwritable(tmp_path: Path) -> Callable[..., AgentHost]:
    """Returns a function that makes hosts whose sessions are written to a file."""

    def make(*replies: Any, **config: Any) -> AgentHost:  # noqa: ANN401
        return create_app(
            AppConfig(
                providers=[ScriptedModel(replies)],
                store=SQLiteSessionStore(tmp_path / "s.db"),
                session_wait=0,
                **config,
            )
        ).host

    return make


@pytest.mark.parametrize("door", DOORS)
async def test_a_tool_whose_result_cannot_be_written_fails_its_turn_and_its_call_has_a_result(
    unwritable: Callable[..., AgentHost], door: str
) -> None:
    @tool
    async def look() -> Image:
        """Look."""
        return Image("image/png", POISON)

    profile = Profile(id="assistant", model="scripted:m", tools=[look, read])
    reply = call_tools(("read", {"path": "a"}), ("look", {}))
    async with unwritable(reply, *["done"] * 3, profiles=[profile]) as host:
        assert await end(host, door) == "internal_error"
        await check_goes_on(host)
        assert [told for told, _ in results(await transcript(host))] == ["ok", "cancelled"]


@pytest.mark.parametrize("door", DOORS)
async def test_a_reply_that_cannot_be_written_fails_its_turn_and_what_was_before_is_kept(
    unwritable: Callable[..., AgentHost], door: str
) -> None:
    call = ToolCall(id="c", name="read", arguments={"path": POISON})
    poisoned = ModelReply(
        message=Message(role="assistant", parts=(call,)), stop_reason="tool_calls"
    )
    profile = Profile(id="assistant", model="scripted:m", tools=[read])
    async with unwritable(READ, poisoned, *["done"] * 3, profiles=[profile]) as host:
        assert await end(host, door) == "internal_error"
        roles = [message.role for message in await transcript(host)]
        assert roles == ["user", "assistant", "tool"]
        await check_goes_on(host)


@pytest.mark.parametrize("door", DOORS)
async def test_an_error_whose_text_cannot_be_written_is_told_with_marks_in_it(
    unwritable: Callable[..., AgentHost], door: str
) -> None:
    def fail(_request: object) -> str:
        raise AgentrailError("no \ud800")

    profile = Profile(id="assistant", model="scripted:m")
    async with unwritable(fail, *["done"] * 3, profiles=[profile]) as host:
        assert await end(host, door) == "internal_error"
        (last,) = [e for e in await host.core.store.read("s") if isinstance(e, TurnError)]
        assert last.detail == "no ?"
        await check_goes_on(host)


@define(eq=False)
class Noted(logging.Handler):
    """Sets its event when a text is logged."""

    text: str
    seen: anyio.Event = field(factory=anyio.Event)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.seen.set()


@pytest.mark.parametrize("door", DOORS)
async def test_a_piece_of_an_answer_that_is_no_text_fails_its_turn(
    make_host: MakeHost, door: str
) -> None:
    """With a reader it is met by the task that flushes what waits, and by the run after it."""
    noted, log = Noted("a delta was left to the run"), logging.getLogger("agentrail.host")

    async def speak(request: ModelRequest) -> str:
        await request.emit(Delta(text="one "))
        await request.emit(Delta(text=POISON))
        if door == "stream":
            await noted.seen.wait()
        raise ModelUnavailable("it broke off")

    log.addHandler(noted)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        async with make_host(speak, *["done"] * 3, session_wait=0) as host:
            assert await end(host, door) == ModelUnavailable.code
            await check_goes_on(host)
    finally:
        log.setLevel(level)
        log.removeHandler(noted)


@define
class Forgetful:
    """A store that cannot take a turn off its list."""

    store: SessionStore

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of a store
        return getattr(self.store, name)

    async def announced(self, turn_id: str) -> None:
        raise LookupError(turn_id)


async def test_a_store_that_fails_after_the_commit_does_not_end_the_host(
    make_host: MakeHost, new_store: Stores
) -> None:
    store = Forgetful(new_store())
    async with make_host(*["done"] * 2, store=store) as host:
        assert await end(host, "stream") == "completed"
        assert await end(host, "apart") == "internal_error"
        assert host.core.running
        await check_log(host)
