"""Whatever is written, a line is read or refused; and what was quoted comes back unchanged."""

from enum import Enum

from hypothesis import given
from hypothesis import strategies as st

from agentrail import Commands
from agentrail.command import Command, CommandInvalid, command, quote


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
    assert plugin._unknown(name, roles).endswith("/help lists the commands.")
