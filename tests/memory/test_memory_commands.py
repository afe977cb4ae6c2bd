"""``/memory``: what users do with their memory themselves."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentrail import Commands
from agentrail.memory import Memory
from agentrail.requests import Principal
from tests.memory.conftest import ME, Office, Open

pytestmark = pytest.mark.anyio

PARROT = "My parrot is named Captain Flint."
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
    assert await answer(office, line, EVE) == "Forgotten: 0 turns."
    count = 2 - len(left)
    assert await answer(office, line) == f"Forgotten: {count} turn{'s' * (count != 1)}."
    assert await office.kept() == left


async def test_forgetting_nothing_in_particular_is_refused(office: Office) -> None:
    await office.say(PARROT)

    assert "say which turns are to be forgotten" in await answer(office, "/memory forget")
    assert await office.kept() == [PARROT]


async def test_an_export_is_a_line_of_json_for_each_turn(office: Office) -> None:
    for number in range(3):
        await office.say(f"{PARROT}\n{number}", f"s{number}")
    await office.say("Not mine.", who=EVE)

    turns = [json.loads(line) for line in (await answer(office, "/memory export")).splitlines()]

    assert [turn["asked"] for turn in turns] == [f"{PARROT}\n{number}" for number in range(3)]
    assert [turn["sessionId"] for turn in turns] == ["s0", "s1", "s2"]
    assert {turn["answered"] for turn in turns} == {"Noted."}
    assert await answer(office, "/memory export", Principal(user_id="nobody")) == ""


async def test_a_command_itself_is_not_remembered(office: Office) -> None:
    await answer(office, "/memory search parrot")
    await answer(office, "/memory nonsense")

    assert await office.kept() == []
