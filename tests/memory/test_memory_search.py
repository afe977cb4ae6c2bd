"""What is found, whatever the query holds and in whatever script it is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.memory import Memory
from agentrail.memory._terms import clean, phrases, terms
from tests.benchmarks.bench_memory import SCRIPTS
from tests.memory.conftest import ME, Office, Open

pytestmark = pytest.mark.anyio

PARROT = "My parrot is named Captain Flint."
QUERIES = [
    'parrot"',
    '"parrot',
    "parrot*",
    "parrot AND NOT flint OR",
    "NEAR(parrot flint, 5)",
    "said:parrot",
    "parrot'; drop table words; --",
    "^parrot + (flint",
    "{said owner}: parrot",
    "parrot \x00 flint",
    'owner:o1 OR owner:"o2" parrot',
    "parrot" + " word" * 200_000,
    "parrot \ud800",
]


@pytest.fixture
def words_alone(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory.db", embed=None)


async def test_what_is_syntax_to_the_index_is_text_here(
    open_office: Open, words_alone: Memory
) -> None:
    async with open_office(words_alone) as office:
        await office.say(PARROT)

        for query in QUERIES:
            assert await office.found(query) == [PARROT], query[:80]
        for query in ("", '"', "*", "()", "'' -- ;", "AND", "\x00", "\ud800", " " * 1_000_000):
            assert await office.found(query) == [], query[:80]


async def test_a_query_of_a_megabyte_is_searched_for_its_beginning(office: Office) -> None:
    await office.say(PARROT)

    assert await office.found("parrot " * 150_000) == [PARROT]
    assert await office.found("x" * 1_000_000) == []
    assert await office.found("\U0001f99c" * 1_000_000) == []


async def test_what_cannot_be_stored_is_replaced(office: Office) -> None:
    await office.say("My parrot \ud800 says \x00.")

    assert await office.kept() == ["My parrot \ufffd says ?."]


@pytest.mark.parametrize(("said", "query"), SCRIPTS)
async def test_words_are_found_in_scripts_without_spaces_and_with_marks(
    open_office: Open, words_alone: Memory, said: str, query: str
) -> None:
    async with open_office(words_alone) as office:
        await office.say(said)
        await office.say("unrelated")

        assert await office.found(query) == [said]


@given(st.text())
def test_every_phrase_of_a_text_is_quoted_and_looks_for_its_own_terms(text: str) -> None:
    found = set(terms(clean(text)))

    for phrase in phrases(clean(text), 1_000):
        assert phrase[0] == '"'
        assert phrase.count('"') == 2
        word = phrase.strip('"*')
        assert any(term.startswith(word) for term in found)


@given(st.text(), st.text())
def test_case_and_marks_do_not_count(before: str, after: str) -> None:
    assert terms(f"{before} CAFÉ {after}") == terms(f"{before} cafe\u0301 {after}")


async def test_the_meaning_finds_what_shares_no_word_and_the_words_a_name(office: Office) -> None:
    await office.say("I bought a car.")
    await office.say("Zorblatt has the number 4711.")
    await office.say("Bananas are yellow.")

    assert (await office.found("automobile"))[0] == "I bought a car."
    assert (await office.found("4711"))[0] == "Zorblatt has the number 4711."


async def test_a_common_word_does_not_hide_a_rare_one(
    open_office: Open, words_alone: Memory
) -> None:
    async with open_office(words_alone) as office:
        await office.say("The green parrot is away.")
        for number in range(10):
            await office.say(f"The meeting is at {number} in the green room.")

        found = await office.memory.search(ME, "the green parrot")
        assert [turn.asked for turn in found] == ["The green parrot is away."]
        assert len(await office.found("green")) == 10, "there are no others"


async def test_a_search_returns_no_more_than_it_is_asked_for(office: Office) -> None:
    for number in range(5):
        await office.say(f"parrot {number}")

    assert len(await office.memory.search(ME, "parrot", limit=2)) == 2
    assert len(await office.memory.search(ME, "parrot", limit=10**9)) == 5
    assert len(await office.memory.search(ME, "parrot", limit=0)) == 0
    assert len(await office.memory.search(ME, "parrot", limit=-1)) == 0
