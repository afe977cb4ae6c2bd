"""``/memory``: what users do with their memory themselves."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentrail import Commands
from agentrail.memory import Memory
from agentrail.requests import ANSWER_CHARS, Principal
from tests.memory.conftest import ME, Office, Open

pytestmark = pytest.mark.anyio

PARROT = "My parrot is named Captain Flint."
BOTH = (PARROT, "My cat is away.")
EVE = Principal(user_id="eve")


@pytest.fixture
async def office(open_office: Open, tmp_path: Path) -> AsyncIterator[Office]:
    memory = Memory(tmp_path / "memory.db")
    async with open_office(memory, Commands(memory.commands)) as opened:
        yield opened


async def answer(office: Office, line: str, who: Principal = ME) -> str:
    return (await office.host.chat(office.request(line, who=who))).message


async def test_a_search_names_day_session_and_turn(office: Office) -> None:
    turn = await office.say(PARROT, "one")

    lines = (await answer(office, "/memory search bird parrot")).splitlines()
    assert lines[0].endswith(f", session one, turn {turn}")
    assert lines[1:] == [f"user: {PARROT}", "assistant: Noted."]
    assert await answer(office, "/memory search parrot", EVE) == "Nothing of that is remembered."


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ("parrot", ["My cat is away."]),
        ("is away", [PARROT]),
        ("--session one", []),
        ("--session one cat", [PARROT]),
        ("--turn TURN", ["My cat is away."]),
        ("--everything", []),
    ],
)
async def test_what_is_named_is_forgotten(office: Office, arguments: str, left: list[str]) -> None:
    turn = await office.say(PARROT, "one")
    await office.say("My cat is away.", "one")

    line = f"/memory forget {arguments.replace('TURN', turn)}"
    assert await answer(office, line, EVE) == "Nothing of that is remembered."
    count = 2 - len(left)
    told = await answer(office, line)
    assert told.startswith(f"Forgotten: {count} turn{'s' * (count != 1)}.\n\n")
    assert {PARROT in told, "My cat is away." in told} == {said not in left for said in BOTH}
    assert await office.kept() == left


async def test_of_much_that_is_forgotten_the_newest_is_told(office: Office) -> None:
    for number in range(8):
        await office.say(f"{PARROT} {number}")

    told = (await answer(office, "/memory forget parrot")).split("\n\n")
    assert [text.splitlines()[-2:-1] for text in told[1:-1]] == [
        [f"user: {PARROT} {number}"] for number in (7, 6, 5, 4, 3)
    ]
    assert (told[0], told[-1]) == ("Forgotten: 8 turns.", "and 3 more")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("search", "/memory search WORDS"),
        ("search parrot --everything", "/memory search WORDS"),
        ("search parrot --session one", "/memory search WORDS"),
        ("forget", "/memory forget --everything: all turns"),
        ("forget parrot --everything", "/memory forget --everything: all turns"),
        ("forget ''", "there is no word in what is to be forgotten"),
        ("forget --session ''", "Nothing of that is remembered."),
        ("forget '' --session one", "there is no word in what is to be forgotten"),
        ("export --session one", "/memory export [TURN]"),
    ],
)
async def test_what_says_too_little_or_too_much_is_told_how_to_say_it(
    office: Office, line: str, told: str
) -> None:
    await office.say(PARROT, "one")

    answered = await office.host.chat(office.request(f"/memory {line}"))
    assert told in answered.message
    assert answered.status == (200 if "remembered" in told else 422)
    assert await office.kept() == [PARROT]


async def test_an_export_is_a_line_of_json_for_each_turn(office: Office) -> None:
    for number in range(3):
        await office.say(f"{PARROT}\n{number}", f"s{number}")
    await office.say("Not mine.", who=EVE)

    turns = [json.loads(line) for line in (await answer(office, "/memory export")).splitlines()]

    assert [turn["asked"] for turn in turns] == [f"{PARROT}\n{number}" for number in range(3)]
    assert [turn["sessionId"] for turn in turns] == ["s0", "s1", "s2"]
    assert {turn["answered"] for turn in turns} == {"Noted."}
    assert turns[0].keys() == {"turnId", "sessionId", "at", "asked", "answered"}
    assert await answer(office, "/memory export", Principal(user_id="nobody")) == ""


async def test_an_export_that_is_too_large_says_how_to_go_on_and_loses_nothing(
    office: Office,
) -> None:
    bells = "\x07" * 15_000  # six characters each in JSON
    said = [f"{number} {bells}" for number in range(25)]
    for number, text in enumerate(said):
        await office.host.chat(office.request(text, f"s{number % 2}"))
    line, found, answers = "/memory export", list[str](), 0
    while line:
        text = await answer(office, line)
        assert len(text) <= ANSWER_CHARS // 2
        rows = [json.loads(row) for row in text.splitlines()]
        line = rows.pop()["next"] if "next" in rows[-1] else ""
        found += [row["asked"] for row in rows]
        answers += 1

    assert found == said
    assert answers == 5


async def test_an_export_goes_on_after_a_turn_of_the_users_own(office: Office) -> None:
    hers = await office.say(PARROT, who=EVE)
    mine = await office.say(PARROT)

    assert await answer(office, f"/memory export {mine}") == ""
    assert "is not remembered: begin without it" in await answer(office, f"/memory export {hers}")


async def test_a_command_itself_is_not_remembered(office: Office) -> None:
    await answer(office, "/memory search parrot")
    await answer(office, "/memory nonsense")

    assert await office.kept() == []
