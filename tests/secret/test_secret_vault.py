"""Sealed secrets: kept, told of in the audit log, sealed anew, and nowhere to be read."""

import sqlite3
import sys
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from agentrail import audit, secret
from agentrail.audit import entries, verify
from agentrail.errors import ConfigError, InvalidId, RequestError, SecretNotFound, StorageError
from agentrail.secret import (
    KeyRing,
    SecretInfo,
    Vault,
    make_keys,
    read_keys,
    read_secrets,
    rotate_keys,
    sealed_in,
    write_keys,
)
from agentrail.storage import Database, Job
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio

T = TypeVar("T")

SCHEMAS: Final = (audit.SCHEMA, secret.SCHEMA)
CANARY: Final = "kanarienvogel-4711-é"
VALUES: Final = {"ONE": CANARY, "two": f"{CANARY}\n2", "_3": "3" * 65_536}

ROTATES: Final = """
import os, sys
from pathlib import Path
import anyio
from agentrail import audit, secret
from agentrail.clock import SYSTEM_CLOCK
from agentrail.storage import Database

class Dies(Database):
    left = int(sys.argv[3])

    def point(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 9)

    async def write(self, job, committed=None):
        def dying(connection):
            self.point()
            result = job(connection)
            self.point()
            return result

        result = await super().write(dying, committed)
        self.point()
        return result

async def main():
    data = Path(sys.argv[1])
    database = Dies(data / "host.db", (audit.SCHEMA, secret.SCHEMA))
    await database.start()
    file = data / "secret.key"
    vault = secret.Vault(database, SYSTEM_CLOCK, lambda: secret.make_keys(file))
    print(await secret.rotate_keys(vault, file, "ada"), flush=True)
    await database.stop()

anyio.run(main, backend=sys.argv[2])
"""


@define
class Site:
    """A vault in a directory."""

    data: Path
    vault: Vault

    @property
    def file(self) -> Path:
        return self.data / "secret.key"

    def values(self) -> dict[str, str | None]:
        """Return all values as another process reads them."""
        found = read_secrets(self.data, {})
        return {name: found.value(name) for name in found.names()}

    async def rows(self) -> dict[str, bytes]:
        return dict(await self.vault.database.read(sealed_in))

    async def put(self, name: str, sealed: object) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute("update secret set sealed = ? where name = ?", (sealed, name))

        await self.vault.database.write(job)

    async def told(self) -> list[tuple[str, str, str, str, str]]:
        """Return what the audit log says, the oldest first."""
        found = await self.vault.database.read(entries)
        assert {(e.before, e.after) for e in found} <= {("", "")}
        return [(e.actor, e.action, e.object, e.detail, e.request) for e in reversed(found)]

    async def fill(self) -> None:
        for name, value in VALUES.items():
            await self.vault.set(name, value, "ada")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    database = Database(tmp_path / "host.db", SCHEMAS)
    await database.start()
    keys = partial(make_keys, tmp_path / "secret.key")
    yield Site(tmp_path, Vault(database, FakeClock(), keys))
    await database.stop()


async def test_a_value_is_kept_and_replaced(site: Site) -> None:
    await site.fill()
    await site.vault.set("two", "another", "eve")

    assert site.values() == {**VALUES, "two": "another"}
    (key,) = make_keys(site.file).ids
    assert await site.vault.list() == [
        SecretInfo(name=name, changed_at=1000.0, changed_by=by, key=key)
        for name, by in (("ONE", "ada"), ("_3", "ada"), ("two", "eve"))
    ]


async def test_a_key_is_made_with_the_first_value(site: Site) -> None:
    assert await site.vault.list() == []
    assert not site.file.exists()

    await site.vault.set("X", "value", "ada")

    assert site.file.exists()


async def test_what_is_deleted_is_there_no_more(site: Site) -> None:
    await site.fill()
    await site.vault.delete("two", "ada")

    assert site.values().keys() == {"ONE", "_3"}
    for name in ("two", "TWO", "no name", "", "\ud800"):
        with pytest.raises(SecretNotFound):
            await site.vault.delete(name, "ada")


@pytest.mark.parametrize("name", ["", "1A", "a-b", "a.b", "../x", "é", "a" * 129, "A\n", CANARY])
async def test_what_is_no_name_is_refused_and_not_told(site: Site, name: str) -> None:
    with pytest.raises(InvalidId) as refused:
        await site.vault.set(name, "value", "ada")
    assert CANARY not in str(refused.value)
    assert await site.vault.list() == []


@pytest.mark.parametrize("value", ["", "a\0", f"{CANARY}\ud800", "é" * 32_769], ids=range(4))
async def test_what_is_no_value_is_refused_and_not_told(site: Site, value: str) -> None:
    with pytest.raises(RequestError) as refused:
        await site.vault.set("X", value, "ada")
    assert "kanarienvogel" not in repr(refused.value)
    assert refused.value.__context__ is None
    assert await site.vault.list() == []


async def test_each_change_is_in_the_audit_log(site: Site) -> None:
    await site.vault.set("X", CANARY, "ada", request="req_1")
    await site.vault.set("Y", CANARY, "ada")
    await site.vault.delete("X", "eve", request="req_2")
    ring = make_keys(site.file)
    await site.vault.rotate(ring, "bob", request="req_3")

    assert await site.told() == [
        ("ada", "secret.set", "secret:X", "", "req_1"),
        ("ada", "secret.set", "secret:Y", "", ""),
        ("eve", "secret.delete", "secret:X", "", "req_2"),
        ("bob", "secret.rotate", "secret:*", f"1 sealed with key {ring.ids[0]}", "req_3"),
    ]
    assert (await site.vault.database.read(verify)).faults == ()


async def test_without_its_audit_entry_nothing_is_changed(site: Site) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute(
            "create trigger full before insert on audit begin select raise(abort, 'full'); end"
        )

    await site.fill()
    before = await site.rows()
    await site.vault.database.write(broken)

    for change in (
        partial(site.vault.set, "X", "value", "ada"),
        partial(site.vault.delete, "two", "ada"),
        partial(site.vault.rotate, make_keys(site.file), "ada"),
        partial(rotate_keys, site.vault, site.file, "ada"),
    ):
        with pytest.raises(StorageError):
            await change()
    assert await site.rows() == before
    assert site.values() == VALUES


async def test_a_value_under_the_name_of_another_is_refused(site: Site) -> None:
    await site.fill()
    await site.put("two", (await site.rows())["ONE"])

    with pytest.raises(ConfigError, match=r"^secret:two is not what was sealed under that name"):
        site.values()
    with pytest.raises(ConfigError, match=r"^secret:two "):
        await site.vault.rotate(make_keys(site.file), "ada")
    await site.vault.delete("two", "ada")
    assert site.values().keys() == {"ONE", "_3"}


@pytest.mark.parametrize("sealed", [CANARY, b"", b"\xff", 7])
async def test_a_row_that_is_not_sealed_is_shown_and_told(site: Site, sealed: object) -> None:
    await site.fill()
    await site.put("two", sealed)

    assert [info.key for info in await site.vault.list() if info.name == "two"] == [""]
    with pytest.raises(ConfigError, match=r"^secret:two is damaged") as refused:
        site.values()
    assert CANARY not in str(refused.value)


async def test_rotation_seals_all_with_the_first_key(site: Site) -> None:
    await site.fill()
    old = make_keys(site.file)
    before = await site.rows()
    ring = KeyRing((b"n" * 32, *old.keys))

    assert await site.vault.rotate(ring, "ada") == 3

    assert {info.key for info in await site.vault.list()} == {ring.ids[0]}
    assert not {*before.values()} & {*(await site.rows()).values()}
    write_keys(site.file, KeyRing(ring.keys[:1]))
    assert site.values() == VALUES


async def test_rotation_without_the_key_before_changes_nothing(site: Site) -> None:
    await site.fill()
    before = await site.rows()

    with pytest.raises(ConfigError, match="not among the 1 key"):
        await site.vault.rotate(KeyRing((b"n" * 32,)), "ada")
    assert await site.rows() == before


async def test_keys_are_rotated_to_one_that_is_new(site: Site) -> None:
    await site.fill()
    old = make_keys(site.file)

    assert await rotate_keys(site.vault, site.file, "ada", request="req_1") == 3

    new = make_keys(site.file)
    assert len(new.ids) == 1
    assert new.ids != old.ids
    assert site.values() == VALUES
    assert (await site.told())[-1][1:] == (
        *("secret.rotate", "secret:*", f"3 sealed with key {new.ids[0]}"),
        "req_1",
    )


@pytest.mark.parametrize(
    ("point", "keys", "resealed"),
    [
        (1, 1, False),  # before anything
        (2, 2, False),  # sealed anew, and not committed
        (3, 2, True),  # committed
        (4, 2, True),  # about to drop the key before
        (5, 1, True),  # dropped
        (6, 1, True),  # just before the end
        (7, 1, True),  # not killed
    ],
)
async def test_wherever_rotation_is_killed_all_values_open(
    site: Site, anyio_backend_name: str, point: int, keys: int, resealed: bool
) -> None:
    await site.fill()
    (old,) = make_keys(site.file).ids
    command = [sys.executable, "-c", ROTATES, str(site.data), anyio_backend_name, str(point)]

    done = await anyio.run_process(command, check=False, stderr=sys.stderr)

    assert (done.returncode, done.stdout) == ((0, b"3\n") if point == 7 else (-9, b""))
    ring = make_keys(site.file)
    assert len(ring.ids) == keys
    assert {info.key for info in await site.vault.list()} == {ring.ids[0] if resealed else old}
    assert site.values() == VALUES
    assert await rotate_keys(site.vault, site.file, "eve") == 3
    assert len(make_keys(site.file).ids) == 1
    assert site.values() == VALUES


async def test_a_reader_of_before_does_not_keep_keys_from_being_rotated(site: Site) -> None:
    await site.fill()
    other = sqlite3.connect(site.data / "host.db", isolation_level=None)
    other.execute("begin")
    before = sealed_in(other)

    await rotate_keys(site.vault, site.file, "ada")

    assert sealed_in(other) == before
    other.close()
    assert len(make_keys(site.file).ids) == 1
    assert site.values() == VALUES


async def test_keys_that_are_not_in_the_file_are_not_rotated(site: Site) -> None:
    ring = KeyRing((b"v" * 32,))
    variables = {"AGENTRAIL_KEY": urlsafe_b64encode(ring.keys[0]).decode()}
    vault = Vault(site.vault.database, FakeClock(), lambda: read_keys(variables, site.file) or ring)

    for there in (False, True):
        if there:
            make_keys(site.file)
        with pytest.raises(ConfigError, match="AGENTRAIL_KEY counts before it: put a new key"):
            await rotate_keys(vault, site.file, "ada")
        assert site.file.exists() is there


async def test_rotations_and_changes_at_once_lose_nothing(site: Site) -> None:
    await site.fill()
    other = Database(site.data / "host.db", SCHEMAS)
    await other.start()
    twin = Vault(other, FakeClock(), site.vault.keys)

    async def change(vault: Vault, name: str) -> None:
        for number in range(10):
            await vault.set(name, str(number), "ada")

    async with anyio.create_task_group() as group:
        for vault in (site.vault, twin):
            group.start_soon(change, vault, f"CHANGED_{id(vault)}")
            for _ in range(3):
                group.start_soon(rotate_keys, vault, site.file, "ada")

    assert site.values() == VALUES | {f"CHANGED_{id(v)}": "9" for v in (site.vault, twin)}
    assert len(make_keys(site.file).ids) == 1
    await other.stop()


class Interrupted(Database):
    """Does something once, after the first of its writes."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def write(self, job: Job[T], committed: Callable[[T], object] | None = None) -> T:
        result = await super().write(job, committed)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return result


async def test_a_key_that_something_was_sealed_with_meanwhile_is_kept(site: Site) -> None:
    await site.fill()
    old = make_keys(site.file)
    late = Vault(site.vault.database, FakeClock(), lambda: old)  # it has read the keys before
    database = Interrupted(site.data / "host.db", SCHEMAS)
    await database.start()
    database.meanwhile = partial(late.set, "LATE", "value", "ada")

    await rotate_keys(Vault(database, FakeClock(), site.vault.keys), site.file, "ada")

    assert make_keys(site.file).ids[1:] == old.ids
    assert site.values() == VALUES | {"LATE": "value"}
    await rotate_keys(site.vault, site.file, "ada")
    assert len(make_keys(site.file).ids) == 1
    await database.stop()


async def test_no_value_and_no_key_is_anywhere(site: Site) -> None:
    await site.fill()
    kept = list[bytes]()

    async def look() -> None:
        for end in ("", "-wal"):
            kept.append(await anyio.Path(site.data / f"host.db{end}").read_bytes())

    await look()
    keys = [urlsafe_b64encode(key) for key in make_keys(site.file).keys]
    await rotate_keys(site.vault, site.file, "ada")
    await site.vault.delete("two", "ada")
    await look()
    await site.vault.database.empty_log()
    await look()

    shown = repr((site.vault, await site.vault.list(), make_keys(site.file)))
    told = repr(await site.told())
    for text in (*kept, shown.encode(), told.encode()):
        assert b"kanarienvogel" not in text
        assert b"33333333" not in text
        assert not any(key in text for key in keys)
    assert b"secret.set" in b"".join(kept)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,127}", fullmatch=True), st.text()))
async def test_what_is_set_is_what_is_read(values: dict[str, str]) -> None:
    kept = {name: value for name, value in values.items() if value and "\0" not in value}
    async with anyio.TemporaryDirectory() as directory:
        data = Path(directory)
        database = Database(data / "host.db", SCHEMAS)
        await database.start()
        vault = Vault(database, FakeClock(), partial(make_keys, data / "secret.key"))
        for name, value in kept.items():
            await vault.set(name, value, "ada")
        await rotate_keys(vault, data / "secret.key", "ada")
        found = read_secrets(data, {})
        assert {name: found.value(name) for name in found.names()} == kept
        await database.stop()
