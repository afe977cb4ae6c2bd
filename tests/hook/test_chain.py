"""Middleware: a wrapped call is a call."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.hook import Call, Middleware, chain

pytestmark = pytest.mark.anyio

Step = Middleware[str, str]


async def endpoint(request: str) -> str:
    await anyio.lowlevel.checkpoint()
    if "!" in request:
        raise ValueError(request)
    return f"<{request}>"


def marking(mark: str) -> Step:
    async def step(request: str, call_next: Call[str, str]) -> str:
        return await call_next(request + mark) + mark

    return step


async def answering(request: str, _call_next: Call[str, str]) -> str:
    return f"no need: {request}"


async def failing(request: str, _call_next: Call[str, str]) -> str:
    raise ValueError(request)


async def catching(request: str, call_next: Call[str, str]) -> str:
    try:
        return await call_next(request)
    except ValueError as error:
        return f"made up for {error}"


async def retrying(request: str, call_next: Call[str, str]) -> str:
    return await call_next(request) + await call_next(request)


async def spoiling(request: str, call_next: Call[str, str]) -> str:
    return await call_next(request + "!")


async def test_the_first_middleware_is_outermost() -> None:
    call = chain([marking("a"), marking("b"), marking("c")], endpoint)

    assert await call("q") == "<qabc>cba"


async def test_a_chain_of_nothing_is_the_endpoint() -> None:
    nothing: list[Step] = []

    assert chain(nothing, endpoint) is endpoint


async def test_a_middleware_may_answer_instead_of_what_it_wraps() -> None:
    call = chain([marking("a"), answering, failing], endpoint)

    assert await call("q") == "no need: qaa"


async def test_a_middleware_may_change_the_request_and_the_answer() -> None:
    async def shouting(request: str, call_next: Call[str, str]) -> str:
        return (await call_next(request.upper())).replace("<", "[")

    assert await chain([shouting], endpoint)("q") == "[Q>"


async def test_a_middleware_may_catch_what_comes_from_within() -> None:
    assert await chain([catching, failing], endpoint)("q") == "made up for q"
    assert await chain([catching, spoiling], endpoint)("q") == "made up for q!"


async def test_an_error_that_nobody_catches_comes_out() -> None:
    with pytest.raises(ValueError, match="qa!"):
        await chain([marking("a"), spoiling], endpoint)("q")


async def test_a_middleware_does_not_catch_what_is_raised_outside_of_it() -> None:
    async def late(request: str, call_next: Call[str, str]) -> str:
        await call_next(request)
        raise LookupError

    with pytest.raises(LookupError):
        await chain([late, catching], endpoint)("q")


async def test_a_middleware_may_call_again() -> None:
    assert await chain([retrying, marking("a")], endpoint)("q") == "<qa>a<qa>a"


async def test_a_chain_may_be_called_many_times_at_once() -> None:
    call, answers = chain([marking("a"), marking("b")], endpoint), dict[str, str]()

    async def ask(request: str) -> None:
        answers[request] = await call(request)

    async with anyio.create_task_group() as tasks:
        for request in "xyz":
            tasks.start_soon(ask, request)

    assert answers == {request: f"<{request}ab>ba" for request in "xyz"}


async def test_the_list_may_be_changed_afterwards() -> None:
    steps = [marking("a")]
    call = chain(steps, endpoint)

    steps.clear()

    assert await call("q") == "<qa>a"


async def test_the_middleware_may_come_from_an_iterator() -> None:
    call = chain(iter([marking("a"), marking("b")]), endpoint)

    assert [await call("q"), await call("q")] == ["<qab>ba"] * 2


async def result(call: Call[str, str]) -> str:
    try:
        return await call("q")
    except ValueError as error:
        return f"raised {error}"


steps_of_all_kinds = st.lists(
    st.sampled_from([marking("a"), marking("b"), answering, failing, catching, spoiling, retrying]),
    max_size=5,
)


@given(outer=steps_of_all_kinds, inner=steps_of_all_kinds)
async def test_a_chain_around_a_chain_is_the_chain_of_both(
    outer: Sequence[Step], inner: Sequence[Step]
) -> None:
    at_once = chain([*outer, *inner], endpoint)
    one_by_one = chain(outer, chain(inner, endpoint))

    assert await result(at_once) == await result(one_by_one)
