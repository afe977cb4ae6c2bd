"""Where a host keeps what its settings need: the data directory, the key, and the pin."""

import logging
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from types import ModuleType

import anyio
import pytest

from agentrail.admin import Managed
from agentrail.errors import ConfigError, ConfigRefused, HostNotRunning
from agentrail.host import create_app
from agentrail.secret import rotate_keys
from agentrail.settings import Configuration, SettingsSource
from tests.host.reloading import UNWATCHED, Site, site_of, until

pytestmark = pytest.mark.anyio


def again(site: Site, variables: Mapping[str, str] = UNWATCHED) -> Site:
    """Return a host of the same application that is started later."""
    settled = site.host.settled
    assert settled is not None
    app = create_app(settled.base, SettingsSource(site.path, variables))
    return Site(app.host, site.path)


def stop_grace(site: Site) -> float:
    return site.host.core.config.stop_grace


@pytest.mark.parametrize(
    "says", ["", "data_dir: '{0}/state'\n", "secrets: {{key_file: '{0}/k'}}\n"]
)
async def test_what_somebody_went_back_to_from_a_broken_file_outlasts_a_restart(
    tmp_path: Path, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    says = says.format(tmp_path)
    site = site_of(tmp_path, f"{says}stop_grace: 1\n")
    async with site.host:
        await site.use(f"{says}stop_grace: 2\n")
        with pytest.raises(ConfigRefused):
            await site.use(f"{says}stop_grace: soon\n")
        await site.configuration.rollback(1, "ada")
        assert site.configuration.state.pinned

    later = again(site)
    assert stop_grace(later) == 1
    async with later.host:
        assert later.configuration.state.pinned
        assert "which somebody went back to" in caplog.text
        assert await later.use(f"{says}stop_grace: 3\n") == 4
    assert stop_grace(again(later)) == 3


@pytest.mark.parametrize("said", ["data_dir: '{0}/state'\n", "secrets: {{key_file: '{0}/k'}}\n"])
async def test_nobody_goes_back_to_where_a_restart_would_not_look(
    tmp_path: Path, said: str
) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        assert await site.use(f"{said.format(tmp_path)}stop_grace: 2\n") == 2
        assert len(site.configuration.state.restart) == 1
        for number in (1, 2):  # the file says another place, and then the revision
            with pytest.raises(ConfigRefused, match="change these in the file itself"):
                await site.configuration.rollback(number, "ada")
            site.path.write_text("stop_grace: 3\n")
        assert stop_grace(site) == 2


async def test_another_key_file_counts_from_the_next_start_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    other = f"secrets: {{key_file: '{tmp_path}/other.key'}}\n"
    async with site.host:
        assert await site.use(f"stop_grace: 2\n{other}") == 2
        assert site.configuration.state.restart == ["secrets.key_file"]
        managed = site.host.part(Managed)
        await managed.vault.set("TOKEN", "abcdefgh", "ada")
        assert not (tmp_path / "other.key").exists()
        assert await site.use("stop_grace: 3\n") == 3
        assert (await site.configuration.rollback(1, "ada")).number == 4
        assert (managed.key_file(), stop_grace(site)) == (tmp_path / "data" / "secret.key", 1)

    site.path.write_text(other)
    later = again(site)
    async with later.host:
        assert "sealed with keys that this host does not have: 1 secret, 4 revisions" in caplog.text
        with pytest.raises(ConfigRefused, match="not among the 1 key"):
            await later.configuration.rollback(2, "ada")


async def test_a_key_that_goes_while_a_host_runs_is_told_and_no_other_is_made(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        await site.use("stop_grace: 2\n")
        await site.configuration.rollback(1, "ada")
        managed, before = site.host.part(Managed), len(await site.audited())
        managed.key_file().rename(tmp_path / "moved.key")
        await managed.look_again("ada", "r")
        assert [each.code for each in site.configuration.state.faults] == ["config_secret"]
        assert [each.outcome for each in (await site.audited())[before:]] == ["failed"]
        with pytest.raises(ConfigError, match="is gone"):
            await managed.vault.set("TOKEN", "abcdefgh", "ada")
        assert not managed.key_file().exists()

        (tmp_path / "moved.key").rename(managed.key_file())
        await managed.look_again("ada", "r")
        assert (site.configuration.state.state, stop_grace(site)) == ("ok", 1)


async def test_a_rotation_of_keys_makes_no_revision(tmp_path: Path) -> None:
    variables = {**UNWATCHED, "AGENTRAIL_SECRET_HOUSE": "abcdefgh"}
    site = site_of(
        tmp_path,
        "providers: {house: {kind: openai, api_key: 'secret:HOUSE'},"
        " other: {kind: openai, api_key: inline-value}}\n",
        source=lambda path: SettingsSource(path, variables),
    )
    async with site.host:
        managed, configuration = site.host.part(Managed), site.configuration
        before = configuration.revision
        seal = configuration.seal_anew
        await rotate_keys(managed.vault, managed.key_file(), "ada", also=seal)
        await managed.look_again("ada", "r")
        assert configuration.revision.number == 1
        assert configuration.revision.digest != before.digest
        assert configuration.state.state == "ok"
        await rotate_keys(managed.vault, managed.key_file(), "ada", also=seal)
        assert (await configuration.reload("ada")).number == 1
    later = again(site, variables)
    async with later.host:
        assert later.configuration.revision.number == 1


async def test_a_rotation_that_fails_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        managed = site.host.part(Managed)
        await managed.vault.set("TOKEN", "abcdefgh", "ada")
        mine = managed.key_file().read_bytes()
        managed.key_file().unlink()
    other = again(site)
    async with other.host:  # it makes a key that does not open the secret
        managed, keys = other.host.part(Managed), managed.key_file().read_bytes()
        with pytest.raises(ConfigError, match="put that key back"):
            await rotate_keys(managed.vault, managed.key_file(), "ada")
        assert managed.key_file().read_bytes() == keys != mine


async def test_who_follows_another_process_keeps_no_secret(tmp_path: Path) -> None:
    leads, follows = site_of(tmp_path, "stop_grace: 1\n"), site_of(tmp_path, "stop_grace: 1\n")
    async with leads.host, follows.host:
        leads.configuration.check_leads()
        with pytest.raises(HostNotRunning, match="another process"):
            follows.configuration.check_leads()
    async with follows.host:
        follows.configuration.check_leads()


FULL = """create trigger full before insert on config_revision
begin select raise(abort, 'the disk is full'); end"""


async def test_a_change_that_could_not_be_written_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quick, numbers = {"AGENTRAIL_RELOAD__QUIET_SECONDS": "0.01"}, count()
    caplog.set_level(logging.INFO)
    site = site_of(tmp_path, "stop_grace: 1\n", source=lambda path: SettingsSource(path, quick))
    site.path.write_text("stop_grace: 1\n")
    async with site.host:
        await anyio.wait_all_tasks_blocked()
        with closing(sqlite3.connect(tmp_path / "data" / "host.db", isolation_level=None)) as other:
            other.execute(FULL)
            while not site.configuration.faults:
                site.path.write_text(f"stop_grace: 7 # {next(numbers)}\n")
                await anyio.sleep(0.05)
            other.execute("drop trigger full")
        await until(lambda: not site.configuration.faults)
        assert stop_grace(site) == 7
    assert "the settings can be used again" in caplog.text


async def test_a_pin_that_a_changed_file_ended_does_not_come_back(tmp_path: Path) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        await site.use("stop_grace: 2\n")
        await site.configuration.rollback(1, "ada")
    for grace in (1, 2):
        site.path.write_text(f"stop_grace: {grace}\n")
        site = again(site)
        async with site.host:
            assert (stop_grace(site), site.configuration.state.pinned) == (grace, False)


async def test_a_revision_that_is_refused_at_a_start_is_named(tmp_path: Path) -> None:
    variables = {**UNWATCHED, "GRACE": "1"}
    site = site_of(
        tmp_path, "stop_grace: ${GRACE}\n", source=lambda path: SettingsSource(path, variables)
    )
    async with site.host:
        await site.use("stop_grace: 2\n")
        await site.configuration.rollback(1, "ada")
    with pytest.raises(ConfigRefused, match=r"revision 3 of agentrail.yaml:1: .*GRACE"):
        again(site)


async def test_a_host_that_has_no_file_any_more_goes_back_to_one(tmp_path: Path) -> None:
    site = site_of(tmp_path, "stop_grace: 1\n")
    async with site.host:
        pass
    assert site.host.settled is not None
    alone = create_app(site.host.settled.base, SettingsSource(None, UNWATCHED)).host
    async with alone:
        assert (await alone.part(Configuration).rollback(1, "ada")).number == 3
        assert alone.core.config.stop_grace == 1


async def test_what_everybody_may_write_tells_no_settings_and_where_the_data_is(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path, f"data_dir: '{tmp_path}/state'\nstop_grace: 1\n")
    source = SettingsSource(site.path, UNWATCHED)
    site.path.chmod(0o666)
    with pytest.raises(ConfigRefused, match="everybody"):
        source.read()
    assert source.places().settings.data_dir == f"{tmp_path}/state"
    assert source.places().settings.stop_grace == 10


@pytest.mark.parametrize(
    "says", ["data_dir: '${NOWHERE}/x'\n", "data_dir: d\nsecrets: {key_file: '${NOWHERE}/k'}\n"]
)
def test_a_place_that_cannot_be_told_is_not_guessed(tmp_path: Path, says: str) -> None:
    path = tmp_path / "agentrail.yaml"
    path.write_text(f"{says}stop_grace: soon\n")
    with pytest.raises(ConfigRefused, match=r"agentrail.yaml: .*NOWHERE"):
        SettingsSource(path, {}).places()


async def test_a_host_does_not_wait_for_a_plugin_that_starts_in_a_change(tmp_path: Path) -> None:
    begun = anyio.Event()

    class Slow:
        name = "slow"
        deadlines: Mapping[str, float] = {"start": 600}

        async def start(self) -> None:
            begun.set()
            await anyio.sleep_forever()

    module = ModuleType("slow_plugin")
    vars(module)["Slow"] = Slow
    told = list[str]()
    site = site_of(tmp_path, "stop_grace: 0.01\n")

    async def use() -> None:
        try:
            await site.use(
                "stop_grace: 0.01\nplugins: {entries: [{name: slow, object: 'slow_plugin:Slow'}]}\n"
            )
        except HostNotRunning as error:
            told.append(error.code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "slow_plugin", module)
        async with anyio.create_task_group() as tasks, site.host:
            tasks.start_soon(use)
            await begun.wait()
    assert told == ["host_not_running"]
