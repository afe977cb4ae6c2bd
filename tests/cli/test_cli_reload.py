"""``agentrail serve`` while its file of settings changes: real processes, files and requests."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from anyio.abc import SocketStream
from attrs import define, field

from tests.cli.command import agentrail
from tests.cli.reloading import (
    APP,
    LOUD,
    PARTS,
    QUIET,
    Host,
    hosting,
    last_event,
    middlewares,
    plugins,
    profile,
    profiles,
    save,
    telling,
    writing_all_the_time,
)
from tests.model.upstream import END, HEAD, Answer, Upstream, event, frame, piece, running, says

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application, a file of settings and parts that it names."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "parts.py").write_text(PARTS, encoding="utf-8")
    (tmp_path / "agentrail.yaml").write_text(QUIET + profiles(), encoding="utf-8")
    return tmp_path


def say(here: Path, *parts: str) -> None:
    """Write the file before a host reads it."""
    save(here / "agentrail.yaml", "".join(parts))


# When the file is read anew.


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("backend", "usual", "apart"),
    [("asyncio", "", 0.025), ("trio", "reload: {quiet_seconds: 1}\n", 0.005)],
    ids=["in five seconds, with the usual settings", "in one second"],
)
def test_two_hundred_saves_are_one_reload(
    here: Path, backend: str, usual: str, apart: float
) -> None:
    say(here, usual, profiles())
    with hosting(here, "--backend", backend) as host:
        for number in range(200):
            host.file.write_text(usual + profiles(profile(prompt=f"save {number}")))
            time.sleep(apart)
        host.used(2)

        assert host.ask() == "save 199 [] hi"
        first, second = host.history()
        assert (first["action"], second["action"], second["actor"]) == ("start", "reload", "host")
        changed = {"path": "profiles.0.prompt", "before": "one", "after": "save 199"}
        assert second["changes"] == [changed]
        assert host.audit() == [
            ("config.start", "config:1", "ok"),
            ("config.reload", "config:2", "ok"),
        ]
        assert host.reload().headers["etag"] == '"2"'


@pytest.mark.parametrize(
    ("way", "backend"),
    [
        ("replaced", "asyncio"),
        ("replaced", "trio"),
        ("moved away first", "asyncio"),
        ("removed first", "trio"),
        ("written in place", "asyncio"),
    ],
)
def test_a_file_that_an_editor_exchanges_is_noticed(here: Path, backend: str, way: str) -> None:
    with hosting(here, "--backend", backend) as host:
        for revision in (2, 3):
            text = QUIET + profiles(profile(prompt=f"number {revision}"))
            if way == "written in place":
                host.file.write_text(text)
            elif way == "moved away first":
                host.file.rename(here / "agentrail.yaml~")
                host.save(text)
            elif way == "removed first":
                host.file.unlink()
                host.save(text)
            else:
                host.save(text)
            host.used(revision)
            assert host.ask() == f"number {revision} [] hi"
        assert host.state()["state"] == "ok"


@BACKENDS
def test_a_link_that_is_exchanged_as_kubernetes_does_is_noticed(here: Path, backend: str) -> None:
    conf = here / "conf"
    conf.mkdir()

    def mount(number: int) -> None:
        """Write the next state of the directory, and exchange the link to it."""
        there = conf / f"..2026_{number}"
        there.mkdir()
        text = QUIET + profiles(profile(prompt=f"number {number}"))
        (there / "agentrail.yaml").write_text(text)
        (conf / "..data_tmp").symlink_to(there.name)
        (conf / "..data_tmp").rename(conf / "..data")
        if number > 1:
            shutil.rmtree(conf / f"..2026_{number - 1}")

    mount(1)
    (conf / "agentrail.yaml").symlink_to("..data/agentrail.yaml")
    file = str(conf / "agentrail.yaml")
    with hosting(here, "--backend", backend, "--config", file) as host:
        assert host.ask() == "number 1 [] hi"
        for number in (2, 3, 4):
            mount(number)
            host.used(number)
            assert host.ask() == f"number {number} [] hi"
        assert [each["number"] for each in host.history()] == [1, 2, 3, 4]


@BACKENDS
def test_a_link_is_followed_to_wherever_it_leads_now(here: Path, backend: str) -> None:
    def text(number: int) -> str:
        return QUIET + profiles(profile(prompt=f"number {number}"))

    link = here / "conf.yaml"
    places = [here / name / "agentrail.yaml" for name in "ab"]
    for number, place in enumerate(places, 1):
        place.parent.mkdir()
        place.write_text(text(number))
    link.symlink_to(places[0])
    with hosting(here, "--backend", backend, "--config", str(link)) as host:
        assert host.ask() == "number 1 [] hi"
        (here / "other").symlink_to(places[1])
        (here / "other").rename(link)
        host.used(2)
        places[1].write_text(text(3))
        host.used(3)
        assert host.ask() == "number 3 [] hi"


@BACKENDS
def test_files_beside_it_that_are_written_all_the_time_do_not_hold_it_up(
    here: Path, backend: str
) -> None:
    """What is watched is one directory, with a log in it."""
    second = "reload: {quiet_seconds: 1}\n"
    say(here, second, profiles())
    with (
        hosting(here, "--backend", backend) as host,
        writing_all_the_time(here / "noise.log") as over,
    ):
        host.use(second, profiles(profile(prompt="two")), revision=2)

        assert not over.is_set()
        assert host.ask() == "two [] hi"


# A file that is refused.

BROKEN = profiles(profile(prompt="two")) + "sever: {}\nstop_grace: long\n"
FAULTS = [
    {
        "code": "config_unknown",
        "file": "agentrail.yaml",
        "key": "sever",
        "line": 4,
        "message": "there is no setting 'sever' here; did you mean 'server'?",
    },
    {
        "code": "config_type",
        "file": "agentrail.yaml",
        "key": "stop_grace",
        "line": 5,
        "message": "it must be a number",
    },
]


@BACKENDS
def test_a_broken_file_is_told_with_its_lines_and_nothing_changes(here: Path, backend: str) -> None:
    say(here, QUIET, profiles(), middlewares("a"), plugins("x"))
    with hosting(here, "--backend", backend) as host:
        host.save(QUIET, BROKEN)
        host.refused()

        state, answer = host.state(), host.reload()
        assert (state["state"], state["revision"]["number"]) == ("degraded", 1)
        assert state["faults"] == FAULTS
        assert (answer.status_code, answer.json()["code"]) == (422, "config_refused")
        assert answer.json()["faults"] == FAULTS
        assert host.ask() == "a(one [ask_x] hi)"
        assert [each["number"] for each in host.history()] == [1]
        refused = ("config.reload", "config", "failed")
        assert host.audit() == [("config.start", "config:1", "ok"), refused, refused]


@BACKENDS
def test_the_file_put_right_is_used_without_being_asked_for(here: Path, backend: str) -> None:
    with hosting(here, "--backend", backend) as host:
        host.save(QUIET, BROKEN)
        host.refused()
        assert host.state()["state"] == "degraded"

        host.use(QUIET, profiles(profile(prompt="two")), revision=2)

        state = host.state()
        assert (state["state"], state["faults"]) == ("ok", [])
        assert host.ask() == "two [] hi"
        assert host.audit()[-1] == ("config.reload", "config:2", "ok")


@BACKENDS
def test_the_file_as_it_was_before_mends_it_without_a_revision(here: Path, backend: str) -> None:
    with hosting(here, "--backend", backend) as host:
        host.save(QUIET, BROKEN)
        host.refused()
        host.save(QUIET, profiles())
        host.log.until("the settings can be used again")

        assert host.state()["state"] == "ok"
        assert [each["number"] for each in host.history()] == [1]


@BACKENDS
def test_a_file_that_is_gone_changes_nothing(here: Path, backend: str) -> None:
    with hosting(here, "--backend", backend) as host:
        host.file.unlink()
        host.refused()

        assert host.state()["state"] == "degraded"
        assert host.reload().status_code == 422
        assert host.ask() == "one [] hi"


@BACKENDS
def test_a_plugin_that_does_not_start_leaves_all_as_it_was(here: Path, backend: str) -> None:
    broken = 'plugins: {entries: [{name: broken, object: "parts:broken"}, %s]}\n'
    fresh = '{name: y, object: "parts:lives", config: {name: y}}'
    say(here, QUIET, profiles(), plugins("x"))
    with hosting(here, "--backend", backend) as host:
        host.save(QUIET, profiles(profile(prompt="two")), broken % fresh)
        host.refused()

        assert host.ask() == "one [ask_x] hi"
        (fault,) = host.state()["faults"]
        assert "'broken' did not start: no license" in fault["message"]
        assert host.log.having("parts: stop x") == []
        assert len(host.log.having("parts: start y")) == len(host.log.having("parts: stop y"))


@define
class Crowd:
    """Clients that read one stream after the other."""

    client: httpx.AsyncClient
    size: int
    heard: list[tuple[int, str]] = field(factory=list[tuple[int, str]])
    """The status and the text of each stream that has ended."""
    begun: list[int] = field(init=False)
    """How many streams each client has begun to read."""
    over: bool = False
    _more: anyio.Condition = field(factory=anyio.Condition)

    def __attrs_post_init__(self) -> None:
        self.begun = [0] * self.size

    async def read(self, number: int) -> None:
        """Read streams until it is over."""
        while not self.over:
            body = {"message": "tale", "agentId": "assistant"}
            heard = ""
            async with self.client.stream("POST", "/stream", json=body) as response:
                async for each in response.aiter_text():
                    if "and then" in each and "and then" not in heard:
                        self.begun[number] += 1
                        async with self._more:
                            self._more.notify_all()
                    heard += each
            self.heard.append((response.status_code, heard))

    async def all_read(self) -> None:
        """Wait until each client reads another stream than now."""
        now = list(self.begun)
        async with self._more:
            while any(one <= other for one, other in zip(self.begun, now, strict=True)):
                await self._more.wait()


@BACKENDS
def test_no_request_of_a_hundred_streams_fails_before_during_and_after_a_broken_file(
    here: Path, backend: str
) -> None:
    say(here, QUIET, profiles(), middlewares("a"), plugins("x"))
    with hosting(here, "--backend", backend) as host:
        crowd = anyio.run(broken_and_put_right, host)

        ends = [last_event(text) for _, text in crowd.heard]
        assert {status for status, _ in crowd.heard} == {200}
        assert {each.get("outcome") for each in ends} == {"completed"}
        said = [each["message"] for each in ends]
        assert set(said) == {"a(one [ask_x] tale)", "b(two [ask_y] tale)"}
        # The first two of each client began before the file was right.
        assert said.count("a(one [ask_x] tale)") >= 2 * crowd.size
        assert len(said) >= 3 * crowd.size
        assert host.log.having("parts: ") == [
            f"INFO parts: {each}" for each in ("start x", "start y", "stop x")
        ]


async def broken_and_put_right(host: Host) -> Crowd:
    """Break the file while a hundred clients read, and put it right again."""
    in_thread = anyio.to_thread.run_sync
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    url = host.client.base_url
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=50, trust_env=False
    ) as client:
        crowd = Crowd(client, 100)
        async with anyio.create_task_group() as tasks:
            for number in range(crowd.size):
                tasks.start_soon(crowd.read, number)
            await crowd.all_read()

            await in_thread(host.save, QUIET, BROKEN)
            await in_thread(host.refused)
            await crowd.all_read()
            state, answer = await in_thread(host.state), await in_thread(host.reload)
            assert (state["state"], state["faults"]) == ("degraded", FAULTS)
            assert (answer.status_code, answer.json()["faults"]) == (422, FAULTS)
            assert await in_thread(host.ask) == "a(one [ask_x] hi)"

            right = (QUIET, profiles(profile(prompt="two")), middlewares("b"), plugins("y"))
            await in_thread(host.save, *right)
            await in_thread(host.used, 2)
            assert (await in_thread(host.state))["state"] == "ok"
            await crowd.all_read()
            crowd.over = True
        await in_thread(host.log.until, "parts: stop x")
    return crowd


# Going back.

FIRST = (
    QUIET,
    profiles(profile(tools=["parts:greet"]), profile("first")),
    middlewares("a"),
    plugins("x"),
)
SECOND = (QUIET, profiles(profile(prompt="two")), middlewares("b"), plugins("y"))
THIRD = (QUIET, profiles(profile(prompt="three")))


BY = pytest.mark.parametrize(("by", "backend"), [("http", "asyncio"), ("command", "trio")])


def as_first(host: Host) -> None:
    assert host.ask() == "a(one [ask_x greet] hi)"
    assert host.ask(agent="first") == "a(one [ask_x] hi)"


def as_second(host: Host) -> None:
    assert host.ask() == "b(two [ask_y] hi)"
    assert host.post(agent="first").status_code == 404


def go_back(host: Host, by: str) -> None:
    if by == "http":
        answer = host.rollback(1)
        assert (answer.status_code, answer.headers["etag"]) == (200, '"3"')
        assert answer.json()["pinned"] is True
        return
    done = agentrail(host.here, "config", "rollback", "1")
    told = "until the file of settings is changed\n"
    assert (done.status, done.out, done.err) == (0, "revision 3 is used\n", told)


@BY
def test_a_rollback_answers_as_before_until_the_file_is_edited(
    here: Path, backend: str, by: str
) -> None:
    say(here, *FIRST)
    with hosting(here, "--backend", backend) as host:
        as_first(host)
        host.use(*SECOND, revision=2)
        as_second(host)

        go_back(host, by)

        as_first(host)
        assert host.history()[-1]["action"] == "rollback"
        assert host.audit()[-1] == ("config.rollback", "config:3", "ok")
        host.kill()
    with hosting(here, "--backend", backend) as host:
        as_first(host)
        assert host.state()["pinned"] is True
        assert [each["number"] for each in host.history()] == [1, 2, 3]

        host.use(*THIRD, revision=4)

        assert host.ask() == "three [] hi"
        assert host.state()["pinned"] is False
        host.kill()
    with hosting(here, "--backend", backend) as host:
        assert host.ask() == "three [] hi"


@BY
def test_a_rollback_is_possible_while_the_file_is_broken(here: Path, backend: str, by: str) -> None:
    say(here, *FIRST)
    with hosting(here, "--backend", backend) as host:
        host.use(*SECOND, revision=2)
        host.save(QUIET, BROKEN)
        host.refused()

        go_back(host, by)

        as_first(host)
        host.kill()
    with hosting(here, "--backend", backend) as host:
        as_first(host)
        assert host.state()["pinned"] is True

        host.use(*SECOND, revision=4)

        as_second(host)
        state = host.state()
        assert (state["state"], state["pinned"]) == ("ok", False)


@BACKENDS
def test_asking_for_a_reload_ends_a_rollback(here: Path, backend: str) -> None:
    say(here, *FIRST)
    with hosting(here, "--backend", backend) as host:
        host.use(*SECOND, revision=2)
        go_back(host, "http")

        assert host.reload().status_code == 200

        as_second(host)
        assert host.state()["pinned"] is False


# What changes.


@BACKENDS
def test_a_new_profile_answers_and_a_removed_one_ends_its_stream(here: Path, backend: str) -> None:
    say(here, QUIET, profiles(profile(), profile("old", prompt="old")))
    with hosting(here, "--backend", backend) as host, telling(host, "old") as stream:
        host.use(QUIET, profiles(profile(), profile("new", prompt="new")), revision=2)

        assert host.ask(agent="new") == "new [] hi"
        gone = host.post(agent="old")
        assert (gone.status_code, gone.json()["code"]) == (404, "agent_not_found")
        end = stream.end()
        assert (end["outcome"], end["message"]) == ("completed", "old [] story")


@contextmanager
def upstream(*answers: Answer) -> Generator[tuple[Upstream, anyio.from_thread.BlockingPortal]]:
    """Serve a provider of models beside the test."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(*answers)) as found,
    ):
        yield found, portal


@BACKENDS
def test_new_calls_go_to_a_changed_provider_and_a_stream_ends_with_the_old_one(
    here: Path, backend: str
) -> None:
    told = threading.Event()

    async def tells(_upstream: Upstream, stream: SocketStream) -> None:
        await stream.send(HEAD + frame(event(piece(content="Once upon"))))
        while not told.is_set():  # noqa: ASYNC110 - set in another thread
            await anyio.sleep(0.02)
        rest = [event(piece(content=" a time")), event(piece("stop")), b"data: [DONE]\n\n"]
        await stream.send(b"".join(map(frame, rest)) + END)

    def settings(url: str) -> str:
        provider = {"kind": "openai", "base_url": url, "api_key": "k"}
        return f"providers: {json.dumps({'house': provider})}\n" + profiles(
            profile(model="house:m")
        )

    with upstream(tells) as (old, portal), upstream(says("I am new")) as (new, _):
        say(here, QUIET, settings(old.base_url))
        with hosting(here, "--backend", backend) as host, telling(host) as stream:
            host.use(QUIET, settings(new.base_url), revision=2)

            assert host.ask() == "I am new"
            assert len(old.requests) == 1
            assert not old.left.is_set()
            told.set()
            end = stream.end()
            assert (end["outcome"], end["message"]) == ("completed", "Once upon a time")
            portal.call(old.left.wait)
            assert host.ask() == "I am new"
            assert len(old.requests) == 1


@BACKENDS
def test_limits_are_others_from_the_next_request_on(here: Path, backend: str) -> None:
    with hosting(here, "--backend", backend) as host:
        assert host.post("hello").status_code == 200
        host.use(QUIET, profiles(), "limits: {message_chars: 4}\n", revision=2)
        refused = host.post("hello")
        assert refused.status_code == 413, refused.text
        assert host.post("four").status_code == 200
        host.use(QUIET, profiles(), "limits: {message_chars: 5}\n", revision=3)
        assert host.post("hello").status_code == 200


@BACKENDS
def test_the_order_of_middlewares_is_that_of_the_file(here: Path, backend: str) -> None:
    say(here, QUIET, profiles(), middlewares("abc"))
    with hosting(here, "--backend", backend) as host, telling(host) as stream:
        assert host.ask() == "a(b(c(one [] hi)))"
        host.use(QUIET, profiles(), middlewares("ca"), revision=2)
        assert host.ask() == "c(a(one [] hi))"
        assert stream.end()["message"] == "a(b(c(one [] story)))"


@BACKENDS
def test_the_switch_of_all_plugins_stops_and_starts_them(here: Path, backend: str) -> None:
    say(here, QUIET, profiles(), plugins("x", "y"))
    with hosting(here, "--backend", backend) as host:
        assert host.ask() == "one [ask_x ask_y] hi"
        host.use(QUIET, profiles(), plugins("x", "y", enabled=False), revision=2)
        assert host.ask() == "one [] hi"
        host.log.until("parts: stop", times=2)
        host.use(QUIET, profiles(), plugins("x", "y"), revision=3)
        assert host.ask() == "one [ask_x ask_y] hi"

        assert lived(host) == ["start x", "start y", "stop y", "stop x", "start x", "start y"]


@BACKENDS
def test_an_entry_that_is_switched_off_is_stopped_when_its_streams_have_ended(
    here: Path, backend: str
) -> None:
    say(here, QUIET, profiles(), plugins("x", "y", "z"))
    with hosting(here, "--backend", backend) as host, telling(host) as stream:
        host.use(QUIET, profiles(), plugins("x", "y", "z", off=["y"]), revision=2)

        assert host.ask() == "one [ask_x ask_z] hi"
        assert lived(host) == ["start x", "start y", "start z"]
        assert stream.end()["message"] == "one [ask_x ask_y ask_z] story"
        host.log.until("parts: stop y")
        assert host.ask() == "one [ask_x ask_z] hi"
        assert lived(host) == ["start x", "start y", "start z", "stop y"]

        host.use(QUIET, profiles(), plugins("x", "y", "z"), revision=3)
        assert host.ask() == "one [ask_x ask_y ask_z] hi"
        assert lived(host)[4:] == ["start y"]


def lived(host: Host) -> list[str]:
    """Return which plugins were started and stopped, in order."""
    return [line.removeprefix("INFO parts: ") for line in host.log.having("INFO parts: ")]


@BACKENDS
def test_what_counts_from_the_next_start_is_told_and_changes_nothing(
    here: Path, backend: str
) -> None:
    say(here, QUIET, profiles(), "server: {port: 0}\n")
    more = "server: {port: 1, host: localhost}\ndata_dir: kept\n"
    with hosting(here, "--backend", backend, port=None) as host:
        host.use("reload: {quiet_seconds: 0.3}\n", profiles(), more, revision=2)
        warned = host.log.until("count from the next start on")

        expected = ["server.host", "server.port", "data_dir", "reload.quiet_seconds"]
        assert host.state()["restart"] == expected
        assert all(each in warned for each in expected)
        assert host.ask() == "one [] hi"
        assert not (here / "kept").exists()

        host.use(QUIET, profiles(), "server: {port: 0}\n", revision=3)
        assert host.state()["restart"] == []
        host.use("reload: {quiet_seconds: 0.3}\n", profiles(), more, revision=4)
        host.kill()
    with hosting(here, "--backend", backend) as host:
        assert host.state()["restart"] == []
        assert host.ask() == "one [] hi"
        assert (here / "kept" / "host.db").exists()


# Asking for it.


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@BACKENDS
def test_curl_asks_for_a_reload_without_a_body(here: Path, backend: str) -> None:
    say(here, LOUD, profiles())
    with hosting(here, "--backend", backend) as host:
        host.save(LOUD, profiles(profile(prompt="two")))

        url = f"{host.client.base_url}".rstrip("/") + "/api/config/reload"
        command = ["curl", "-sf", "-X", "POST", url]
        done = subprocess.run(command, capture_output=True, check=True, timeout=50)

        assert json.loads(done.stdout)["revision"]["number"] == 2
        assert host.ask() == "two [] hi"


@BACKENDS
def test_a_reload_is_refused_when_another_revision_is_expected(here: Path, backend: str) -> None:
    say(here, LOUD, profiles())
    with hosting(here, "--backend", backend) as host:
        tag = host.client.get("/api/config").headers["etag"]
        host.save(LOUD, profiles(profile(prompt="two")))

        wrong = host.reload(if_match='"7"')
        assert (wrong.status_code, wrong.json()["code"]) == (412, "precondition_failed")
        assert host.ask() == "one [] hi"
        right = host.reload(if_match=tag)
        assert (right.status_code, right.headers["etag"]) == (200, '"2"')
        assert host.ask() == "two [] hi"
        assert host.reload(if_match=tag).status_code == 412


@BACKENDS
def test_twenty_that_ask_at_once_make_one_revision(here: Path, backend: str) -> None:
    say(here, LOUD, profiles())
    with hosting(here, "--backend", backend) as host, ThreadPoolExecutor(20) as threads:
        together = threading.Barrier(20)

        def ask(_number: int) -> tuple[int, str, Any]:
            together.wait(50)
            answer = host.reload()
            return answer.status_code, answer.headers["etag"], answer.json()["state"]

        for revision in (2, 3):
            host.save(LOUD, profiles(profile(prompt=f"number {revision}")))
            assert set(threads.map(ask, range(20))) == {(200, f'"{revision}"', "ok")}
            assert host.ask() == f"number {revision} [] hi"
        assert [each["number"] for each in host.history()] == [1, 2, 3]
        assert len(host.audit()) == 3


@BACKENDS
def test_of_twenty_that_expect_the_same_revision_one_has_its_way(here: Path, backend: str) -> None:
    say(here, LOUD, profiles())
    with hosting(here, "--backend", backend) as host, ThreadPoolExecutor(20) as threads:
        together = threading.Barrier(20)

        def ask(_number: int) -> int:
            together.wait(50)
            return host.reload(if_match='"1"').status_code

        host.save(LOUD, profiles(profile(prompt="two")))
        assert sorted(threads.map(ask, range(20))) == [200] + 19 * [412]
        assert host.ask() == "two [] hi"
        assert [each["number"] for each in host.history()] == [1, 2]


# The host is killed.


def numbered(number: int) -> tuple[str, ...]:
    """Return settings with profiles, middleware and plugins of their own."""
    lines = (profile(prompt=f"number {number}"), profile(f"agent-{number}"))
    letters, names = "abc"[: number % 4], "xyz"[: number % 3]
    return QUIET, profiles(*lines), middlewares(letters), plugins(*names)


def answer_of(number: int) -> str:
    """Return what is answered with such settings."""
    letters = "abc"[: number % 4]
    tools = " ".join(f"ask_{each}" for each in "xyz"[: number % 3])
    opened = "".join(f"{each}(" for each in letters)
    return f"{opened}number {number} [{tools}] hi{')' * len(letters)}"


@BACKENDS
def test_killed_in_the_middle_of_reloads_it_starts_with_what_the_file_says(
    here: Path, backend: str
) -> None:
    saved = 0
    say(here, *numbered(0))
    for kill in range(5):
        with hosting(here, "--backend", backend) as host, ThreadPoolExecutor(9) as threads:
            state = host.state()
            assert (state["state"], host.ask()) == ("ok", answer_of(saved))
            before = state["revision"]["number"]
            reloads = threads.submit(reload_until_killed, host, saved)
            talks = [threads.submit(talk_until_killed, host) for _ in range(8)]
            host.used(before + 2 + kill % 3)
            host.kill()
            saved = reloads.result(50)
            assert {status for talk in talks for status in talk.result(50)} <= {200}
    with hosting(here, "--backend", backend) as host:
        assert host.ask() == answer_of(saved)
        numbers = [each["number"] for each in host.history()]
        last = numbers[-1]
        assert last > 5 * 2
        assert numbers == list(range(last - len(numbers) + 1, last + 1))
        made = [int(name.partition(":")[2]) for _, name, outcome in host.audit() if outcome == "ok"]
        assert made == list(range(1, last + 1))
        done = agentrail(here, "audit", "verify")
        assert (done.status, "the log is whole" in done.out + done.err) == (0, True)


def reload_until_killed(host: Host, saved: int) -> int:
    """Save one file after the other and ask for it; return the number of the last."""
    while True:
        saved += 1
        host.save(*numbered(saved))
        try:
            assert host.reload().status_code == 200
        except httpx.TransportError:
            return saved


def talk_until_killed(host: Host) -> list[int]:
    """Ask one thing after the other, and return how each was answered."""
    answered: list[int] = []
    while True:
        try:
            answered.append(host.post().status_code)
        except httpx.TransportError:
            return answered
