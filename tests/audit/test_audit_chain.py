"""The audit chain: whatever is done to it afterwards shows."""

import sqlite3
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.audit import SCHEMA, Audit, AuditEntry, append, entries, verify

OPEN: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Closes what a test has opened."""
    yield
    while OPEN:
        OPEN.pop().close()


def database(path: str | Path = ":memory:") -> sqlite3.Connection:
    OPEN.append(sqlite3.connect(path))
    return OPEN[-1]


def chain(length: int = 5) -> sqlite3.Connection:
    connection = database()
    connection.executescript(SCHEMA)
    for number in range(1, length + 1):
        entry = Audit(
            actor="ada", action="package.enable", object=f"package:p{number}", detail="because"
        )
        append(connection, entry, 1000.0 + number)
    return connection


def unlock(connection: sqlite3.Connection) -> None:
    """Take away what keeps entries from being changed, as somebody with the file can."""
    connection.execute("drop trigger audit_is_not_changed")
    connection.execute("drop trigger audit_is_not_removed")


def test_a_chain_that_nobody_touched_is_whole() -> None:
    report = verify(chain())

    assert (report.entries, report.faults) == (5, ())


def test_the_chain_goes_on_when_the_file_is_opened_again(tmp_path: Path) -> None:
    database(tmp_path / "host.db").executescript(SCHEMA)
    for _ in range(2):
        connection = database(tmp_path / "host.db")
        append(connection, Audit(actor="ada", action="a", object="o"), 1.0)
        connection.commit()
        connection.close()

    report = verify(database(tmp_path / "host.db"))
    assert (report.entries, report.faults) == (2, ())


@pytest.mark.parametrize("statement", ["update audit set actor = 'x'", "delete from audit"])
def test_entries_are_neither_changed_nor_removed(statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        chain().execute(statement)


def test_an_entry_of_a_transaction_that_fails_is_not_there() -> None:
    connection = chain()
    connection.commit()
    append(connection, Audit(actor="ada", action="a", object="o"), 1.0)
    connection.rollback()

    assert verify(connection).entries == 5


COLUMNS = ["actor", "action", "object", "outcome", "detail", "before", "after", "request"]


@pytest.mark.parametrize("column", [*COLUMNS, "at", "hash", "previous"])
def test_a_changed_value_shows(column: str) -> None:
    connection = chain()
    unlock(connection)
    value = "7" if column == "at" else f"{column} || 'x'"
    connection.execute(f"update audit set {column} = {value} where seq = 3")  # noqa: S608

    assert verify(connection).faults


SWAP = """
update audit set seq = -1 where seq = 2; update audit set seq = 2 where seq = 3;
update audit set seq = 3 where seq = -1;
"""
ATTACKS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "one is removed from the middle": lambda c: c.execute("delete from audit where seq = 3"),
    "the first is removed": lambda c: c.execute("delete from audit where seq = 1"),
    "two change places": lambda c: c.executescript(SWAP),
    "one is removed and the rest moves up": lambda c: c.executescript(
        "delete from audit where seq = 3; update audit set seq = seq - 1 where seq > 3;"
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_removed_or_moved_shows(attack: str) -> None:
    connection = chain()
    unlock(connection)
    ATTACKS[attack](connection)

    assert verify(connection).faults


OTHER_TYPES = {
    "bytes that are written like the text": "x'{}'",
    "bytes that are no text": "x'ff00'",
    "a text that is none": "cast(x'ff00' as text)",
    "an infinite number": "9e999",
}


@pytest.mark.parametrize("value", OTHER_TYPES.values(), ids=list(OTHER_TYPES))
@pytest.mark.parametrize("column", [*COLUMNS, "at", "hash", "previous"])
def test_a_value_of_another_type_shows_and_hides_nothing(column: str, value: str) -> None:
    """In JSON, bytes are the text that is their base64."""
    connection = chain(0)
    first = Audit(
        actor="abcd",
        action="abcd",
        object="abcd",
        detail="abcd",
        before="abcd",
        after="abcd",
        request="abcd",
    )
    append(connection, first, 1.0)
    append(connection, Audit(actor="ada", action="a", object="o"), 2.0)
    unlock(connection)
    old = str(getattr(entries(connection)[1], column))
    same = b64decode(old) if len(old) % 4 == 0 else old.encode()
    change = f"update audit set {column} = {value.format(same.hex())} where seq = 1"  # noqa: S608
    connection.execute(change)

    report = verify(connection)
    assert (report.faults[0].seq, report.entries) == (1, 2)
    listed = entries(connection)
    assert [entry.seq for entry in listed] == [2, 1]
    assert msgspec.json.decode(msgspec.json.encode(listed), type=list[AuditEntry]) == listed
    assert append(connection, Audit(actor="ada", action="a", object="o"), 3.0).seq == 3


def test_a_cut_off_end_shows_against_a_head_that_was_noted() -> None:
    connection = chain()
    head = (5, verify(connection).head)
    unlock(connection)
    connection.execute("delete from audit where seq > 3")

    assert verify(connection).faults == ()
    assert [fault.seq for fault in verify(connection, head).faults] == [5]


def test_a_chain_written_anew_shows_against_a_head_that_was_noted() -> None:
    head = (5, verify(chain()).head)
    other = database()
    other.executescript(SCHEMA)
    for number in range(5):
        append(other, Audit(actor="eve", action="a", object="o"), float(number))

    assert verify(other).faults == ()
    assert verify(other, head).faults


def test_a_noted_head_that_is_still_there_is_no_fault() -> None:
    connection = chain()
    head = (5, verify(connection).head)
    append(connection, Audit(actor="ada", action="a", object="o"), 1.0)

    assert verify(connection, head).faults == ()


def test_a_text_forges_no_line_and_turns_no_direction() -> None:
    connection = chain(0)
    append(
        connection, Audit(actor="a\nb", action="\x1b[31m", object="\u202egnp", detail="x" * 9999), 1
    )
    entry = entries(connection)[0]

    assert (entry.actor, entry.action, entry.object) == ("a\\x0ab", "\\x1b[31m", "\\x202egnp")
    assert len(entry.detail) == 2000


def test_entries_are_read_page_by_page_and_by_what_they_are_about() -> None:
    connection = chain()

    assert [entry.seq for entry in entries(connection, limit=2)] == [5, 4]
    assert [entry.seq for entry in entries(connection, before=4, limit=2)] == [3, 2]
    assert [entry.seq for entry in entries(connection, object_prefix="package:p4")] == [4]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.data())
def test_any_single_change_of_any_entry_shows(texts: list[str], data: st.DataObject) -> None:
    connection = chain(0)
    for text in texts:
        append(connection, Audit(actor=text, action=text, object=text, detail=text), 1.0)
    unlock(connection)
    seq = data.draw(st.integers(1, len(texts)))
    column = data.draw(st.sampled_from(COLUMNS))
    old = getattr(entries(connection, before=seq + 1)[0], column)
    new = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    change = f"update audit set {column} = ? where seq = ?"  # noqa: S608
    connection.execute(change, (new, seq))

    assert bool(verify(connection).faults) is (old != new)
