"""Objects with ``pre_process`` and ``post_process``, as middleware."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import anyio.lowlevel
import pytest

from agentrail import ChatRequest, Message, ToolError, middleware
from agentrail.errors import ConfigError, Forbidden, RequestRefused
from agentrail.middleware import CallContext
from agentrail.model.scripted import call_tools
from tests.contexts import context_of
from tests.middleware.calls import (
    ANN,
    Model,
    Reader,
    ToolBox,
    asking,
    calling,
    result_of,
    saying,
)
from tests.middleware.conftest import Opens, stream
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio


class Diary:
    """Writes down what it is told; its methods are async."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def pre_process(self, ctx: CallContext) -> None:
        await anyio.lowlevel.checkpoint()
        self.lines.append(f"before {ctx.tool_name or ctx.model}: {ctx.params or ctx.messages}")

    async def post_process(self, ctx: CallContext, result: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.lines.append(f"after {ctx.tool_name or ctx.model}: {type(result).__name__}")


def made_of(**members: object) -> middleware.BothSeams:
    return middleware.from_pre_post(SimpleNamespace(**members))


def post(change: Callable[[Any], object]) -> middleware.BothSeams:
    """Makes one of a function of the result."""

    def post_process(_ctx: CallContext, result: object) -> object:
        return change(result)

    return made_of(post_process=post_process)


def pre(change: Callable[[CallContext], object]) -> middleware.BothSeams:
    return made_of(pre_process=change)


def doubling(ctx: CallContext) -> None:
    ctx.params["a"] = 2 * int(str(ctx.params["a"]))


async def test_both_are_called_around_a_tool() -> None:
    diary = Diary()

    result = await middleware.from_pre_post(diary)(calling("add", {"a": 1}), ToolBox(["5"]))

    assert result.content == "5"
    assert diary.lines == ["before add: {'a': 1}", "after add: ToolResult"]


async def test_both_are_called_around_a_model() -> None:
    diary, request = Diary(), asking("hi")

    reply = await middleware.from_pre_post(diary)(request, Model([saying()]))

    assert reply == saying()
    assert diary.lines == [f"before m: {[*request.messages]}", "after m: ModelReply"]


async def test_either_may_be_missing() -> None:
    box = ToolBox(["5"])
    before = pre(doubling)
    after = post(lambda _result: result_of(calling(), "6"))

    assert (await before(calling("add", {"a": 1}), box)).content == "5"
    assert (await after(calling("add", {"a": 1}), box)).content == "6"


def test_an_object_with_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither"):
        made_of(preprocess=doubling)


async def test_the_same_context_goes_to_both_and_says_who_asks() -> None:
    seen: list[CallContext] = []

    def post_process(ctx: CallContext, _result: object) -> None:
        seen.append(ctx)

    both = made_of(pre_process=seen.append, post_process=post_process)

    await both(calling(), ToolBox(["5"]))

    assert seen[0] is seen[1]
    assert seen[0].context is ANN


async def test_changed_arguments_go_on_to_the_tool_and_the_models_own_stay() -> None:
    box, request = ToolBox(["5"]), calling("add", {"a": 1, "deep": {"b": [1]}})

    def change(ctx: CallContext) -> None:
        doubling(ctx)
        cast("dict[str, list[int]]", ctx.params["deep"])["b"].append(2)

    await pre(change)(request, box)

    assert box.requests[0].call.arguments == {"a": 2, "deep": {"b": [1, 2]}}
    assert request.call.arguments == {"a": 1, "deep": {"b": [1]}}


async def test_changed_messages_go_on_to_the_model() -> None:
    model = Model([saying()])
    add = pre(lambda ctx: ctx.messages.append(Message.system("be brief")))

    await add(asking("hi"), model)

    assert [message.text for message in model.requests[0].messages] == ["hi", "be brief"]


async def test_a_reply_may_be_replaced_unless_its_reader_has_seen_another_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shout = post(lambda reply: saying(reply.message.text.upper()))
    model = Model([saying("fine")])

    assert (await shout(asking(), model)).message.text == "FINE"
    assert (await shout(asking(emit=Reader()), model)).message.text == "FINE"
    assert not caplog.records
    streamed = asking(emit=Reader(), context=context_of(kind="stream"))
    assert (await shout(streamed, model)).message.text == "fine"
    assert "already seen" in caplog.text


def refuse(error: Exception) -> middleware.BothSeams:
    def pre_process(_ctx: CallContext) -> None:
        raise error

    return made_of(pre_process=pre_process)


async def test_when_pre_process_fails_the_tool_is_not_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = ToolBox(["5"])

    result = await refuse(ValueError("the password is wrong"))(calling(), box)

    assert (result.outcome, result.content) == ("denied", "denied: a check of this call failed")
    assert box.requests == []
    assert "the password is wrong" in caplog.text


async def test_the_text_of_a_tool_error_is_told() -> None:
    result = await refuse(ToolError("not on Sundays"))(calling(), ToolBox(["5"]))

    assert (result.outcome, result.content) == ("denied", "not on Sundays")


async def test_when_pre_process_fails_the_model_is_not_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Model([saying()])

    with pytest.raises(RequestRefused) as refused:
        await refuse(ValueError("the password is wrong"))(asking(), model)
    with pytest.raises(Forbidden, match="not you"):
        await refuse(Forbidden("not you"))(asking(), model)

    assert model.requests == []
    assert "password" not in refused.value.detail
    assert "the password is wrong" in caplog.text


@pytest.mark.parametrize("stray", STRAYS)
async def test_one_that_strays_has_failed(stray: Stray, caplog: pytest.LogCaptureFixture) -> None:
    async def process(*_: object) -> None:
        await stray()

    before, after = made_of(pre_process=process), made_of(post_process=process)

    assert (await before(calling(), ToolBox(["5"]))).outcome == "denied"
    with pytest.raises(RequestRefused):
        await before(asking(), Model([saying()]))
    assert (await after(calling(), ToolBox(["5"]))).content == "5"
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


async def test_messages_that_are_none_refuse_the_call() -> None:
    spoil = pre(lambda ctx: cast("list[object]", ctx.messages).append("hi"))

    with pytest.raises(RequestRefused):
        await spoil(asking(), Model([saying()]))


async def test_when_post_process_fails_the_result_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def post_process(_ctx: CallContext, _result: object) -> None:
        raise ValueError("the disk is full")

    result = await made_of(post_process=post_process)(calling(), ToolBox(["5"]))

    assert result.content == "5"
    assert "the disk is full" in caplog.text


async def test_what_is_no_result_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    wrong = post(lambda _result: "six")

    assert (await wrong(calling(), ToolBox(["5"]))).content == "5"
    assert await wrong(asking(), Model([saying()])) == saying()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_cancellation_passes_through_pre_and_post_process() -> None:
    async def hang(*_arguments: object) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    for name in ("pre_process", "post_process"):
        came_back = False
        with anyio.CancelScope() as scope:
            await made_of(**{name: hang})(calling(), ToolBox(["5"]))
            came_back = True
        assert scope.cancelled_caught
        assert not came_back


async def test_a_list_of_them_runs_like_an_onion_in_a_turn(open_host: Opens) -> None:
    order: list[str] = []

    def named(name: str) -> middleware.BothSeams:
        def pre_process(ctx: CallContext) -> None:
            order.append(f"{name} before {ctx.tool_name}")

        def post_process(ctx: CallContext, _result: object) -> None:
            order.append(f"{name} after {ctx.tool_name}")

        return made_of(pre_process=pre_process, post_process=post_process)

    replies = [call_tools(("add", {"a": 2, "b": 3})), "five"]
    host = await open_host(replies, tools=[named("a"), named("b")])

    assert (await host.chat(ChatRequest("add"))).message == "five"
    assert order == ["a before add", "b before add", "b after add", "a after add"]


async def test_a_streamed_turn_goes_through_them(open_host: Opens) -> None:
    diary = Diary()
    host = await open_host(["fine"], model=[middleware.from_pre_post(diary)])

    assert await stream(host) == ["fine", "turn.end"]
    assert [line.partition(":")[0] for line in diary.lines] == ["before m", "after m"]
