"""A log record per call, and a warning per slow one."""

import logging
import re
from collections.abc import Awaitable, Callable

import anyio
import pytest
from msgspec.structs import replace
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from agentrail import ChatRequest, Message, ModelReply, ModelRequest, ToolRequest, ToolResult, Usage
from agentrail import middleware as batteries
from agentrail.errors import Overloaded
from agentrail.messages import Text, ToolCall
from agentrail.middleware._logging import SEARCHED_CHARS
from agentrail.model.scripted import call_tools
from agentrail.testing import FakeClock
from tests.contexts import context_of
from tests.docs.pages import rows
from tests.middleware.calls import Model, ToolBox, asking, calling, saying
from tests.middleware.conftest import Opens

pytestmark = pytest.mark.anyio

WHO = {
    "tenant_id": "acme",
    "user_id": "ann",
    "agent_id": "assistant",
    "session_id": "s1",
    "turn_id": "t1",
}
OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentrail.middleware")


def fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in OWN}


def taking(clock: FakeClock, seconds: float) -> Callable[[ToolRequest], Awaitable[ToolResult]]:
    async def tool(request: ToolRequest) -> ToolResult:
        clock.advance(seconds)
        return await ToolBox(["5"])(request)

    return tool


async def test_a_model_call_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    await batteries.logging(clock=FakeClock())(asking(), Model([saying(tokens=7)]))

    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        "model 'openai:m': ok in 0.000 s, 7 + 7 tokens (agent assistant, turn t1)"
    )
    assert fields(record) == WHO | {
        "kind": "model",
        "provider": "openai",
        "model": "m",
        "outcome": "ok",
        "duration_ms": 0.0,
        "stop_reason": "stop",
        "input_tokens": 7,
        "output_tokens": 7,
    }


async def test_a_tool_call_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    await batteries.logging(clock=clock)(calling(), taking(clock, 1.5))

    (record,) = caplog.records
    assert record.getMessage() == "tool 'add': ok in 1.500 s (agent assistant, turn t1)"
    assert fields(record) == WHO | {
        "kind": "tool",
        "tool": "add",
        "outcome": "ok",
        "duration_ms": 1500.0,
        "call_id": "c1",
    }


async def test_a_failure_is_a_warning_with_its_code(caplog: pytest.LogCaptureFixture) -> None:
    log = batteries.logging(clock=FakeClock())
    with pytest.raises(Overloaded):
        await log(asking(), Model([Overloaded("busy")]))
    with pytest.raises(KeyError):
        await log(asking(provider=""), Model([KeyError("x")]))
    await log(calling(), ToolBox([("late", "timeout")]))
    await log(calling(), ToolBox([("no", "denied")]))

    told = [(r.levelname, *map(vars(r).get, ("outcome", "error"))) for r in caplog.records]
    assert told == [
        ("WARNING", "error", "model_overloaded"),
        ("WARNING", "error", "KeyError"),
        ("WARNING", "timeout", None),
        ("INFO", "denied", None),
    ]
    whose = "(agent assistant, turn t1)"
    assert [record.getMessage() for record in caplog.records] == [
        f"model 'openai:m': error model_overloaded in 0.000 s {whose}",
        f"model 'm': error KeyError in 0.000 s {whose}",
        f"tool 'add': timeout in 0.000 s {whose}",
        f"tool 'add': denied in 0.000 s {whose}",
    ]


async def test_an_answer_from_the_cache_shows_in_its_tokens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, cache = batteries.logging(clock=FakeClock()), batteries.cache(60)
    model = Model([saying(tokens=7)])

    for _ in range(2):
        await log(asking(), lambda request: cache(request, model))

    told = [record.getMessage().partition(", ")[2] for record in caplog.records]
    assert told == [
        "7 + 7 tokens (agent assistant, turn t1)",
        "0 + 0 tokens (agent assistant, turn t1)",
    ]


async def test_a_cancelled_call_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(_request: ModelRequest) -> ModelReply:
        scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.CancelScope() as scope:
        await batteries.logging()(asking(), hang)

    assert vars(caplog.records[0])["outcome"] == "cancelled"


async def test_a_call_that_goes_well_while_another_error_is_handled_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Model([Overloaded("busy"), saying()])
    try:
        await model(asking())
    except Overloaded:
        await batteries.logging()(asking(), model)

    assert vars(caplog.records[0])["outcome"] == "ok"


async def test_a_call_of_the_hosts_own_has_nobody_who_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await batteries.logging()(asking(context=None), Model([saying()]))

    assert "tenant_id" not in vars(caplog.records[0])
    assert caplog.records[0].getMessage().endswith(" tokens")


async def test_content_is_not_logged_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    await batteries.logging()(asking("a question"), Model([saying("an answer")]))
    await batteries.logging()(calling("add", {"a": "an argument"}), ToolBox(["a result"]))

    for record in caplog.records:
        shown = f"{record.getMessage()} {fields(record)}"
        assert not any(
            text in shown for text in ("a question", "an answer", "an argument", "a result")
        )


async def test_content_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    log = batteries.logging(content=True)
    arguments = {
        "to": "ann@example.com",
        "apiKey": "k1",
        "nested": [{"db_password": "k2", "page": 3}],
        "Authorization": {"deep": "k3"},
    }
    calls = (Text("see"), ToolCall(id="c", name="send", arguments=arguments))
    reply = ModelReply(message=Message.assistant(calls), stop_reason="tool_calls", usage=Usage())
    await log(asking("card 4111 1111 1111 1111"), Model([reply]))
    await log(calling("send", arguments), ToolBox(["sent to ann@example.com"]))

    shown = (
        '{"to":"[email]","apiKey":"[secret]",'
        '"nested":[{"db_password":"[secret]","page":3}],"Authorization":"[secret]"}'
    )
    model, tool = map(vars, caplog.records)
    assert model["prompt"] == "card [card]"
    assert model["answer"] == f"see\nsend({shown})"
    assert tool["arguments"] == shown
    assert tool["result"] == "sent to [email]"


async def test_long_content_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    long = asking("x" * 5000)
    await batteries.logging(content=True)(long, Model([saying("y" * 5000)]))

    assert len(vars(caplog.records[0])["prompt"]) == 2000
    assert len(vars(caplog.records[0])["answer"]) == 2000


async def test_a_secret_where_the_search_of_a_very_long_text_ends_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = re.compile(r"<[^>]*\Z")
    pattern = batteries.Pattern("long", "<[^>]*>", longest=SEARCHED_CHARS, begun=begun)
    secret = f"<{'x' * (SEARCHED_CHARS - 2)}>"
    log = batteries.logging(content=True, patterns=[pattern])

    for before in ("", "see "):
        await log(calling(), ToolBox([before + secret]))

    assert [vars(record)["result"] for record in caplog.records] == ["[long]", "see "]


async def test_arguments_that_are_nested_without_end_are_logged_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    await batteries.logging(content=True)(calling("add", {"a": deep}), ToolBox(["5"]))

    assert "[too deep]" in vars(caplog.records[0])["arguments"]


async def test_a_name_that_a_model_made_up_cannot_pass_for_another_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await batteries.logging()(calling("x\nERROR all is lost"), ToolBox(["5"]))

    assert "\n" not in caplog.records[0].getMessage()


async def test_slow_calls_are_warned_of_by_name_and_with_who_waited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    slow = batteries.slow_log(2.0, clock=clock)
    await slow(calling(), taking(clock, 2.0))
    request = replace(calling(), context=context_of("bob"))
    await slow(request, taking(clock, 2.5))

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "slow tool 'add': 2.500 s (agent assistant, turn t1)"
    assert fields(record) == WHO | {
        "user_id": "bob",
        "kind": "tool",
        "tool": "add",
        "outcome": "ok",
        "duration_ms": 2500.0,
    }


async def test_a_slow_call_that_failed_is_warned_of_too(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    async def fail(_request: ModelRequest) -> ModelReply:
        clock.advance(9)
        raise Overloaded("busy")

    with pytest.raises(Overloaded):
        await batteries.slow_log(2.0, clock=clock)(asking(), fail)

    assert vars(caplog.records[0])["outcome"] == "error"


async def test_the_fields_of_the_records_are_those_of_the_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = batteries.logging(content=True)
    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))):
        await log(asking(), Model([saying()]))
    await log(calling(), ToolBox(["5"]))
    with pytest.raises(Overloaded):
        await log(asking(), Model([Overloaded("busy")]))

    listed = " ".join(row["field"] for row in rows("reference/middleware.md", "field").values())
    assert set(re.findall(r"`(\w+)`", listed)) == {
        name for record in caplog.records for name in fields(record)
    }
    traced, *others = map(vars, caplog.records)
    assert (traced["trace_id"], traced["span_id"]) == (f"{1:032x}", f"{2:016x}")
    assert not any("trace_id" in each for each in others)


async def test_each_call_of_a_turn_is_logged(
    open_host: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    log = batteries.logging()
    replies = [call_tools(("add", {"a": 2, "b": 3}), ("fail", {})), "done"]
    host = await open_host(replies, model=[log], tools=[log])

    answer = await host.chat(ChatRequest("go", tenant_id="acme", user_id="ann"))

    mine = [vars(r) for r in caplog.records if r.name == "agentrail.middleware"]
    assert [(r["kind"], r["outcome"]) for r in mine] == [
        ("model", "ok"),
        ("tool", "ok"),
        ("tool", "error"),
        ("model", "ok"),
    ]
    assert {(r["tenant_id"], r["user_id"], r["turn_id"]) for r in mine} == {
        ("acme", "ann", answer.turn_id)
    }
