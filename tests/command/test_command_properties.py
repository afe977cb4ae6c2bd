"""Whatever is written, a line is read or refused; and what was quoted comes back unchanged."""

import re
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail import Commands
from agentrail.command import Command, CommandInvalid, _words, command, quote
from tests.contexts import context_of


class Color(Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


@command
def tell(text: str, *, to: str = "", loud: bool = False, times: int = 1) -> None:
    """Tell something."""


@command
def paint(color: Color, words: list[str], *, size: float | None = None) -> None:
    """Paint words."""


@command
def note(title: str, count: int = 1) -> None:
    """Note something."""


COMMANDS = (tell, paint, note)
PIECES = ["--", "—", "--to", "--loud", "--no-loud", "--times", "=", '"', "'", "“", "”", "\\", " "]
LINES = st.lists(
    st.one_of(st.sampled_from([*PIECES, "\n", "red", "3", "x"]), st.text(max_size=5))
).map("".join)


@given(st.sampled_from(COMMANDS), st.one_of(LINES, st.text()))
def test_a_line_is_read_or_refused(made: Command, line: str) -> None:
    try:
        arguments = made.read(line)
    except CommandInvalid:
        pass
    else:
        assert arguments.keys() <= {each.name for each in made.parameters}
        assert arguments.keys() >= {each.name for each in made.parameters if each.required}


QUOTED = {'"': _words._DOUBLE, "'": _words._SINGLE, "“": _words._CURLY}
OPEN = re.compile(rf"(?:^|(?<=\s))(?:(?:--|—)\w[\w-]*=)?([{''.join(QUOTED)}])")


def characters_read(line: str) -> int:
    """Count what is looked at in search of the ends of quotations, one for each that may open."""
    found = 0
    for mark in OPEN.finditer(line):
        quoted = re.compile(QUOTED[mark[1]], re.DOTALL).match(line, mark.end())
        found += quoted.end() - mark.end() if quoted else 0
    return found


MARKS = ['"', "'", "“", "”", "\\", " ", "--to=", "x"]


@given(st.lists(st.sampled_from(MARKS), min_size=1, max_size=6), st.integers(1, 300))
def test_the_ends_of_quotations_are_searched_for_in_linear_time(
    pieces: list[str], times: int
) -> None:
    line = "".join(pieces) * times

    assert characters_read(line) <= len(QUOTED) * len(line)


@pytest.mark.parametrize("mark", QUOTED)
@pytest.mark.parametrize("word", ["{}a ", "--to={}a ", "{} ", "{}a\\ "])
def test_marks_that_open_and_do_not_close_are_read_in_linear_time(mark: str, word: str) -> None:
    line = word.format(mark) * 3_000

    assert characters_read(line) <= len(line)
    assert "".join(each.raw for each in _words.split(line)).startswith(word.format(mark).strip())


@given(st.text())
def test_a_quoted_text_comes_back_unchanged(text: str) -> None:
    assert tell.read(quote(text)) == {"text": text}


@given(st.lists(st.text(), min_size=1), st.text())
def test_quoted_words_come_back_unchanged(words: list[str], to: str) -> None:
    line = " ".join(["red", *map(quote, words)])

    assert paint.read(line) == {"color": Color.RED, "words": words}
    assert tell.read(f"--to={quote(to)} {quote(to)} --times 2 --loud") == {
        "to": to,
        "text": to,
        "times": 2,
        "loud": True,
    }
    assert note.read(f"{quote(to)} 3") == {"title": to, "count": 3}


@given(st.text(min_size=1).filter(lambda text: text == text.strip() and text[0] not in "\"'“-—"))
def test_a_text_stands_as_it_is_after_two_dashes(text: str) -> None:
    assert tell.read(f"--loud -- {text}") == {"loud": True, "text": text}


@given(st.text(), st.frozensets(st.text()))
def test_every_name_is_answered(name: str, roles: frozenset[str]) -> None:
    plugin = Commands(COMMANDS)

    assert {each.name for each in plugin.listing(roles)} == {"/help", "/tell", "/paint", "/note"}
    asked = context_of(roles=tuple(roles))
    assert plugin.help(asked, name).message
