"""The settings of a running host: revisions, refusals, and who waits for whom."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from attrs import define, field

from agentrail import audit, secret, settings
from agentrail.audit import AuditEntry, entries, verify
from agentrail.clock import SYSTEM_CLOCK
from agentrail.errors import (
    AgentrailError,
    ConfigRefused,
    HostNotRunning,
    PreconditionFailed,
    RevisionNotFound,
    StorageError,
)
from agentrail.secret import Secrets, make_keys, read_keys, read_secrets
from agentrail.settings import Commit, Configuration, Reading, SettingsSource, WholeRevision
from agentrail.storage import Database

pytestmark = pytest.mark.anyio

SCHEMAS = (audit.SCHEMA, settings.SCHEMA, secret.SCHEMA)
UNWATCHED = {"AGENTRAIL_RELOAD__WATCH": "false"}


async def nothing() -> None:
    """Go on."""
    await anyio.lowlevel.checkpoint()


@define
class Applying:
    """Takes settings as a host does, and notes them."""

    taken: list[float] = field(factory=list[float])
    """The ``stop_grace`` of what was committed."""
    calls: int = 0
    begun: Callable[[], Awaitable[None]] = nothing
    """Is called before each commit."""

    async def apply(self, reading: Reading, _secrets: Secrets, commit: Commit) -> None:
        self.calls += 1
        await self.begun()
        await commit()
        self.taken.append(reading.settings.stop_grace)


@define
class Site:
    """A configuration, and what is around it."""

    directory: Path
    configuration: Configuration
    database: Database
    applying: Applying

    def write(self, text: str) -> None:
        (self.directory / "agentrail.yaml").write_text(text, encoding="utf-8")

    async def audited(self) -> list[AuditEntry]:
        return list(reversed(await self.database.read(entries)))


@asynccontextmanager
async def opened(
    directory: Path,
    text: str | None = None,
    variables: Mapping[str, str] | None = None,
    *,
    follows: bool = False,
    file: bool = True,
) -> AsyncGenerator[Site]:
    """Start a configuration of the file in a directory, which ``text`` is written into before."""
    path, variables = directory / "agentrail.yaml", variables or UNWATCHED
    if text is not None:
        path.write_text(text, encoding="utf-8")
    source = SettingsSource(path if file else None, variables)
    database, applying = Database(directory / "host.db", SCHEMAS), Applying()
    configuration = Configuration(
        source,
        database,
        SYSTEM_CLOCK,
        lambda: (
            read_keys(variables, directory / "secret.key") or make_keys(directory / "secret.key")
        ),
        lambda _: read_secrets(directory, variables),
        applying.apply,
        source.read(),
        read_secrets(directory, variables),
    )
    configuration.follows = follows
    await database.start()
    try:
        async with anyio.create_task_group() as group:
            await configuration.start(group)
            yield Site(directory, configuration, database, applying)
            await configuration.stop(30)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await database.stop()


def kept(directory: Path) -> dict[str, bytes]:
    """Return what the files of a database hold, by their names."""
    return {path.name: path.read_bytes() for path in directory.glob("host.db*")}


def wire(value: object) -> bytes:
    return msgspec.json.encode(value)


def grace(seconds: float) -> str:
    return f"stop_grace: {seconds}\n"


@define
class Gate:
    """Has whoever comes wait until it is opened."""

    entered: anyio.Event = field(factory=anyio.Event)
    open: anyio.Event = field(factory=anyio.Event)

    async def __call__(self) -> None:
        self.entered.set()
        await self.open.wait()


async def all_waiting() -> None:
    """Let every task run that can."""
    await anyio.wait_all_tasks_blocked()


# Revisions.


async def test_numbers_have_no_gap_and_changes_are_exact(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        first = site.configuration.revision
        site.write("stop_grace: 2\nlimits: {attachments: 3}\n")
        second = await site.configuration.reload("ada", request="r2")
        site.write("stop_grace: nonsense\n")
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("bob")
        site.write(grace(2))
        third = await site.configuration.reload("cy")

        assert [each.number for each in (first, second, third)] == [1, 2, 3]
        assert first.changes == ()
        told = [
            [(each.path, each.before, each.after) for each in one.changes]
            for one in (second, third)
        ]
        assert told == [
            [("stop_grace", 1.0, 2.0), ("limits.attachments", 20, 3)],
            [("limits.attachments", 3, 20)],
        ]
        history = await site.configuration.history()
        assert [(each.number, each.actor, each.action) for each in history] == [
            (3, "cy", "reload"),
            (2, "ada", "reload"),
            (1, "application", "start"),
        ]
        again = [await site.configuration.get(number) for number in (1, 2, 3)]
        assert wire(again) == wire([first, second, third])
        shown = {each.path: (each.value, each.source) for each in second.settings}
        assert shown["limits.attachments"] == (3, "agentrail.yaml:2")
        assert [each.number for each in await site.configuration.history(before=3, limit=1)] == [2]


async def test_each_change_and_each_refusal_has_one_audit_entry(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        two = await site.configuration.reload("ada", request="r2")
        site.write("stop_grace: nonsense\n")
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("bob", request="r3")
        await site.configuration.rollback(1, "cy", request="r4")

        digests = [(await site.configuration.get(n)).digest for n in (1, 2, 3)]
        assert digests[0] == digests[2] != digests[1]
        audited = await site.audited()
        assert [(e.actor, e.action, e.object, e.outcome, e.request) for e in audited] == [
            ("application", "config.start", "config:1", "ok", ""),
            ("ada", "config.reload", "config:2", "ok", "r2"),
            ("bob", "config.reload", "config", "failed", "r3"),
            ("cy", "config.rollback", "config:3", "ok", "r4"),
        ]
        assert [(e.before, e.after) for e in audited] == [
            ("", digests[0]),
            (digests[0], digests[1]),
            (two.digest, ""),
            (digests[1], digests[0]),
        ]
        assert "stop_grace" in audited[1].detail
        assert "agentrail.yaml:1: stop_grace" in audited[2].detail
        assert (await site.database.read(verify)).faults == ()


async def test_the_same_settings_make_no_revision(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        for text in (grace(1), "# a word about it\nstop_grace:   1\n", grace(1)):
            site.write(text)
            assert (await site.configuration.reload("ada")).number == 1
        assert site.applying.calls == 0
        assert len(await site.audited()) == 1


async def test_a_default_that_somebody_says_makes_a_revision(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(1) + "session_wait: 30.0\n")  # it counts more than what code says
        revision = await site.configuration.reload("ada")
        assert (revision.number, revision.changes) == (2, [])
        assert site.applying.taken == [1.0]


async def test_a_start_with_other_settings_makes_a_revision_and_one_with_the_same_none(
    tmp_path: Path,
) -> None:
    for text, number in [(grace(1), 1), (grace(1), 1), (grace(2), 2), (grace(2), 2), (grace(1), 3)]:
        async with opened(tmp_path, text) as site:
            revision = site.configuration.revision
            assert (revision.number, revision.action, revision.actor) == (
                number,
                "start",
                "application",
            )
            assert len(await site.audited()) == number


async def test_a_start_with_the_same_secret_makes_no_revision(tmp_path: Path) -> None:
    text = "providers: {house: {kind: openai, api_key: 'secret:HOUSE'}}\nreload: {watch: false}\n"
    for value, number in [("opensesame", 1), ("opensesame", 1), ("alakazam", 2), ("alakazam", 2)]:
        async with opened(tmp_path, text, {"AGENTRAIL_SECRET_HOUSE": value}) as site:
            assert site.configuration.revision.number == number, value
            await site.configuration.reload("ada")
            assert site.configuration.revision.number == number, value


async def test_a_secret_that_is_another_makes_a_revision_that_tells_no_more_of_it(
    tmp_path: Path,
) -> None:
    text = "providers: {house: {kind: openai, api_key: 'secret:HOUSE'}}\nreload: {watch: false}\n"
    variables = {"AGENTRAIL_SECRET_HOUSE": "opensesame"}
    async with opened(tmp_path, text, variables) as site:
        variables["AGENTRAIL_SECRET_HOUSE"] = "alakazam"
        revision = await site.configuration.reload("ada")

        assert [each.path for each in revision.changes] == ["providers.house.api_key"]
        assert "alakazam" not in str(revision)
    raw = b"".join(kept(tmp_path).values())
    assert b"alakazam" not in raw
    assert b"opensesame" not in raw


async def test_fifty_revisions_are_kept_and_the_one_that_is_pinned(tmp_path: Path) -> None:
    variables = {"AGENTRAIL_STOP_GRACE": "1"}
    async with opened(tmp_path, variables=variables, file=False) as site:
        for number in range(2, 61):
            variables["AGENTRAIL_STOP_GRACE"] = str(number)
            await site.configuration.reload("ada")
        history = await site.configuration.history(limit=1000)
        assert [each.number for each in history] == list(range(60, 10, -1))
        for gone in (1, 10, 61):
            with pytest.raises(RevisionNotFound):
                await site.configuration.get(gone)
            with pytest.raises(RevisionNotFound):
                await site.configuration.rollback(gone, "ada")
        assert site.configuration.revision.number == 60
        assert not site.configuration.faults


async def test_a_pinned_revision_outlasts_fifty_others(tmp_path: Path) -> None:
    variables = {"AGENTRAIL_RELOAD__WATCH": "false"}
    async with opened(tmp_path, "stop_grace: 1\n", variables) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")
        await site.configuration.rollback(1, "ada")
        for number in range(1, 56):
            variables["AGENTRAIL_SESSION_WAIT"] = str(number)
            await site.configuration.refresh("host")
        assert site.configuration.revision.number == 58
        assert site.configuration.state.pinned
        assert site.configuration.reading.settings.stop_grace == 1
        assert len(await site.configuration.history(limit=1000)) == 50


async def test_what_is_in_the_file_is_sealed(tmp_path: Path) -> None:
    lines = ["# a remark of mine", "providers: {mine: {kind: openai, api_key: hush-hush}}"]
    async with opened(tmp_path, "\n".join([*lines, grace(1)])) as site:
        site.write("\n".join([*lines, "stop_grace: nonsense"]))
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("ada")
        site.write("\n".join([*lines, grace(2)]))
        await site.configuration.reload("ada")
        await site.configuration.rollback(1, "ada")
        files = kept(tmp_path)
        assert sorted(files) == ["host.db", "host.db-shm", "host.db-wal"]
        raw = b"".join(files.values())
        with sqlite3.connect(tmp_path / "host.db") as connection:
            raw += "\n".join(connection.iterdump()).encode()
        connection.close()
    assert b"config_revision" in raw
    for line in [*lines, "stop_grace: 1", "hush-hush", "a remark"]:
        assert line.encode() not in raw


# What refuses settings, and what does not.

WRONG = [
    ("stop_grace: [\n", "agentrail.yaml:"),
    ("stop_grace: nonsense\n", "agentrail.yaml:1: stop_grace"),
    ("stop_grase: 1\n", "stop_grase"),
    ("stop_grace: ${NOT_THERE}\n", "NOT_THERE"),
    ("profiles: [{id: a, model: 'x:y'}, {id: a, model: 'x:y'}]\n", "another profile has this id"),
    ("session_wait: 'secret:NAME'\n", "session_wait"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
async def test_settings_that_are_refused_change_nothing(
    tmp_path: Path, text: str, reason: str
) -> None:
    async with opened(tmp_path, grace(1)) as site:
        before = site.configuration.revision, site.configuration.reading
        site.write(text)
        with pytest.raises(ConfigRefused) as caught:
            await site.configuration.reload("ada")

        assert reason in str(caught.value)
        state = site.configuration.state
        assert state.state == "degraded"
        assert tuple(state.faults) == tuple(caught.value.faults)
        assert (site.configuration.revision, site.configuration.reading) == before
        assert site.applying.calls == 0
        assert len(await site.audited()) == 2

        site.write(grace(2))
        assert (await site.configuration.reload("ada")).number == 2
        assert site.configuration.state.state == "ok"
        assert site.applying.taken == [2.0]


async def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        (tmp_path / "agentrail.yaml").unlink()
        with pytest.raises(ConfigRefused, match="cannot be read"):
            await site.configuration.reload("ada")
        (tmp_path / "agentrail.yaml").mkdir()
        with pytest.raises(ConfigRefused, match="Is a directory"):
            await site.configuration.reload("ada")
        assert site.configuration.revision.number == 1


async def test_the_file_as_it_was_mends_what_was_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write("stop_grace: nonsense\n")
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("ada")
        site.write(grace(1))
        assert (await site.configuration.reload("ada")).number == 1
        assert site.configuration.state.state == "ok"


@pytest.mark.parametrize("error", [RuntimeError("broken"), AgentrailError("broken")])
async def test_a_host_that_cannot_go_by_settings_has_them_refused(
    tmp_path: Path, error: Exception
) -> None:
    async with opened(tmp_path, grace(1)) as site:

        async def fail() -> None:
            raise error

        site.applying.begun = fail
        site.write(grace(2))
        with pytest.raises(ConfigRefused, match="broken"):
            await site.configuration.reload("ada")
        assert site.configuration.reading.settings.stop_grace == 1
        assert [e.outcome for e in await site.audited()] == ["ok", "failed"]

        site.applying.begun = nothing
        assert (await site.configuration.reload("ada")).number == 2


async def test_what_is_wrong_tells_no_secret(tmp_path: Path) -> None:
    text = "providers: {house: {kind: openai, api_key: 'secret:HOUSE'}}\nreload: {watch: false}\n"
    variables = {"AGENTRAIL_SECRET_HOUSE": "opensesame"}
    async with opened(tmp_path, text, variables) as site:
        site.configuration.secrets.value("HOUSE")

        async def fail() -> None:
            raise RuntimeError("the key opensesame was not taken")

        site.applying.begun = fail
        site.configuration.look = lambda _: site.configuration.secrets
        site.write(text + grace(2))
        with pytest.raises(ConfigRefused) as caught:
            await site.configuration.reload("ada")
        told = f"{caught.value} {site.configuration.state} {await site.audited()}"
        assert "opensesame" not in told
        assert "{{secret:HOUSE}}" in told


async def test_a_full_disk_changes_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, grace(1)) as site:
        writer = site.database._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        site.write(grace(2) + f"# {'long ' * 20_000}\n")
        with pytest.raises(StorageError, match="the disk is full"):
            await site.configuration.reload("ada")

        (fault,) = site.configuration.state.faults
        assert (fault.code, "the disk is full" in fault.message) == ("storage_failed", True)
        assert site.configuration.revision.number == 1
        assert site.configuration.reading.settings.stop_grace == 1
        assert site.applying.taken == []

        writer.execute("PRAGMA max_page_count = 100000")
        assert (await site.configuration.reload("ada")).number == 2
        assert site.configuration.state.state == "ok"
        objects = [e.object for e in await site.audited() if e.outcome == "ok"]
        assert objects == ["config:1", "config:2"]


async def test_settings_that_are_refused_while_nothing_can_be_written_are_not_used_either(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write("stop_grace: nonsense\n")
        await site.database.stop()
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("ada")
        assert site.configuration.state.state == "degraded"

        await site.database.start()
        site.write(grace(2))
        assert (await site.configuration.reload("ada")).number == 2


# Who waits for whom.


async def test_whoever_asks_while_a_reload_waits_shares_it(tmp_path: Path) -> None:
    gate, revisions = Gate(), list[WholeRevision]()

    async def ask(site: Site, actor: str) -> None:
        revisions.append(await site.configuration.reload(actor))

    async with opened(tmp_path, grace(1)) as site, anyio.create_task_group() as tasks:
        site.applying.begun = gate
        site.write(grace(2))
        tasks.start_soon(ask, site, "first")
        await gate.entered.wait()
        site.write(grace(3))
        for number in range(100):
            tasks.start_soon(ask, site, f"other {number}")
        await all_waiting()
        gate.open.set()
        while len(revisions) < 101:
            await anyio.lowlevel.checkpoint()

        assert [each.number for each in revisions] == [2] + [3] * 100
        assert site.applying.taken == [2.0, 3.0]
        assert (await site.configuration.get(3)).actor.startswith("other")


async def test_a_refusal_is_told_to_all_who_share_it(tmp_path: Path) -> None:
    gate, refused = Gate(), list[str]()

    async def ask(site: Site) -> None:
        with pytest.raises(ConfigRefused) as caught:
            await site.configuration.reload("ada")
        refused.append(str(caught.value))

    async with opened(tmp_path, grace(1)) as site:
        site.applying.begun = gate
        site.write(grace(2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.configuration.reload, "first")
            await gate.entered.wait()
            site.write("stop_grace: nonsense\n")
            for _ in range(10):
                tasks.start_soon(ask, site)
            await all_waiting()
            gate.open.set()
        assert len(refused) == 10
        assert [e.outcome for e in await site.audited()] == ["ok", "ok", "failed"]


@pytest.mark.parametrize("when", ["waiting", "under way"])
async def test_a_caller_that_is_cancelled_does_not_stop_a_reload(tmp_path: Path, when: str) -> None:
    gate = Gate()
    async with opened(tmp_path, grace(1)) as site, anyio.create_task_group() as tasks:
        site.applying.begun = gate
        site.write(grace(2))
        gone = anyio.CancelScope()

        async def ask() -> None:
            with gone:
                await site.configuration.reload("gone")

        if when == "waiting":
            tasks.start_soon(site.configuration.reload, "first")
            await gate.entered.wait()
            site.write(grace(3))
        tasks.start_soon(ask)
        await (all_waiting() if when == "waiting" else gate.entered.wait())
        gone.cancel()
        await all_waiting()
        gate.open.set()
        await site.configuration.refresh("ada")  # it comes after
        await site.configuration.reload("ada")
        assert site.applying.taken == ([2.0, 3.0] if when == "waiting" else [2.0])
        assert site.configuration.revision.actor == "gone"


async def test_a_host_that_stops_lets_the_change_under_way_end_and_no_other_begin(
    tmp_path: Path,
) -> None:
    gate, refused = Gate(), list[str]()

    async def ask(change: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(HostNotRunning) as caught:
            await change()
        refused.append(caught.value.detail)

    async with opened(tmp_path, grace(1)) as site, anyio.create_task_group() as tasks:
        configuration = site.configuration
        site.applying.begun = gate
        site.write(grace(2))
        tasks.start_soon(configuration.reload, "first")
        await gate.entered.wait()
        for _ in range(3):
            tasks.start_soon(ask, lambda: configuration.rollback(1, "ada"))
        tasks.start_soon(ask, lambda: configuration.reload("ada"))
        await all_waiting()
        tasks.start_soon(configuration.stop, 30)
        await all_waiting()
        await ask(lambda: configuration.rollback(1, "late"))
        gate.open.set()
        while len(refused) < 5:
            await anyio.lowlevel.checkpoint()

        assert site.applying.taken == [2.0]
        assert configuration.revision.number == 2
        assert {"the host does not run, so its settings are not read anew"} == set(refused)


async def test_who_follows_another_process_is_refused(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, grace(1)) as owner,
        opened(tmp_path, follows=True) as site,
    ):
        assert wire(site.configuration.revision) == wire(owner.configuration.revision)
        for change in (
            site.configuration.reload("ada"),
            site.configuration.refresh("ada"),
            site.configuration.rollback(1, "ada"),
        ):
            with pytest.raises(HostNotRunning, match="another process"):
                await change
        owner.write(grace(2))
        await owner.configuration.reload("ada")
        assert [each.number for each in await site.configuration.history()] == [2, 1]


async def test_who_follows_with_settings_of_its_own_writes_no_revision(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, grace(1)) as owner,
        opened(tmp_path, grace(2), follows=True) as site,
    ):
        assert site.configuration.revision.number == 0
        assert site.configuration.reading.settings.stop_grace == 2
        assert len(await owner.audited()) == 1


# Going back.


async def test_going_back_holds_until_the_file_is_changed(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        configuration = site.configuration
        site.write(grace(2))
        await configuration.reload("ada")
        back = await configuration.rollback(1, "ada")
        assert (back.number, back.action, back.actor) == (3, "rollback", "ada")
        assert configuration.state.pinned

        assert (await configuration.refresh("host")).number == 3
        assert configuration.state.pinned
        site.write(grace(5))
        four = await configuration.refresh("host")
        assert (four.number, four.actor, configuration.state.pinned) == (4, "host", False)
        assert site.applying.taken == [2.0, 1.0, 5.0]


async def test_a_reload_goes_by_the_file_also_after_going_back(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")
        await site.configuration.rollback(1, "ada")
        assert (await site.configuration.reload("ada")).number == 4
        assert not site.configuration.state.pinned
        assert site.applying.taken == [2.0, 1.0, 2.0]


async def test_a_reload_does_not_share_a_refresh_that_stays_where_somebody_went_back_to(
    tmp_path: Path,
) -> None:
    gate = Gate()
    async with opened(tmp_path, grace(1)) as site:
        configuration = site.configuration
        site.write(grace(2))
        await configuration.reload("ada")
        site.applying.begun = gate
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(configuration.rollback, 1, "ada")
            await gate.entered.wait()
            tasks.start_soon(configuration.refresh, "host")
            await all_waiting()
            tasks.start_soon(configuration.reload, "bob")
            tasks.start_soon(configuration.refresh, "host")
            await all_waiting()
            gate.open.set()
        assert site.applying.taken == [2.0, 1.0, 2.0]
        assert configuration.revision.actor == "bob"
        assert not configuration.state.pinned


async def test_going_back_to_the_present_revision_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        assert (await site.configuration.rollback(1, "ada")).number == 1
        assert site.applying.calls == 0
        assert not site.configuration.state.pinned


async def test_going_back_to_the_present_revision_leaves_a_bad_file_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write("stop_grace: nonsense\n")
        with pytest.raises(ConfigRefused):
            await site.configuration.reload("ada")
        assert (await site.configuration.rollback(1, "ada")).number == 1
        assert site.configuration.state.state == "ok"
        assert site.configuration.state.pinned
        assert (await site.configuration.refresh("host")).number == 1


async def test_going_back_to_what_the_file_says_pins_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")
        await site.configuration.rollback(1, "ada")
        assert (await site.configuration.rollback(2, "ada")).number == 4
        assert not site.configuration.state.pinned


async def test_going_back_to_what_is_sealed_with_a_key_that_is_gone_changes_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")
        (tmp_path / "secret.key").unlink()
        with pytest.raises(ConfigRefused, match="sealed with key"):
            await site.configuration.rollback(1, "ada")
        assert site.configuration.revision.number == 2
        assert site.applying.taken == [2.0]

        site.write(grace(3))
        assert (await site.configuration.reload("ada")).number == 3
        site.write(grace(4))
        await site.configuration.reload("ada")
        assert (await site.configuration.rollback(3, "ada")).number == 5


async def test_going_back_takes_the_variables_of_today(tmp_path: Path) -> None:
    variables = {"AGENTRAIL_RELOAD__WATCH": "false", "GRACE": "1"}
    async with opened(tmp_path, "stop_grace: ${GRACE}\n", variables) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")
        variables["GRACE"] = "7"
        await site.configuration.rollback(1, "ada")
        assert site.applying.taken == [2.0, 7.0]


async def test_a_host_that_cannot_go_back_stays_where_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        await site.configuration.reload("ada")

        async def fail() -> None:
            raise RuntimeError("no such object any more")

        site.applying.begun = fail
        with pytest.raises(ConfigRefused, match="no such object any more"):
            await site.configuration.rollback(1, "ada")
        state = site.configuration.state
        assert (state.state, state.pinned) == ("degraded", False)
        assert (await site.audited())[-1].action == "config.rollback"
        assert (await site.configuration.refresh("host")).number == 2
        assert site.configuration.state.state == "ok"


async def test_what_was_changed_since_it_was_looked_at_is_not_changed(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        site.write(grace(2))
        await site.configuration.reload("ada", match=1)
        for change in (
            site.configuration.reload("ada", match=1),
            site.configuration.rollback(1, "ada", match=1),
        ):
            with pytest.raises(PreconditionFailed, match="revision 2 is used"):
                await change
        assert (await site.configuration.rollback(1, "ada", match=2)).number == 3


async def test_what_is_being_changed_counts_as_changed(tmp_path: Path) -> None:
    gate, refused = Gate(), list[str]()

    async def ask(change: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(PreconditionFailed) as caught:
            await change()
        refused.append(caught.value.detail)

    async with opened(tmp_path, grace(1)) as site:
        configuration = site.configuration
        site.applying.begun = gate
        site.write(grace(2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(configuration.reload, "first")
            await gate.entered.wait()
            tasks.start_soon(ask, lambda: configuration.rollback(1, "ada", match=1))
            tasks.start_soon(ask, lambda: configuration.reload("ada", match=1))
            await all_waiting()
            gate.open.set()
        assert site.applying.taken == [2.0]
        assert len(refused) == 2


# The next start, and the file.


async def test_what_counts_from_the_next_start_on_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, grace(1)) as site:
        assert site.configuration.state.restart == []
        site.write(
            "server: {port: 1}\ndata_dir: elsewhere\nstop_grace: 2\nreload: {quiet_seconds: 1}\n"
        )
        await site.configuration.reload("ada")
        assert set(site.configuration.state.restart) == {
            "server.port",
            "data_dir",
            "reload.quiet_seconds",
        }
        site.write(grace(2))
        await site.configuration.reload("ada")
        assert site.configuration.state.restart == []


async def test_a_change_of_the_file_is_enough(tmp_path: Path) -> None:
    over = anyio.Event()

    async def note() -> None:
        over.set()

    quick = "reload: {quiet_seconds: 0.01}\n"
    async with opened(tmp_path, quick + grace(1), {"ANY": "thing"}) as site:
        site.applying.begun = note
        site.write(quick + grace(2))
        await over.wait()
        await site.configuration.refresh("ada")  # it comes after
        assert site.configuration.reading.settings.stop_grace == 2
        assert site.configuration.revision.actor == "host"
