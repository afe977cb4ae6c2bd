"""What a package is given: what it was granted, and a recorded refusal for everything else."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import anyio
import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import PackageError, PermissionDenied
from agentrail.package import (
    PackageFile,
    PackageFiles,
    Permissions,
    PluginContext,
    read_package,
)
from agentrail.package._database import MOST_BYTES, MOST_ROWS
from agentrail.package._tools import table_of
from agentrail.tool import as_text
from tests.package.packages import Behind, make

pytestmark = pytest.mark.anyio


@pytest.fixture
def behind(tmp_path: Path) -> Behind:
    return Behind(tmp_path / "own", secrets={"KEY": "s3cr3t", "OTHER": "0ther"})


def context_of(
    behind: Behind, known: Mapping[str, object] | None = None, **granted: tuple[str, ...]
) -> PluginContext:
    root = behind.root.parent / "package"
    package = make(root, {} if root.exists() else {"__init__.py": ""})
    return behind.context(package, known, Permissions(**granted))  # type: ignore[arg-type]


CONFIG = {"units": {"temperature": "celsius", "wind": "knots"}, "key": "k", "list": [1]}


def test_the_configuration_is_what_was_declared_of_it(behind: Behind) -> None:
    context = context_of(behind, CONFIG, config=("units.temperature", "key", "absent.of.it"))

    assert context.config == {"units": {"temperature": "celsius"}, "key": "k"}
    assert context.get_config("units.temperature") == "celsius"
    assert context.get_config("absent.of.it", 3) == 3
    assert context.get_config("units.temperature.deeper", 3) == 3
    for key in ("units", "units.wind", "units.temp", "list", "", ".", "keys", "key ", "*"):
        with pytest.raises(PermissionDenied, match="'sample' was not granted config"):
            context.get_config(key)
    assert len(behind.denied) == 9
    assert behind.denied[1] == ("config", "units.wind")


def test_a_table_is_declared_with_what_is_in_it(behind: Behind) -> None:
    for declared in (("units", "units.wind"), ("units.wind", "units")):
        context = context_of(behind, CONFIG, config=declared)

        assert context.config == {"units": CONFIG["units"]}
        assert context.get_config("units.wind") == "knots"


def test_nothing_that_a_package_does_to_its_configuration_is_seen_outside(behind: Behind) -> None:
    context = context_of(behind, CONFIG, config=("units", "list"))

    context.get_config("list").append(2)  # type: ignore[attr-defined]
    context.config["units"]["wind"] = "gone"  # type: ignore[index]

    assert CONFIG["list"] == [1]
    assert CONFIG["units"] == {"temperature": "celsius", "wind": "knots"}


SOURCE = b"# /// plugin\n# id = 'sample'\n# version = '1.0.0'\n# ///\n"
ALONE = {"a.py": PackageFile(len(SOURCE), sha256(SOURCE).hexdigest())}
keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
tables: st.SearchStrategy[object] = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), tables), st.lists(keys, max_size=3), keys)
def test_a_key_is_told_if_it_is_below_a_declared_one_and_not_else(
    config: dict[str, object], declared: list[str], key: str
) -> None:
    """Property: and then in both ways to ask."""
    behind = Behind(Path("nowhere"))
    package = read_package(PackageFiles(ALONE, {"a.py": SOURCE}.__getitem__), "1.0.0")
    context = behind.context(package, config, Permissions(config=tuple(declared)))
    below = any(key == each or key.startswith(f"{each}.") for each in declared)
    whole: object = config
    seen: object = context.config
    for part in key.split("."):
        whole = table_of(whole).get(part)
        seen = table_of(seen).get(part)

    if below:
        assert context.get_config(key) == whole == seen
    else:
        with pytest.raises(PermissionDenied):
            context.get_config(key)
        assert not isinstance(seen, int)


def test_a_secret_is_shown_to_nobody_who_does_not_ask_for_it(behind: Behind) -> None:
    context = context_of(behind, secrets=("KEY", "UNSET"))
    secret = context.secret("KEY")

    shown = [f"{secret} {secret!r} {secret!s}", "%s %r" % (secret, secret), f"{[secret]}"]  # noqa: UP031
    shown += [
        json.dumps({"a": secret}, default=str),
        as_text({"a": secret}),
        as_text(secret),
        str(msgspec.to_builtins(secret)),
    ]
    shown += [str(attrs.asdict(secret)), repr(context), str(secret.__getstate__())]
    with pytest.raises(TypeError):
        shown.append(json.dumps(secret))

    assert not [text for text in shown if "s3cr3t" in text]
    assert str(secret) == "{{secret:KEY}}"
    assert secret.reveal() == "s3cr3t"
    with pytest.raises(PackageError, match="'UNSET' is not set"):
        context.secret("UNSET").reveal()
    with pytest.raises(PermissionDenied):
        context.secret("OTHER")
    assert behind.denied == [("secrets", "OTHER")]


async def test_state_and_events_are_the_hosts_to_keep(behind: Behind) -> None:
    context = context_of(behind)

    await context.state.put("a", b"1")
    context.emit("happened", count=1)

    assert await context.state.get("a") == b"1"
    assert behind.emitted == [("happened", {"count": 1})]
    assert context.logger.name == "agentrail.package.sample"


def test_directories_are_its_own_and_granted_one_by_one(behind: Behind) -> None:
    context = context_of(behind, read=("data:",), write=("scratch:",))

    assert context.directory("data:") == behind.root / "data"
    (context.directory("scratch:", write=True) / "a.txt").write_text("a")
    denied = [("data:", True), ("scratch:", False), ("/etc", False), ("", False), ("..", True)]
    for root, write in denied:
        with pytest.raises(PermissionDenied):
            context.directory(root, write=write)
    assert behind.denied[0] == ("filesystem", "write data:")
    assert len(behind.denied) == len(denied)


@pytest.fixture
def database(tmp_path: Path, behind: Behind) -> Iterator[sqlite3.Connection]:
    """As sessions are kept: a file in WAL mode, with its writer at work."""
    path = behind.database = tmp_path / "sessions 1%.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        """
        pragma journal_mode = wal;
        create table messages (id integer primary key, text text, tenant text);
        create table tokens (id integer primary key, value text);
        create view told as select text from messages;
        create view leaked as select m.text, t.value from messages m, tokens t;
        insert into messages values (1, 'one', 'a'), (2, 'two', 'b');
        insert into tokens values (1, 'hidden');
        """
    )
    yield connection
    connection.close()


READS = {
    "select id, text from messages order by id": [
        {"id": 1, "text": "one"},
        {"id": 2, "text": "two"},
    ],
    "select count(*) as n from messages": [{"n": 2}],
    "select m.id a, n.id b from messages m join messages n on n.id = m.id + 1": [{"a": 1, "b": 2}],
    "with m as (select text from messages where id = 1) select upper(text) t from m": [
        {"t": "ONE"}
    ],
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select i from n": [
        {"i": 1},
        {"i": 2},
        {"i": 3},
    ],
    "select text from MESSAGES where id in (select max(id) from main.messages)": [{"text": "two"}],
    "with tokens as (select 7 as value) select value from tokens": [{"value": 7}],
    "select 1 as one -- ; select 2": [{"one": 1}],
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) "
    "select count(*) as c from n": [{"c": 3}],
    "": [],
}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("sql", READS)
async def test_declared_tables_can_be_read(sql: str, behind: Behind) -> None:
    assert await context_of(behind, database=("messages",)).query(sql) == READS[sql]
    assert behind.denied == []


DENIED = {
    "select * from tokens": "tokens",
    "select count(*) from tokens": "tokens",
    "select 1 from messages where exists (select 1 from tokens)": "tokens",
    "select text, (select value from tokens) v from messages": "tokens",
    "select * from messages natural join tokens": "tokens",
    "select id from messages union select value from tokens": "tokens",
    "with messages as (select value from tokens) select * from messages": "tokens",
    "with t as (select * from tokens) select count(*) from t": "tokens",
    "select count(*) from pragma_table_list": "",
    "select count(*) from sqlite_master": "sqlite_master",
    "select * from main.tokens": "tokens",
    "select * from leaked": "tokens",
    "select value from leaked": "",
    "select name from sqlite_master": "sqlite_master",
    "select name from sqlite_schema": "sqlite_master",
    "select sql from sqlite_temp_master": "sqlite_temp_master",
    "select * from pragma_table_info('messages')": "",
    "select * from pragma_database_list": "",
    "select * from dbstat": "",
    "pragma table_info(messages)": "table_info",
    "pragma query_only = off": "query_only",
    "pragma writable_schema = on": "writable_schema",
    "attach '/tmp/other.db' as other": "",
    "attach ':memory:' as other": "",
    "detach main": "main",
    "insert into messages values (3, 'x', 'x')": "messages",
    "update messages set text = 'x'": "messages",
    "delete from messages": "",
    "insert into tokens select id, text from messages": "tokens",
    "replace into messages values (1, 'x', 'x')": "messages",
    "delete from messages returning text": "",
    "create table mine (a)": "",
    "create temp table mine (a)": "",
    "create temp view mine as select 1": "",
    "create temp trigger t after insert on messages begin select 1; end": "",
    "drop table messages": "",
    "alter table messages add column x": "",
    "analyze": "",
    "begin": "",
    "savepoint a": "",
    "select load_extension('/tmp/x.so')": "load_extension",
    "create virtual table v using fts5(a)": "",
}


@pytest.mark.parametrize("sql", DENIED)
async def test_nothing_else_can_be_done(
    sql: str, database: sqlite3.Connection, behind: Behind
) -> None:
    before = list(database.iterdump())

    with pytest.raises(PermissionDenied, match="a query may read messages, and not ") as caught:
        await context_of(behind, database=("messages",)).query(sql)

    assert DENIED[sql] in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert behind.denied == [("database", caught.value.detail)]
    assert list(database.iterdump()) == before


BAD = {
    "selec 1": "syntax error",
    "select absent from messages": "no such column",
    "select * from nowhere": "no such table",
    "select 1 as a; select 2 as b": "one statement",
    "select 1; delete from messages": "one statement",
    "select m.id, n.id from messages m, messages n": "two columns are named 'id'",
    "select 1, 1": "two columns are named '1'",
    "select ?": "bindings",
    "select 1 as \0": "null character",
    "select '\ud800' as a": "surrogates",
    f"select '{'x' * 100_000}' as a": "too large",
    f"select zeroblob({MOST_BYTES + 1}) as a": "too big",
    "select hex(zeroblob(900000000)) as a": "too big",
    "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select zeroblob(1000000) as a from n": f"more than {MOST_BYTES}",
    "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select count(*) as a from n": "longer than 2 s",
    "select count(*) as a from messages where text = readfile('/etc/passwd')": "no such function",
}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("sql", BAD)
async def test_a_query_that_is_none_is_an_error(sql: str, behind: Behind) -> None:
    with pytest.raises(PackageError, match=BAD[sql]) as caught:
        await context_of(behind, database=("messages",)).query(sql)

    assert type(caught.value) is PackageError
    assert behind.denied == []


@pytest.mark.usefixtures("database")
async def test_a_vacuum_writes_no_file(tmp_path: Path, behind: Behind) -> None:
    target = tmp_path / "copy.db"
    with pytest.raises(PackageError):
        await context_of(behind, database=("messages",)).query(f"vacuum into '{target}'")

    assert not target.exists()


@pytest.mark.usefixtures("database")
async def test_parameters_are_no_part_of_the_query(behind: Behind) -> None:
    context = context_of(behind, database=("messages",))
    sql = "select text from messages where tenant = ? and id < ?"

    assert await context.query(sql, ["b", 10]) == [{"text": "two"}]
    assert await context.query(sql, ["b' or 1=1 --", 10]) == []
    for bad in ([object(), 1], ["b", 2**70], ["b"], ["\ud800", 1]):
        with pytest.raises(PackageError):
            await context.query(sql, bad)


async def test_a_query_returns_a_bounded_number_of_rows(
    database: sqlite3.Connection, behind: Behind
) -> None:
    rows = ((number, "x", "a") for number in range(10, MOST_ROWS + 100))
    database.execute("begin")
    database.executemany("insert into messages values (?, ?, ?)", rows)
    database.execute("commit")

    found = await context_of(behind, database=("messages",)).query("select id from messages")

    assert len(found) == MOST_ROWS


async def test_a_query_sees_what_was_committed_and_blocks_nobody(
    database: sqlite3.Connection, behind: Behind
) -> None:
    context = context_of(behind, database=("messages",))
    database.execute("begin immediate")
    database.execute("insert into messages values (3, 'three', 'a')")
    before = await context.query("select count(*) as n from messages")
    database.execute("commit")
    after = await context.query("select count(*) as n from messages")

    assert (before, after) == ([{"n": 2}], [{"n": 3}])


@pytest.mark.usefixtures("database")
async def test_a_query_that_is_cancelled_is_not_waited_for(behind: Behind) -> None:
    context = context_of(behind, database=("messages",))
    endless = (
        "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) a from n"
    )

    with anyio.move_on_after(0.05) as scope:
        await context.query(endless)

    assert scope.cancelled_caught


async def test_without_a_grant_or_a_database_there_is_no_query(behind: Behind) -> None:
    with pytest.raises(PermissionDenied):
        await context_of(behind).query("select 1")
    assert behind.denied == [("database", "")]

    with pytest.raises(PackageError, match="no database that can be read"):
        await context_of(behind, database=("messages",)).query("select 1")
    behind.database = behind.root / "gone.db"
    with pytest.raises(PackageError, match="unable to open"):
        await context_of(behind, database=("messages",)).query("select 1")
    assert not behind.database.exists()
