"""What is forgotten is gone: from the answers, and from the bytes on the disk."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

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
        assert await office.memory.forget(ME, turn_id=said[word]) == 1
        assert bytes_of(tmp_path).count(word.encode()) == 0

    held = bytes_of(tmp_path)
    assert [word for word in gone if word.encode() in held] == []
    assert all(word.encode() in held for word in said.keys() - set(gone))
    assert len(await office.kept()) == 40


async def test_what_all_given_conditions_hold_for_is_forgotten(office: Office) -> None:
    await office.say("My parrot is green.", "one")
    await office.say("My parrot is away.", "two")
    await office.say("My cat is away.", "two")

    assert await office.memory.forget(ME, session_id="two", query="parrot") == 1
    assert await office.kept() == ["My parrot is green.", "My cat is away."]
    assert await office.memory.forget(ME, query="parrot cat") == 0
    assert await office.memory.forget(ME, session_id="\ud800", turn_id="\x00") == 0
    assert await office.memory.forget(ME, query="PARROT green") == 1
    assert await office.memory.forget(ME, session_id="two") == 1
    assert await office.kept() == []


async def test_everything_of_a_user_is_forgotten_and_nothing_of_others(
    office: Office, tmp_path: Path
) -> None:
    eve = Principal(user_id="eve")
    for number in range(5):
        await office.say(f"parrot mine{number}")
        await office.say(f"parrot hers{number}", who=eve)

    assert await office.memory.forget_all(ME) == 5

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
