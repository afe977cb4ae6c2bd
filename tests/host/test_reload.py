"""A running host goes by other settings: what stays, what changes, and what a failure leaves."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest
from attrs import define, field

from agentrail import ChatRequest, define_plugin
from agentrail.errors import (
    ConfigError,
    ConfigRefused,
    HostNotRunning,
    PayloadTooLarge,
    StorageError,
    TooManyRequests,
)
from agentrail.events import TERMINAL
from agentrail.host import AgentHost
from agentrail.model.openai import OpenAICompatible
from agentrail.requests import Delta, ModelRequest
from agentrail.settings import Configuration, SettingsSource
from agentrail.storage import Database
from tests.host.reloading import (
    BETWEEN,
    LIVES,
    SEEN,
    UNWATCHED,
    Counted,
    Marks,
    Site,
    Tooled,
    balanced,
    entry,
    plugins,
    site_of,
    until,
)

pytestmark = pytest.mark.anyio

HOUSE = """\
providers:
  house: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k}
profiles:
  - {id: extra, model: 'house:m'}
"""


@define
class Gate:
    """A model's answer that waits in its middle until it may go on."""

    entered: anyio.Event = field(factory=anyio.Event)
    open: anyio.Event = field(factory=anyio.Event)

    async def answer(self, request: ModelRequest) -> str:
        await request.emit(Delta(text="a"))
        self.entered.set()
        await self.open.wait()
        await request.emit(Delta(text="b"))
        return "ab"


# Only what changed is made anew.


async def test_a_plugin_whose_entry_did_not_change_goes_on(tmp_path: Path) -> None:
    kept = entry("kept", "1")
    site = site_of(tmp_path, plugins(kept, entry("m", "1")))
    async with site.host:
        plugin = site.plugin("kept")
        await site.use(plugins(kept, entry("m", "2"), entry("new", "1")) + "stop_grace: 1\n")
        await site.use(plugins(entry("m", "2"), kept))

        assert site.plugin("kept") is plugin
        assert [line for line in LIVES if "kept" in line] == ["start kept 1"]
        assert await site.ask() == ("fine", ["kept 1", "m 2"])
    assert balanced() == {}


async def test_a_new_plugin_has_started_before_it_is_called_and_the_old_one_stops_behind_its_runs(
    tmp_path: Path,
) -> None:
    gate = Gate()
    site = site_of(tmp_path, plugins(entry(label="1")), gate.answer, "fine")
    async with site.host, anyio.create_task_group() as tasks:
        tasks.start_soon(site.host.chat, ChatRequest(message="one"))
        await gate.entered.wait()

        await site.use(plugins(entry(label="2")))
        assert LIVES == ["start m 1", "start m 2"]
        assert await site.ask() == ("fine", ["m 2"])
        assert LIVES == ["start m 1", "start m 2"]
        await site.use(plugins(entry(label="2"), entry("n")))
        await site.use(plugins(entry(label="2")))
        await until(lambda: "stop n 1" in LIVES)
        assert LIVES == ["start m 1", "start m 2", "start n 1", "stop n 1"]

        gate.open.set()
        await until(lambda: "stop m 1" in LIVES)
        assert LIVES == ["start m 1", "start m 2", "start n 1", "stop n 1", "stop m 1"]
        assert [set(seen) for seen in SEEN.values()] == [{"m 1"}]


async def test_two_entries_in_the_same_words_are_two_plugins_that_both_go_on(
    tmp_path: Path,
) -> None:
    text = "middlewares: [{name: cache, ttl: 60}, {name: cache, ttl: 60}]\n"
    site = site_of(tmp_path, text)
    async with site.host:
        first = site.host.core.config.model_middleware
        assert first[0] is not first[1]
        await site.use(text + plugins(entry()))
        second = site.host.core.config.model_middleware
        assert [a is b for a, b in zip(first, second, strict=True)] == [True, True]


async def test_middleware_keeps_what_it_knows_unless_its_options_change(tmp_path: Path) -> None:
    limit = "middlewares: [{name: rate_limit, calls: 2, per: 3600}]\n"
    site = site_of(tmp_path, limit)
    async with site.host:
        await site.ask()
        await site.use(limit + plugins(entry()))
        await site.ask()
        await site.use("middlewares: [metrics, {name: rate_limit, calls: 2, per: 3600.0}]\n")
        with pytest.raises(TooManyRequests):
            await site.ask()
        await site.use(limit.replace("2", "3"))
        assert (await site.ask())[0] == "fine"


async def test_a_cache_keeps_its_answers_unless_its_options_change(tmp_path: Path) -> None:
    cache = "middlewares: [{name: cache, ttl: 3600}]\n"
    site = site_of(tmp_path, cache, "one", "two", "three")
    async with site.host:
        assert (await site.ask("q"))[0] == "one"
        await site.use(cache + "stop_grace: 1\n")
        assert (await site.ask("q"))[0] == "one"
        await site.use(cache.replace("3600", "3601"))
        assert (await site.ask("q"))[0] == "two"
        await site.use("{}\n")
        assert (await site.ask("q"))[0] == "three"


async def test_the_applications_own_middleware_and_plugins_stay(tmp_path: Path) -> None:
    calls: list[str] = []
    own = define_plugin("own", start=lambda: calls.append("start"), stop=lambda: calls.append("x"))
    site = site_of(tmp_path, "{}\n", plugins=[own])
    async with site.host:
        await site.use("middlewares: [{name: object, object: 'tests.host.reloading:between'}]\n")
        await site.ask()
        assert BETWEEN == ["ModelRequest"]
        await site.use("{}\n")
        await site.ask()
        assert BETWEEN == ["ModelRequest"]
        assert calls == ["start"]
        await site.use("plugins: {entries: [{name: own, enabled: false}]}\n")
        await until(lambda: calls == ["start", "x"])
        await site.use("{}\n")
        assert calls == ["start", "x", "start"]
        await site.use("plugins: {enabled: false}\n")
        await until(lambda: calls == ["start", "x", "start", "x"])


async def test_a_provider_whose_entry_did_not_change_goes_on(tmp_path: Path) -> None:
    site = site_of(tmp_path, HOUSE)
    async with site.host:
        provider = cast("OpenAICompatible", site.provider("house"))
        client = provider._client
        assert client is not None
        await site.use(HOUSE + "stop_grace: 1\n")
        await site.use(HOUSE.replace("id: extra", "id: other"))
        assert site.provider("house") is provider
        assert provider._client is client
        assert not client.is_closed

        await site.use(HOUSE.replace("api_key: k", "api_key: l"))
        assert site.provider("house") is not provider
        await until(lambda: client.is_closed)
        running = [each.provider for each in site.host.core.models._line.running]
        assert site.provider("house") in running
        assert provider not in running


async def test_the_applications_providers_start_and_stop_with_what_names_them(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path, "{}\n", providers=[Counted("m"), Counted("n"), Counted("scripted")])
    text = "profiles: [{id: extra, model: 'n:x', fallbacks: ['m:x']}]\n"
    async with site.host:
        assert LIVES == ["start scripted"]
        await site.use(text)
        assert LIVES == ["start scripted", "start n", "start m"]
        assert (await site.ask(agent="extra"))[0] == "from n"
        await site.use(text + "stop_grace: 1\n")
        await site.use("{}\n")
        assert LIVES == ["start scripted", "start n", "start m"]
    assert balanced() == {}


async def test_a_provider_stops_behind_the_runs_that_began_with_it(tmp_path: Path) -> None:
    gate, extra = Gate(), "profiles: [{id: extra, model: 'n:x'}]\n"
    providers = [Counted("scripted"), Counted("n", gate.answer)]
    site = site_of(tmp_path, extra, providers=providers)
    async with site.host, anyio.create_task_group() as tasks:
        tasks.start_soon(site.ask, "hi", "extra")
        await gate.entered.wait()
        instead = "providers: {n: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}}\n"
        await site.use(instead + extra)
        await site.use(instead + extra + plugins(entry()))
        await site.use(instead + extra)
        await until(lambda: "stop m 1" in LIVES)
        assert "stop n" not in LIVES
        gate.open.set()
        await until(lambda: "stop n" in LIVES)


async def test_a_plugin_that_leaves_and_comes_back_under_a_run_is_not_stopped_under_it(
    tmp_path: Path,
) -> None:
    gate = Gate()
    site = site_of(tmp_path, "{}\n", gate.answer, "fine", plugins=[Marks("m", "1")])
    async with site.host, anyio.create_task_group() as tasks:
        tasks.start_soon(site.host.chat, ChatRequest(message="one"))
        await gate.entered.wait()
        await site.use("plugins: {entries: [{name: m, enabled: false}]}\n")
        await site.use("{}\n")
        assert await site.ask() == ("fine", ["m 1"])
        gate.open.set()
        await until(lambda: len(site.host.core.generations) == 1)
        assert [set(seen) for seen in SEEN.values()] == [{"m 1"}]
        assert LIVES == ["start m 1"]
    assert balanced() == {}


async def test_a_profile_is_another_for_the_next_request_alone(tmp_path: Path) -> None:
    gate = Gate()
    site = site_of(tmp_path, "{}\n", gate.answer, "fine")
    profile = "profiles: [{id: extra, model: 'scripted:m', prompt: Be short.}]\n"
    async with site.host, anyio.create_task_group() as tasks:
        tasks.start_soon(site.host.chat, ChatRequest(message="one"))
        await gate.entered.wait()
        await site.use(profile)
        assert list(site.host.agents()) == ["assistant", "extra"]
        assert (await site.ask(agent="extra"))[0] == "fine"
        gate.open.set()
        await site.use("{}\n")
        assert list(site.host.agents()) == ["assistant"]


async def test_limits_hold_from_the_next_request_on(tmp_path: Path) -> None:
    site = site_of(tmp_path, "{}\n")
    async with site.host:
        await site.use("limits: {message_chars: 5}\n")
        with pytest.raises(PayloadTooLarge):
            await site.ask("too long")
        assert (await site.ask("short"))[0] == "fine"
        await site.use("{}\n")
        assert (await site.ask("too long"))[0] == "fine"


# Whatever fails leaves everything as it was.

FIRST = plugins(entry(label="1"))
SECOND = plugins(entry(label="2"))
NEW = entry("new", "1")
NO_MODEL = "profiles: [{id: extra, model: 'nobody:m'}]\n"
NO_RULE = "profiles: [{id: extra, model: 'scripted:m', permissions: [{deny: nothing_there}]}]\n"
FAILING = "profiles: [{id: extra, model: 'counted:m', fallbacks: ['failing:m']}]\n"
TOOLS = "profiles: [{id: extra, model: 'scripted:m', tools: ['X:look', 'X:again']}]\n".replace(
    "X", "tests.host.reloading"
)

FAILURES = {
    "no YAML": ("plugins: [\n", "agentrail.yaml"),
    "schema": (SECOND + "stop_grace: soon\n", "it must be a number"),
    "cross check": (plugins(NEW, NEW), "another entry has this name"),
    "a missing object": (plugins(NEW.replace(":marks", ":no_such")), "it cannot be taken"),
    "a missing module": (plugins(NEW.replace("reloading", "nowhere")), "it cannot be taken"),
    "a factory that raises": (plugins(NEW, entry(fails="make")), "ValueError: no such label"),
    "a missing secret": (plugins(NEW, entry(label="secret:NO_SUCH")), "nobody has the secret"),
    "an unknown provider": (SECOND + HOUSE.replace("house:m", "nobody:m"), "no model provider"),
    "tools of one name": (plugins(NEW) + TOOLS, "look"),
    "a rule about no tool": (plugins(NEW) + HOUSE.split("profiles", 1)[0] + NO_RULE, "nothing_th"),
    "a profile that is there": (
        plugins(NEW) + "profiles: [{id: assistant, model: 'scripted:m'}]\n",
        "the application has a profile of this id",
    ),
    "a provider that fails": (SECOND + FAILING, "the provider is not there"),
    "a start that fails": (plugins(NEW, entry("b", fails="start")), "it does not want to"),
    "a start that is late": (plugins(NEW, entry("b", fails="late")), "took longer than 0.05 s"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, what: str) -> None:
    text, reason = FAILURES[what]
    own = [Counted("scripted"), Counted("counted"), Counted("failing", fails=True)]
    site = site_of(tmp_path, FIRST, providers=own)
    async with site.host:
        held, before, answer = site.held, balanced(), await site.ask()
        for number in (1, 2):
            with pytest.raises(ConfigRefused) as caught:
                await site.use(text)
            assert reason in str(caught.value)

            assert site.held == held
            assert balanced() == before
            assert await site.ask() == answer
            state = site.configuration.state
            assert state.state == "degraded"
            assert reason in str(state.faults)
            assert state.revision.number == 1
            failed = [each for each in await site.audited() if each.outcome == "failed"]
            assert [(each.actor, each.action) for each in failed] == [
                ("ada", "config.reload")
            ] * number
            assert reason in failed[-1].detail

        assert await site.use(SECOND) == 2
        assert site.configuration.state.faults == ()
        assert await site.ask() == ("from scripted", ["m 2"])
        await until(lambda: balanced() == {"m 2": 1, "scripted": 1})
    assert balanced() == {}


@pytest.mark.parametrize("closed", [True, False])
async def test_what_cannot_be_written_leaves_everything_as_it_was(
    tmp_path: Path, *, closed: bool
) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        held, before, answer = site.held, balanced(), await site.ask()
        database = site.host.part(Database)
        if closed:
            await database.stop()
        else:
            (pages,) = database._writer.execute("PRAGMA page_count").fetchone()
            database._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError):
            await site.use(SECOND + HOUSE + f"# {'long' * 30_000}\n")

        assert site.held == held
        assert balanced() == before
        assert await site.ask() == answer
        assert [each.code for each in site.configuration.state.faults] == ["storage_failed"]

        if closed:
            await database.start()
        else:
            database._writer.execute("PRAGMA max_page_count = 100000")
        assert await site.use(SECOND) == 2
        assert await site.ask() == ("fine", ["m 2"])
    assert balanced() == {}


async def test_secrets_of_settings_that_are_refused_are_not_used(tmp_path: Path) -> None:
    variables = {**UNWATCHED, "AGENTRAIL_SECRET_A": "first-value"}
    text = plugins(entry(label="secret:A"))
    site = site_of(tmp_path, text, source=lambda path: SettingsSource(path, variables))
    async with site.host:
        assert (await site.ask())[1] == ["m first-value"]
        secrets = site.configuration.secrets
        variables["AGENTRAIL_SECRET_A"] = "second-value"
        with pytest.raises(ConfigRefused):
            await site.use(text + NO_MODEL)
        assert site.configuration.secrets is secrets
        assert (await site.ask())[1] == ["m first-value"]
        await site.use(text)
        assert (await site.ask())[1] == ["m second-value"]


async def test_many_that_are_refused_leave_nothing_behind(tmp_path: Path) -> None:
    site = site_of(tmp_path, FIRST, providers=[Counted("scripted"), Counted("x", fails=True)])
    async with site.host:
        known = len(site.host.core.models._line.known)
        for number in range(10):
            house = HOUSE.replace("api_key: k", f"api_key: k{number}")
            for text in (house.replace("house:m", "nobody:m"), house.replace("house:m", "x:m")):
                with pytest.raises(ConfigRefused):
                    await site.use(text)
        assert len(site.host.core.models._line.known) == known
        assert len(site.host.core.lives._lives) == 1


# Whoever asks may go, and the host may stop.


@define
class Slow:
    """A provider that takes its time to start."""

    name: str = "slow"
    begun: anyio.Event = field(factory=anyio.Event)
    go: anyio.Event = field(factory=anyio.Event)

    async def start(self) -> None:
        self.begun.set()
        await self.go.wait()
        LIVES.append("start slow")

    async def stop(self) -> None:
        LIVES.append("stop slow")

    async def complete(self, _request: ModelRequest) -> None:
        raise NotImplementedError


SLOW = "profiles: [{id: extra, model: 'slow:m'}]\n"


async def test_a_caller_that_goes_does_not_stop_the_change(tmp_path: Path) -> None:
    slow = Slow()
    site = site_of(tmp_path, FIRST, providers=[Counted("scripted"), slow])
    async with site.host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.use, SECOND + SLOW)
            await slow.begun.wait()
            tasks.cancel_scope.cancel()
        assert site.configuration.revision.number == 1
        slow.go.set()
        await until(lambda: site.configuration.revision.number == 2)
        assert await site.ask() == ("from scripted", ["m 2"])
    assert balanced() == {}


async def test_a_host_that_stops_during_a_change_ends_it_first(tmp_path: Path) -> None:
    slow, ended = Slow(), list[int]()
    site = site_of(tmp_path, FIRST, providers=[Counted("scripted"), slow])

    async def use() -> None:
        ended.append(await site.use(SECOND + SLOW))

    configuration = site.configuration
    async with anyio.create_task_group() as tasks, site.host:
        tasks.start_soon(use)
        await slow.begun.wait()
        tasks.start_soon(opened_when, lambda: configuration._jobs._group is None, slow.go)
    assert ended == [2]
    assert balanced() == {}
    with pytest.raises(HostNotRunning):
        await configuration.reload("ada")


async def opened_when(there: Callable[[], bool], event: anyio.Event) -> None:
    await until(there)
    event.set()


async def test_a_host_that_is_cancelled_during_a_change_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    slow, refused = Slow(), list[str]()
    site = site_of(tmp_path, FIRST, providers=[Counted("scripted"), slow])

    async def use() -> None:
        with pytest.raises(HostNotRunning) as caught:
            await site.use(SECOND + SLOW)
        refused.append(caught.value.code)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with site.host:
                tasks.start_soon(use)
                await slow.begun.wait()
                scope.cancel()
                await anyio.sleep_forever()
    assert refused == ["host_not_running"]
    assert balanced() == {}

    slow.begun, slow.go = anyio.Event(), anyio.Event()
    slow.go.set()
    async with site.host:
        assert await site.ask() == ("from scripted", ["m 1"])
        assert await site.use(SECOND + SLOW) == 2
        assert await site.ask() == ("from scripted", ["m 2"])
    assert balanced() == {}


async def test_a_host_that_is_cancelled_while_a_change_is_written_goes_by_it_the_next_time(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path, FIRST, providers=[Counted("scripted")])
    writing, database = anyio.Event(), tmp_path / "data" / "host.db"

    async def use() -> None:
        with suppress(HostNotRunning):
            await site.use(SECOND)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with site.host:
                held = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
                held.execute("BEGIN IMMEDIATE")
                tasks.start_soon(use)
                await until(lambda: site.host.part(Database)._writing)
                tasks.start_soon(released, held, writing)
                scope.cancel()
                writing.set()
                await anyio.sleep_forever()
    assert balanced() == {}
    async with site.host:
        (number,) = await numbers(site)
        assert await site.ask() == ("from scripted", [f"m {number}"])
        assert site.configuration.revision.number == number
        plugin = site.plugin("m")
        await site.use((SECOND if number == 2 else FIRST) + "stop_grace: 1\n")
        assert site.plugin("m") is plugin
    assert balanced() == {}


async def numbers(site: Site) -> list[int]:
    return [(await site.configuration.history(limit=1))[0].number]


async def released(held: sqlite3.Connection, when: anyio.Event) -> None:
    """Let others write again."""
    await when.wait()
    await anyio.wait_all_tasks_blocked()
    held.execute("ROLLBACK")
    held.close()


# Streams under way.


def called(plugin: str) -> bool:
    """Tell whether a run has gone by a plugin."""
    return any(plugin in seen for seen in SEEN.values())


@pytest.mark.timeout(300)
async def test_under_fifty_changes_a_hundred_streams_fail_nothing_and_mix_nothing(
    tmp_path: Path,
) -> None:
    outcomes: list[str] = []
    over, most = False, 0

    async def answer(request: ModelRequest) -> str:
        for piece in "abc":
            await request.emit(Delta(text=piece))
            await anyio.sleep(0.1)  # or a slow machine does nothing but streams
        return "abc"

    async def ask(host: AgentHost) -> None:
        while not over:
            async with host.stream(ChatRequest(message="go")) as events:
                ends = [event async for event in events if isinstance(event, TERMINAL)]
            outcomes.extend(f"{event.type} {getattr(event, 'outcome', '')}" for event in ends)

    site = site_of(tmp_path, plugins(entry("m", "0"), entry("n", "0")), *[answer] * 50_000)
    async with site.host:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask, site.host)
            for number in range(1, 51):
                both = [entry("m", str(number)), entry("n", str(number))]
                await site.use(plugins(*both[: 1 + number % 3 % 2]))
                most = max(most, len(site.host.core.generations))
                await until(partial(called, f"m {number}"))
            over = True
        await until(lambda: len(site.host.core.generations) == 1)

    assert set(outcomes) == {"turn.end completed"}
    assert len(outcomes) >= 100
    assert most > 1, "no run went on over a change"
    labels = [{each.split()[-1] for each in seen} for seen in SEEN.values()]
    assert [found for found in labels if len(found) != 1] == []
    # Each hook of one plugin was called as often as any other run's: none was left out.
    calls = {len(seen) / len(set(seen)) for seen in SEEN.values()}
    assert len(calls) == 1
    assert balanced() == {}


# The next start.


async def test_a_host_that_is_started_again_serves_what_was_reloaded(tmp_path: Path) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        house = "  - {id: house, model: 'house:m'}\n"
        await site.use(SECOND + HOUSE.replace("house:m", "scripted:m") + house)
        plugin = site.plugin("m")
    for state in ("ok", "degraded"):
        async with site.host:
            assert site.configuration.state.state == state
            assert site.plugin("m") is plugin
            assert await site.ask(agent="extra") == ("fine", ["m 2"])
            assert site.configuration.revision.number == 2
            with pytest.raises(ConfigRefused):
                await site.use("plugins: [\n")
    assert balanced() == {}
    async with site.host:
        assert await site.use(FIRST) == 3
        assert await site.ask() == ("fine", ["m 1"])
    assert balanced() == {}


async def test_another_start_goes_by_what_somebody_went_back_to(tmp_path: Path) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        await site.use(SECOND)
        await site.configuration.rollback(1, "ada")
    again = site_of(tmp_path, SECOND)
    async with again.host:
        assert await again.ask() == ("fine", ["m 1"])
        assert again.configuration.state.pinned
        assert again.configuration.revision.number == 3
    other = site_of(tmp_path, plugins(entry(label="5")))
    async with other.host:
        assert await other.ask() == ("fine", ["m 5"])
        assert not other.configuration.state.pinned
        assert other.configuration.revision.number == 4


async def test_another_start_survives_a_file_that_somebody_went_back_from(tmp_path: Path) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        with pytest.raises(ConfigRefused):
            await site.use("plugins: [\n")
        await site.configuration.rollback(1, "ada")
    again = site_of(tmp_path, "plugins: [\n")
    async with again.host:
        assert await again.ask() == ("fine", ["m 1"])


async def test_another_start_without_the_key_says_what_to_do(tmp_path: Path) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        await site.use(SECOND)
        await site.configuration.rollback(1, "ada")
    (tmp_path / "data" / "secret.key").unlink()
    with pytest.raises(ConfigError, match=r"its key .*is gone"):
        site_of(tmp_path, SECOND)
    async with site_of(tmp_path, FIRST + "stop_grace: 1\n").host as host:
        assert host.part(Configuration).revision.number == 4


async def test_going_back_to_objects_that_are_no_longer_there_changes_nothing(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine_of_reload.py"
    mine.write_text("from tests.host.reloading import marks\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path), *sys.path])
        first = FIRST.replace("tests.host.reloading", "mine_of_reload")
        site = site_of(tmp_path, first)
        async with site.host:
            await site.use(SECOND)
            await until(lambda: len(site.host.core.lives._lives) == 1)
            patch.undo()
            forget("mine_of_reload")
            held = site.held
            with pytest.raises(ConfigRefused, match="No module named 'mine_of_reload'"):
                await site.configuration.rollback(1, "ada")
            assert site.held == held
            assert not site.configuration.state.pinned
            assert await site.ask() == ("fine", ["m 2"])
            assert (await site.configuration.reload("ada")).number == 2
            assert site.configuration.state.state == "ok"
    assert balanced() == {}


def forget(module: str) -> None:
    """Have a module imported anew."""
    sys.modules.pop(module)


async def test_two_hosts_of_one_directory_and_only_one_takes_other_settings(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path, FIRST)
    async with site.host:
        second = site_of(tmp_path, FIRST)
        async with second.host:
            assert second.configuration.follows
            with pytest.raises(HostNotRunning, match="another process"):
                await second.use(SECOND)
            assert second.configuration.state.state == "ok"
            await site.configuration.reload("ada")
            assert site.configuration.revision.number == 2


async def test_a_plugins_tool_that_a_profile_has_too_is_refused(tmp_path: Path) -> None:
    site = site_of(tmp_path, "{}\n", plugins=[Tooled("tooled")])
    async with site.host:
        held = site.held
        text = TOOLS.replace("'tests.host.reloading:look', ", "")
        with pytest.raises(ConfigRefused, match="look"):
            await site.use(text)
        assert site.held == held
