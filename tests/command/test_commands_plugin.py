"""Commands in a host: every message with a slash is answered here, on every door."""

import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from attrs import define, evolve
from msgspec import Struct

from agentrail import (
    ChatRequest,
    ChatResponse,
    Commands,
    Image,
    Principal,
    RequestContext,
    ScriptedModel,
    Text,
    command,
)
from agentrail.errors import ConfigError, ModelUnavailable
from tests.command.conftest import Opens, read
from tests.contexts import context_of
from tests.strays import STRAYS, Stray

pytestmark = pytest.mark.anyio

ADMIN = Principal(user_id="ada", roles=frozenset({"admin"}))


@command
async def greet(context: RequestContext, name: str = "you", *, loud: bool = False) -> str:
    """Greet somebody.

    Args:
        name: whom to greet
        loud: in capitals
    """
    text = f"Hello {name}, says {context.user_id}."
    return text.upper() if loud else text


@command(scope="admin")
async def purge_all() -> str:
    """Forget everything."""
    return "All is forgotten."


@command
async def count(to: int) -> AsyncIterator[str]:
    """Count."""
    for number in range(1, to + 1):
        yield f"{number} "


async def test_a_command_is_answered_and_the_model_is_not_asked(open_host: Opens) -> None:
    model = ScriptedModel([])
    host = await open_host(greet, model=model)

    for message in ("/greet Ada", " /GREET Ada ", "/greet\nAda"):
        answer = await host.chat(ChatRequest(message, user_id="eve"))
        assert answer.message == "Hello Ada, says eve."
        assert (answer.status, answer.outcome) == (200, "intercepted")
    assert (await host.chat(ChatRequest("/greet --loud"))).message == "HELLO YOU, SAYS LOCAL."
    assert model.requests == []


async def test_a_message_without_a_slash_goes_to_the_model(open_host: Opens) -> None:
    model = ScriptedModel.repeat("Fine.")
    host = await open_host(greet, model=model)

    for message in ("hello", "1/2", "what is /greet?", "\\/greet"):
        assert (await host.chat(ChatRequest(message))).message == "Fine."
    assert [each.messages[-1].text for each in model.requests] == [
        "hello", "1/2", "what is /greet?", "\\/greet",
    ]  # fmt: skip


async def test_a_command_may_come_as_parts(open_host: Opens) -> None:
    host = await open_host(greet)
    picture = Image(mime_type="image/png", data=b"")

    answer = await host.chat(ChatRequest((Text(text="/greet Ada"), picture)))

    assert answer.message == "Hello Ada, says local."


@pytest.mark.parametrize("name", ["purge-all", "purge_all", "PURGE-ALL"])
async def test_a_name_may_be_written_in_several_ways(open_host: Opens, name: str) -> None:
    host = await open_host(purge_all)

    answer = await host.chat(ChatRequest(f"/{name}"), principal=ADMIN)

    assert answer.message == "All is forgotten."


@pytest.mark.parametrize("before", [" \n", "\u200f", "\ufeff", "\u2067\u200f ", "\u061c"])
async def test_what_nobody_sees_before_the_slash_does_not_send_a_command_to_the_model(
    open_host: Opens, before: str
) -> None:
    host = await open_host(greet)

    assert (await host.chat(ChatRequest(f"{before}/greet Ada"))).message == "Hello Ada, says local."


async def test_a_stream_shows_a_command_in_the_same_events(open_host: Opens) -> None:
    host = await open_host(greet)

    assert await read(host, ChatRequest("/greet Ada")) == [
        ("turn.start", ""),
        ("message.start", ""),
        ("message.delta", "Hello Ada, says local."),
        ("message.end", ""),
        ("turn.end", "Hello Ada, says local."),
    ]


async def test_an_answer_may_come_in_pieces(open_host: Opens) -> None:
    halfway, go_on = anyio.Event(), anyio.Event()

    @command
    async def tell() -> AsyncIterator[str]:
        """Tell a story."""
        yield "Once upon"
        halfway.set()
        await go_on.wait()
        yield " a time"

    host = await open_host(tell)

    async with host.stream(ChatRequest("/tell")) as events:
        seen = [await anext(events), await anext(events), await anext(events)]
        await halfway.wait()
        assert getattr(seen[-1], "text", "") == "Once upon"
        go_on.set()
        rest = [event async for event in events]
    assert getattr(rest[-1], "message", "") == "Once upon a time"
    assert (await host.chat(ChatRequest("/tell"))).message == "Once upon a time"


@define
class Counter:
    """Commands may be methods."""

    step: int

    def up(self, by: int = 1) -> int:
        """Count up."""
        self.step += by
        return self.step


async def test_a_method_is_a_command(open_host: Opens) -> None:
    counter = Counter(3)
    host = await open_host(command(counter.up))

    assert (await host.chat(ChatRequest("/up 4"))).message == "7"
    assert counter.step == 7


async def test_a_sync_function_does_not_hold_up_the_host(open_host: Opens) -> None:
    here = anyio.Event()

    @command
    def wait() -> str:
        """Wait for the event loop, in a thread."""
        anyio.from_thread.run_sync(here.set)
        return "It moves."

    host = await open_host(wait)

    assert (await host.chat(ChatRequest("/wait"))).message == "It moves."
    assert here.is_set()


class Pair(Struct):
    a: int


RESULTS = [
    (None, "Done."),
    ("", "Done."),
    ({"a": 1}, '{"a":1}'),
    (Pair(1), '{"a":1}'),
    (7, "7"),
    (ChatResponse("Mine."), "Mine."),
]


@pytest.mark.parametrize(("result", "told"), RESULTS)
async def test_what_is_returned_is_told(open_host: Opens, result: object, told: str) -> None:
    @command
    async def give() -> object:
        """Give it."""
        return result

    host = await open_host(give)

    assert (await host.chat(ChatRequest("/give"))).message == told


async def test_an_answer_of_its_own_keeps_its_status_and_headers(open_host: Opens) -> None:
    @command
    async def brew() -> ChatResponse:
        """Brew coffee."""
        return ChatResponse("I am a teapot.", status=418, headers={"x-tea": "green"})

    host = await open_host(brew)
    answer = await host.chat(ChatRequest("/brew"))

    assert (answer.status, dict(answer.headers)) == (418, {"x-tea": "green"})


# What is no command.


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("/gret Ada", "There is no command /gret. Did you mean /greet? /help lists the commands."),
        ("/cuont", "There is no command /cuont. Did you mean /count? /help lists the commands."),
        ("/xyz", "There is no command /xyz. /help lists the commands."),
        ("/", "There is no command /. /help lists the commands."),
        ("/ greet", "There is no command /. /help lists the commands."),
        ("//greet", "There is no command //greet. Did you mean /greet? /help lists the commands."),
        (f"/{'a' * 999_999}", f"There is no command /{'a' * 39}…. /help lists the commands."),
    ],
)
async def test_an_unknown_command_is_answered_with_the_nearest(
    open_host: Opens, message: str, told: str
) -> None:
    model = ScriptedModel([])
    host = await open_host(greet, count, model=model)

    answer = await host.chat(ChatRequest(message))

    assert (answer.status, answer.message) == (404, told)
    assert model.requests == []


async def test_a_line_that_does_not_fit_is_answered_with_the_usage(open_host: Opens) -> None:
    host = await open_host(count)

    answer = await host.chat(ChatRequest("/count far"))

    assert answer.status == 422
    assert answer.message == "to must be a whole number, not far.\nUsage: /count <to>"


@pytest.mark.parametrize("line", ["1 " * 10_000, "a" * 999_000])
async def test_too_much_is_answered_and_the_host_goes_on(open_host: Opens, line: str) -> None:
    host = await open_host(count, greet)

    answer = await host.chat(ChatRequest(f"/count {line}"))

    assert answer.status == 413
    assert answer.message.startswith("/count takes up to ")
    assert (await host.chat(ChatRequest("/greet"))).status == 200


async def test_what_is_for_administrators_is_theirs_alone(open_host: Opens) -> None:
    host = await open_host(purge_all)

    refused = await host.chat(ChatRequest("/purge-all"))
    near = await host.chat(ChatRequest("/purge-al"))
    listed = await host.chat(ChatRequest("/help"))
    told = await host.chat(ChatRequest("/help purge-all"))
    allowed = await host.chat(ChatRequest("/purge-all"), principal=ADMIN)

    assert (refused.status, refused.message) == (403, "/purge-all is for administrators.")
    assert not any("purge-all" in each.message for each in (near, listed))
    assert (told.status, told.message) == (refused.status, refused.message)
    assert allowed.message == "All is forgotten."
    for_admins = await host.chat(ChatRequest("/purge-al"), principal=ADMIN)
    assert "Did you mean /purge-all?" in for_admins.message
    assert "/purge-all" in (await host.chat(ChatRequest("/help"), principal=ADMIN)).message


async def test_help_lists_the_commands_and_tells_about_one(open_host: Opens) -> None:
    host = await open_host(greet, count)

    for message in ("/help", "/help me, please", "/help /"):
        assert (await host.chat(ChatRequest(message))).message.splitlines() == [
            "/help: List the commands, or tell how one is used.",
            "/greet: Greet somebody.",
            "/count: Count.",
        ]
    for message in ("/help greet", "/help /Greet", "/help greet Ada"):
        assert (await host.chat(ChatRequest(message))).message.splitlines() == [
            "/greet [--loud] [<name>]",
            "Greet somebody.",
            "name: whom to greet; a text; default you",
            "--loud: in capitals",
        ]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("gret", "There is no command /gret. Did you mean /greet? /help lists the commands."),
        ("nope", "There is no command /nope. /help lists the commands."),
        ("purge-al", "There is no command /purge-al. /help lists the commands."),
        ("//", "There is no command //. /help lists the commands."),
    ],
)
async def test_help_on_a_name_that_there_is_not_tells_the_nearest(
    open_host: Opens, asked: str, told: str
) -> None:
    host = await open_host(greet, purge_all)

    answer = await host.chat(ChatRequest(f"/help {asked}"))

    assert (answer.status, answer.message) == (404, told)


def test_two_commands_of_one_name_do_not_compose() -> None:
    with pytest.raises(ConfigError, match="two commands are named 'GREET'"):
        Commands([greet, evolve(greet, name="GREET")])
    with pytest.raises(ConfigError, match="two commands are named 'help'"):
        Commands([evolve(greet, name="help")])


def test_a_function_is_no_command_by_itself() -> None:
    with pytest.raises(ConfigError, match="is no command: put @command before the function"):
        Commands([greet.function])  # type: ignore[list-item]


# Failures.


@command
async def fail(how: str = "") -> str:
    """Fail."""
    if how == "model":
        raise ModelUnavailable("the upstream is down")
    if how == "group":
        raise ExceptionGroup("group", [ModelUnavailable("the upstream is down")])
    message = "secret"
    raise RuntimeError(message)


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        ("model", 502, "/fail failed: the upstream is down"),
        ("group", 502, "/fail failed: the upstream is down"),
        ("", 500, "/fail failed; the host's log says why."),
    ],
)
async def test_a_failure_is_an_answer_with_its_status(
    open_host: Opens, caplog: pytest.LogCaptureFixture, how: str, status: int, told: str
) -> None:
    model, failures = ScriptedModel([]), list[object]()
    host = await open_host(fail, model=model, on_plugin_error=failures.append)

    for _ in range(6):  # more often than a hook may fail before it is left alone
        answer = await host.chat(ChatRequest(f"/fail {how}"))
        assert (answer.status, answer.message, answer.outcome) == (status, told, "intercepted")
    async with host.stream(ChatRequest(f"/fail {how}")) as events:
        assert events.status == status
        last = [event async for event in events][-1]
    assert (last.type, getattr(last, "message", "")) == ("turn.end", told)
    assert (model.requests, failures) == ([], [])
    assert ("secret" in caplog.text) is (how == "")


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_command_that_strays_has_failed_and_harms_nobody(
    open_host: Opens, stray: Stray, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()
    read_all: dict[str, Sequence[tuple[str, str]]] = {}

    @command
    async def wait() -> str:
        """Wait."""
        begun.set()
        await go_on.wait()
        return "done"

    @command
    async def lose() -> str:
        """Lose."""
        await stray()
        return "unreached"

    @command
    async def tell() -> AsyncIterator[str]:
        """Tell."""
        yield "So"
        await stray()

    host = await open_host(wait, lose, tell)

    async def read_on(message: str) -> None:
        read_all[message] = await read(host, ChatRequest(message))

    async with anyio.create_task_group() as readers:
        readers.start_soon(read_on, "/wait")
        await begun.wait()
        assert (await host.chat(ChatRequest("/lose"))).status == 500
        await read_on("/lose")
        await read_on("/tell")
        go_on.set()

    broke = "failed; the host's log says why."
    assert {message: events[-1] for message, events in read_all.items()} == {
        "/lose": ("turn.end", f"/lose {broke}"),
        "/tell": ("turn.end", f"So\n/tell {broke}"),
        "/wait": ("turn.end", "done"),
    }
    assert len(caplog.records) == 3


async def test_a_failure_on_the_way_is_the_last_piece(open_host: Opens) -> None:
    @command
    async def stumble(after: int) -> AsyncIterator[object]:
        """Stumble."""
        for _ in range(after):
            yield "step"
        raise ModelUnavailable("the upstream is down")

    host = await open_host(stumble)
    told = "/stumble failed: the upstream is down"

    for after, message in ((0, told), (2, f"stepstep\n{told}")):
        answer = await host.chat(ChatRequest(f"/stumble {after}"))
        assert (answer.message, answer.outcome) == (message, "intercepted")
        assert (await read(host, ChatRequest(f"/stumble {after}")))[-1] == ("turn.end", message)


async def test_an_answer_that_is_too_long_ends_with_why(open_host: Opens) -> None:
    @command
    async def tell() -> AsyncIterator[str]:
        """Tell all."""
        for _ in range(21):
            yield "x" * 50_000

    host = await open_host(tell)

    answer = await host.chat(ChatRequest("/tell"))
    why = "\n/tell failed: its answer has more than 999000 characters"
    assert answer.message == "x" * 950_000 + why


@command(seconds=0.02)
async def dawdle() -> None:
    """Take too long."""
    await anyio.sleep_forever()


@command(seconds=0.02)
async def dawdle_on() -> AsyncIterator[str]:
    """Take too long after the first piece."""
    yield "Well"
    await anyio.sleep_forever()


async def test_a_command_that_takes_too_long_is_ended_and_says_so(open_host: Opens) -> None:
    host = await open_host(dawdle, dawdle_on)

    late = await host.chat(ChatRequest("/dawdle"))
    later = await host.chat(ChatRequest("/dawdle-on"))

    assert (late.status, late.message) == (504, "/dawdle took longer than 0.02 s and was ended.")
    assert later.message == "Well\n/dawdle-on took longer than 0.02 s and was ended."


def test_the_hook_has_more_time_than_its_slowest_command() -> None:
    @command(seconds=3600)
    async def slow() -> None:
        """Be slow."""

    @command(background=True, seconds=1_000_000)
    async def slower() -> None:
        """Be slower, elsewhere."""

    assert Commands([slow, slower]).deadlines["intercept_chat_request"] == 3605


def test_a_plugin_that_fails_itself_lets_nothing_through() -> None:
    assert Commands([]).critical


async def test_a_reader_that_leaves_ends_a_command(open_host: Opens) -> None:
    ended = anyio.Event()

    @command
    async def run() -> AsyncIterator[str]:
        """Run on and on."""
        try:
            for number in itertools.count():
                yield f"{number} "
                await anyio.lowlevel.checkpoint()
        finally:
            ended.set()

    host = await open_host(run)

    async with host.stream(ChatRequest("/run")) as events:
        for _ in range(4):
            await anext(events)
    assert ended.is_set()


async def test_an_answer_that_nobody_reads_to_its_end_is_closed() -> None:
    """As when its reader leaves while a piece is on its way to it."""
    ended: list[str] = []

    @command
    async def run() -> AsyncIterator[str]:
        """Run on and on."""
        try:
            yield "a"
            yield "b"
        finally:
            ended.append("here")
            await anyio.lowlevel.checkpoint()
            ended.append("after waiting")

    answer = await Commands([run]).intercept_chat_request(ChatRequest("/run"), context_of())
    assert answer is not None
    pieces: Any = answer.text_stream
    assert await anext(pieces) == "a"
    await pieces.aclose()

    assert ended == ["here", "after waiting"]


# The history.


@command(keep=True)
async def weather(place: str) -> AsyncIterator[str]:
    """Tell the weather."""
    yield f"It rains in {place}"
    yield "."


async def test_a_command_is_kept_in_the_history_if_it_says_so(open_host: Opens) -> None:
    model = ScriptedModel(["Take an umbrella."])
    host = await open_host(weather, greet, model=model)

    await host.chat(ChatRequest("/weather Rome", "s1"))
    await host.chat(ChatRequest("/greet", "s1"))
    await host.chat(ChatRequest("/weather", "s1"))
    await host.chat(ChatRequest("What to do?", "s1"))

    assert [each.text for each in model.requests[0].messages] == [
        "/weather Rome",
        "It rains in Rome.",
        "What to do?",
    ]


async def test_a_command_works_on_the_session(open_host: Opens) -> None:
    @command
    async def reset(context: RequestContext) -> str:
        """Begin anew."""
        await context.services.session.reset()
        return "Anew."

    model = ScriptedModel.repeat("Fine.")
    host = await open_host(reset, model=model)

    for message in ("My secret is 42.", "/reset", "What is it?"):
        await host.chat(ChatRequest(message, "s1"))

    assert [each.text for each in model.requests[-1].messages] == ["What is it?"]
