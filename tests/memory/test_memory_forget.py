"""What is forgotten is gone: from the answers, and from the bytes on the disk."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from agentrail import Message
from agentrail.errors import RequestError
from agentrail.memory import Memory
from agentrail.requests import Principal, RequestContext, Services
from tests.memory.conftest import ME, Office, Open

pytestmark = pytest.mark.anyio


def bytes_of(directory: Path) -> bytes:
    """Return all that the memory's files hold, the log among them."""
    files = sorted(directory.glob("memory.db*"))
    assert len(files) == 3  # the host runs: the file, its log, and the index of that
    return b"".join(file.read_bytes() for file in files)


async def test_what_is_forgotten_is_in_no_file_any_more(office: Office, tmp_path: Path) -> None:
    """The words of many sizes, some of many pages, among others that stay."""
    dice = random.Random(5)  # noqa: S311 - words
    said: dict[str, str] = {}
    for number in range(60):
        word = f"zq{number:02}" + "".join(dice.choices("bcdfghjklmnp", k=12))
        said[word] = await office.say(f"{word} {'x' * dice.choice((0, 50, 9_000))} {word}")
    gone = dice.sample(sorted(said), 20)
    for word in gone:
        assert bytes_of(tmp_path).count(word.encode()) > 1
        assert (await office.memory.forget(ME, turn_id=said[word])).count == 1
        assert bytes_of(tmp_path).count(word.encode()) == 0

    held = bytes_of(tmp_path)
    assert [word for word in gone if word.encode() in held] == []
    assert all(word.encode() in held for word in said.keys() - set(gone))
    assert len(await office.kept()) == 40


DIES = """
import os, sys
from functools import partial

import anyio

from agentrail.memory import Memory, _sql
from agentrail.requests import Principal


async def main():
    memory = Memory(sys.argv[1], embed=None)
    await memory.start()
    await memory._db.write(partial(_sql.forget, who=Principal(), query="parrot"))
    os._exit(0)


anyio.run(main)
"""


async def test_what_was_forgotten_as_the_host_died_is_gone_after_the_next_start(
    open_office: Open, tmp_path: Path
) -> None:
    """It dies after the commit, when the log still holds what was there before."""
    async with open_office() as office:
        await office.say("My parrot is named Captain Flint.")
        await office.say("My cat is away.")
        command = [sys.executable, "-c", DIES, str(tmp_path / "memory.db")]
        await anyio.run_process(command)
        assert b"Flint" in bytes_of(tmp_path)
        copy = tmp_path / "copy"  # as the disk is when both are dead
        copytree(tmp_path, copy)

    async with open_office(Memory(copy / "memory.db")) as office:
        assert await office.kept() == ["My cat is away."]
        assert b"Flint" not in bytes_of(copy)


async def test_a_user_of_whom_nothing_is_left_is_not_named_any_more(
    office: Office, tmp_path: Path
) -> None:
    eve = Principal(user_id="eve@example.org")
    await office.say("My parrot is green.", who=eve)
    await office.say("My cat is away.", who=eve)

    await office.memory.forget(eve, query="cat")
    assert b"eve@example.org" in bytes_of(tmp_path)
    await office.memory.forget(eve, query="parrot")
    assert b"eve@example.org" not in bytes_of(tmp_path)
    await office.say("I am back.", who=eve)
    assert await office.found("back", eve) == ["I am back."]


async def test_turns_are_forgotten_while_others_are_taken_in_and_searched_for(
    office: Office, tmp_path: Path
) -> None:
    eve, gone = Principal(user_id="eve"), anyio.Event()

    async def talk(who: Principal) -> None:
        for number in range(25):
            await office.host.chat(office.request(f"zqparrot{number} {who.user_id}", who=who))

    async def forget() -> None:
        for number in range(24):
            while not (await office.memory.forget(ME, query=f"zqparrot{number}")).count:
                await anyio.lowlevel.checkpoint()
        gone.set()

    async def search() -> None:
        while not gone.is_set():
            await office.found("zqparrot1 local")

    async with anyio.create_task_group() as group:
        for who in (ME, eve):
            group.start_soon(talk, who)
        group.start_soon(forget)
        group.start_soon(search)
    await office.memory.settled()
    await office.memory.forget(ME, query="nothing of this")

    assert await office.kept() == ["zqparrot24 local"]
    assert await office.kept(eve) == [f"zqparrot{number} eve" for number in range(25)]
    held = bytes_of(tmp_path)
    assert [n for n in range(24) if b"zqparrot%d local" % n in held] == []
    assert b"zqparrot24 local" in held


async def test_what_all_given_conditions_hold_for_is_forgotten(office: Office) -> None:
    await office.say("My parrot is green.", "one")
    await office.say("My parrot is away.", "two")
    await office.say("My cat is away.", "two")

    assert (await office.memory.forget(ME, session_id="two", query="parrot")).count == 1
    assert await office.kept() == ["My parrot is green.", "My cat is away."]
    assert (await office.memory.forget(ME, query="parrot cat")).count == 0
    assert (await office.memory.forget(ME, session_id="\ud800", turn_id="\x00")).count == 0
    assert (await office.memory.forget(ME, query="PARROT green")).count == 1
    assert (await office.memory.forget(ME, session_id="two")).count == 1
    assert await office.kept() == []


STAND = [
    ("universe", "The universe is large.", True),
    ("universe", "Universities are large.", False),
    ("universities", "The universe is large.", False),
    ("parrot", "My parrots are green.", False),
    ("CAFE universe", "The Universe has a café.", True),
    ("café", "The cafe is closed.", True),
    ("foo_bar", "foo bar", False),
    ("foo", "foo_bar", False),
    ("don't", "don't panic", True),
    ("كتاب", "قرأت كتابا", False),
    ("كتاب", "قرأت الكتاب", False),
    ("الكتاب", "قرأت الكِتَاب", True),
    ("東京都", "東京と京都", False),
    ("京都", "東京と京都", True),
    ("大", "大学", True),
    ("हिंदी", "मैं हिंदी बोलता हूँ", True),
    ("ﬁne", "All is fine.", True),
    ("Straße", "Die STRASSE ist lang.", True),
    ("𞤆𞤵𞤤𞤢𞤪", "𞤆𞤵𞤤𞤢𞤪 said", True),
]


@pytest.mark.parametrize(("query", "said", "gone"), STAND)
async def test_words_forget_the_turns_in_which_they_stand_as_they_are(
    office: Office, query: str, said: str, *, gone: bool
) -> None:
    await office.say(said)

    forgotten = await office.memory.forget(ME, query=query)
    assert (forgotten.count, [turn.asked for turn in forgotten.turns]) == (
        (1, [said]) if gone else (0, [])
    )
    assert await office.kept() == ([] if gone else [said])


async def test_everything_of_a_user_is_forgotten_and_nothing_of_others(
    office: Office, tmp_path: Path
) -> None:
    eve = Principal(user_id="eve")
    for number in range(5):
        await office.say(f"parrot mine{number}")
        await office.say(f"parrot hers{number}", who=eve)

    assert (await office.memory.forget_all(ME)).count == 5

    assert await office.kept() == []
    assert len(await office.kept(eve)) == 5
    assert b"mine" not in bytes_of(tmp_path)
    assert await office.found("parrot") == []
    assert len(await office.found("parrot", eve)) == 5


@pytest.mark.parametrize(
    "query", ["", "?!", " ".join(f"word{number}" for number in range(33)), "word1 " * 1000]
)
async def test_what_would_forget_too_much_is_refused(office: Office, query: str) -> None:
    await office.say("word1")

    with pytest.raises(RequestError):
        await office.memory.forget(ME, query=query)
    with pytest.raises(RequestError):
        await office.memory.forget(ME)
    assert await office.kept() == ["word1"]


async def test_what_is_forgotten_is_not_taken_in_again(open_office: Open, tmp_path: Path) -> None:
    """As when the host dies after the hook, and announces the turn again."""
    memory = Memory(tmp_path / "memory.db")
    contexts: list[RequestContext] = []

    class Witness:
        name = "witness"

        def on_turn_persisted(self, context: RequestContext) -> None:
            contexts.append(context)

    async with open_office(memory, Witness()) as office:
        await office.say("My parrot is named Captain Flint.")
        await office.memory.forget_all(ME)
        await memory.on_turn_persisted(contexts[0])
        assert await office.kept() == []


async def test_a_session_that_is_deleted_is_forgotten(office: Office, tmp_path: Path) -> None:
    await office.say("My parrot is named Captain Flint.", "one")
    await office.say("My parrot is green.", "two")

    await office.host.delete_session(ME, "one")

    assert await office.kept() == ["My parrot is green."]
    assert b"Flint" not in bytes_of(tmp_path)


@pytest.mark.parametrize("when", ["before", "in the middle"])
async def test_a_session_that_is_deleted_while_its_turn_is_taken_in_leaves_nothing(
    open_office: Open, tmp_path: Path, when: str
) -> None:
    """It is deleted when the hook has not begun, and when it has read what was said."""
    memory = Memory(tmp_path / "memory.db")

    class Meddler:
        """Deletes the session before the memory's turn has come, or while that reads."""

        name = "meddler"
        priority = 1

        async def on_turn_persisted(self, context: RequestContext) -> None:
            self.read = context.services.session.turn
            if when == "before":
                await office.host.delete_session(ME, "one")
            else:
                services = cast("Services", SimpleNamespace(session=self))
                await memory.on_turn_persisted(replace(context, services=services))

        async def turn(self) -> Sequence[Message]:
            said = await self.read()
            assert said
            await office.host.delete_session(ME, "one")
            return said

    async with open_office(memory, Meddler()) as office:
        await office.say("My parrot is named Captain Flint.", "one")
        assert await office.kept() == []
        assert b"Flint" not in bytes_of(tmp_path)
