"""What the middleware costs: each one, and the whole list, per call of a model and of a tool.

The floor is the bare call: a request is made, and a model or tool that answers at once is called.
Every request is another one, so that the cache never answers, except where the line says so.
Medians of rounds in which the variants take turns.  Run it with ``make bench``; nothing here
judges.
"""

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import cast

import anyio

from agentrail import (
    AppConfig,
    Delta,
    MemorySessionStore,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    RequestContext,
    ToolCall,
    ToolRequest,
    ToolResult,
    create_app,
    middleware,
)
from agentrail.hook import chain
from agentrail.host import AgentHost
from agentrail.middleware import BothSeams, ToolMiddleware
from agentrail.requests import Services
from tests.benchmarks.bench_turn import CHUNKS, PER_ROUND, Instant, Work, asker, measure, show

BARE = "bare call"
WHOLE = "the whole list"
ANSWER = ModelReply(message=Message.assistant("an instant answer"))
NUMBERS = count()
CONTEXT = RequestContext(
    kind="stream",
    transport="python",
    tenant_id="default",
    user_id="local",
    session_id="s",
    turn_id="t",
    agent_id="a",
    request_id="r",
    services=cast("Services", None),
)
QUESTION = "Will it rain tomorrow in the town where I live, and if so, until when? " * 3
REPLY = "It will rain until the evening, they say, and be dry after that. " * 3
HISTORY = (Message.user(QUESTION), Message.assistant(REPLY)) * 20
"""Forty messages of two hundred characters."""


async def read(_delta: Delta) -> None:
    """Take a piece."""


async def answer(request: ModelRequest) -> ModelReply:
    """Answer at once, in one piece or in many."""
    for _ in range(CHUNKS if request.model == "many" else 1):
        await request.emit(Delta(text="token "))
    return ANSWER


async def add(request: ToolRequest) -> ToolResult:
    """Answer at once."""
    return ToolResult(call_id=request.call.id, name="add", content="5")


def for_both() -> dict[str, BothSeams]:
    """Return what stands in both lists, in order."""
    return {
        "logging": middleware.logging(),
        "metrics": middleware.metrics(),
        "rate_limit": middleware.rate_limit(10**9, 1.0),
        "cache": middleware.cache(60.0, tools=["add"]),
        "retry": middleware.retry(tools=["add"]),
        "redact": middleware.redact(),
        "slow_log": middleware.slow_log(1.0),
    }


def for_tools() -> dict[str, ToolMiddleware]:
    """Return what stands in the list for tools, in order."""
    both = for_both()
    rules = middleware.authorize({"discard*": {"clerk"}}, otherwise="allow")
    last = both.pop("slow_log")
    return {**both, "authorize": rules, "slow_log": last}


def model_call(
    around: Sequence[BothSeams], history: tuple[Message, ...] = (), model: str = "one"
) -> Work:
    """Return a call of a model through a list."""
    call = chain(around, answer)

    async def work() -> object:
        messages = (Message.system("You help."), *history, Message.user(str(next(NUMBERS))))
        request = ModelRequest(model=model, messages=messages, context=CONTEXT, emit=read)
        return await call(request)

    return work


def tool_call(around: Sequence[ToolMiddleware], argument: Callable[[], int]) -> Work:
    """Return a call of a tool through a list."""
    call = chain(around, add)

    async def work() -> object:
        asked = ToolCall(id="c", name="add", arguments={"a": argument(), "b": 3})
        return await call(ToolRequest(call=asked, context=CONTEXT, permitted=asked))

    return work


def shown(title: str, figures: Mapping[str, float]) -> None:
    """Print figures, and what the whole list adds."""
    show(title, figures, next(iter(figures)))
    first, *_, last = figures.values()
    print(f"  the list adds {last - first:.2f} µs")


async def model_calls() -> None:
    """Measure model calls without history, with it, and their pieces."""
    around = list(for_both().values())
    variants = {name: model_call([each]) for name, each in for_both().items()}
    figures = await measure({BARE: model_call([]), **variants, WHOLE: model_call(around)})
    shown("A model call", figures)
    redact = [for_both()["redact"]]
    variants = {
        BARE: model_call([], HISTORY),
        "redact": model_call(redact, HISTORY),
        WHOLE: model_call(around, HISTORY),
    }
    shown("A model call with 40 messages of 200 characters", await measure(variants))
    variants = {
        BARE: model_call([], model="many"),
        "redact": model_call(redact, model="many"),
        WHOLE: model_call(around, model="many"),
    }
    figures = await measure(variants, 10)
    per_chunk = {name: value / CHUNKS for name, value in figures.items()}
    shown(f"A piece of an answer in {CHUNKS} pieces", per_chunk)


async def tool_calls() -> None:
    """Measure tool calls."""

    def new() -> int:
        return next(NUMBERS)

    variants = {name: tool_call([each], new) for name, each in for_tools().items()}
    around = list(for_tools().values())
    figures = await measure(
        {
            BARE: tool_call([], new),
            **variants,
            f"{WHOLE}, from the cache": tool_call(around, lambda: -1),
            WHOLE: tool_call(around, new),
        }
    )
    shown("A tool call", figures)


def host_of(around: Sequence[BothSeams]) -> AgentHost:
    """Return a host that keeps a short window."""
    profile = Profile(id="a", model="instant:one", context_window=120, compact=False)
    config = AppConfig(
        profiles=[profile],
        providers=[Instant()],
        model_middleware=around,
        store=MemorySessionStore(),
    )
    return create_app(config).host


async def turns() -> None:
    """Measure whole turns, in memory, each with one model call."""
    around = {name: each for name, each in for_both().items() if name != "cache"}
    # Without the cache, which would spare the model the question that is always the same.
    async with host_of([]) as bare, host_of(list(around.values())) as whole:
        variants = {"no middleware": asker(bare), "the list": asker(whole)}
        figures = await measure(variants, PER_ROUND // 3)
    shown("A turn in memory, the list without the cache", figures)


async def main() -> None:
    """Measure everything."""
    await model_calls()
    await tool_calls()
    await turns()


if __name__ == "__main__":
    # As an application does that wants the records: each is made, and goes nowhere.
    logging.getLogger("agentrail.middleware").addHandler(logging.NullHandler())
    logging.getLogger("agentrail.middleware").propagate = False
    logging.getLogger("agentrail.middleware").setLevel(logging.INFO)
    for backend in ("asyncio", "trio"):
        if importlib.util.find_spec(backend) is not None:
            print(f"\n== {backend}")
            anyio.run(main, backend=backend)
