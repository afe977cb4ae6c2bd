"""What a run's account knows of its hooks."""

from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from agentrail.events import HookDid, HookRan, RunRecorded, decode, encode
from agentrail.hook import Account, Funnel, Hook, Plugin, compile_hooks

pytestmark = pytest.mark.anyio


@pytest.fixture
def account() -> Account:
    return Account("python", 0.0)


@pytest.fixture
def of_run(funnel: Funnel, account: Account) -> Funnel:
    return funnel.of_run(account)


def hooks(name: str, *functions: object, **members: object) -> tuple[Hook, ...]:
    """Gives each function a plugin: p0, p1 and so on."""
    plugins = [
        SimpleNamespace(name=f"p{number}", **{name: function}, **members)
        for number, function in enumerate(functions)
    ]
    table, faults = compile_hooks(cast("list[Plugin]", plugins))
    assert faults == ()
    return table[name]


def ran(account: Account) -> dict[str, HookRan]:
    return {each.plugin: each for each in account.record("t", "s", 1.0).hooks}


def see(_context: object) -> None: ...


def fail(_context: object) -> None:
    message = "lost"
    raise OSError(message)


async def hang(_context: object) -> None:
    await anyio.Event().wait()


async def test_each_hook_that_was_called_is_in_the_record_once_in_the_order_of_the_calls(
    of_run: Funnel, account: Account
) -> None:
    called = hooks("on_request_start", see, fail, see)
    for _ in range(100):  # more phases than are kept apart
        await of_run.observe(called, "context")

    found = ran(account)
    assert list(found) == ["p0", "p1", "p2"]
    assert [each.hook for each in found.values()] == ["on_request_start"] * 3
    assert (found["p0"].calls, found["p0"].did) == (100, None)
    # After five failures in a row it is called no more.
    assert found["p1"].calls == 5
    assert found["p1"].did == HookDid(errors=5, skipped=95, error="OSError")


async def test_what_a_hook_took_is_its_own_time(of_run: Funnel, account: Account) -> None:
    async def wait(_context: object) -> None:
        await anyio.sleep(0.02)

    await of_run.observe(hooks("on_request_start", see, wait, fail), "context")

    found = ran(account)
    assert found["p1"].micros >= 20_000
    assert found["p1"].longest == found["p1"].micros
    assert found["p0"].micros < found["p1"].micros
    assert found["p2"].micros < found["p1"].micros


async def test_a_hook_that_was_late_or_cut_off_is_said_to_be(
    of_run: Funnel, account: Account
) -> None:
    late = hooks("on_request_start", hang, deadlines={"on_request_start": 0.02})
    await of_run.observe(late, "context")
    with anyio.CancelScope() as scope:

        async def cancelled(_context: object) -> None:
            scope.cancel()
            await anyio.Event().wait()

        await of_run.observe(hooks("on_request_start", see, cancelled), "context")

    found = account.record("t", "s", 1.0).hooks
    assert [(each.plugin, each.calls, each.did) for each in found] == [
        ("p0", 1, HookDid(timeouts=1, error="HookTimeout")),
        ("p0", 1, None),
        ("p1", 1, HookDid(cancelled=1)),
    ]


async def test_what_a_hook_returned_is_a_change_or_an_answer_unless_it_let_it_pass(
    of_run: Funnel, account: Account
) -> None:
    def same(given: tuple[str, ...], _context: object) -> tuple[str, ...]:
        return given

    def another(given: tuple[str, ...], _context: object) -> tuple[str, ...]:
        return (*given, "more")

    def text(_given: tuple[str, ...], _context: object) -> str:
        return "text"

    def no_text(_given: tuple[str, ...], _context: object) -> str:
        return ""

    called = hooks("attachment_handler", same, another, text, no_text)
    await of_run.collect(called, (str, tuple), ("a file",), "context")

    assert {plugin: each.did for plugin, each in ran(account).items()} == {
        "p0": None,
        "p1": HookDid(changed=1),
        "p2": HookDid(answered=1),
        "p3": None,
    }


async def test_a_record_holds_what_was_not_in_the_one_before(
    of_run: Funnel, account: Account
) -> None:
    await of_run.observe(hooks("on_request_start", see), "context")
    first = account.record("t", "s", 2.5)
    await of_run.observe(hooks("on_request_end", see), "context")

    assert [each.hook for each in first.hooks] == ["on_request_start"]
    assert first.micros == 2_500_000
    assert [each.hook for each in account.record("t", "s", 3.0).hooks] == ["on_request_end"]


async def test_a_record_reads_the_same_from_the_log(of_run: Funnel, account: Account) -> None:
    called = hooks("on_request_start", see, fail)
    for _ in range(2):
        await of_run.observe(called, "context")
    await of_run.observe(hooks("on_request_end", see), "context")

    record = account.record("t", "s", 1.0)
    read = decode(encode(record))
    assert isinstance(read, RunRecorded)
    assert read.hooks == record.hooks
    assert [(each.hook, each.plugin, each.calls) for each in read.hooks] == [
        ("on_request_start", "p0", 2),
        ("on_request_start", "p1", 2),
        ("on_request_end", "p0", 1),
    ]
