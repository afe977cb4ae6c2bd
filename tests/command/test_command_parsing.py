"""From a line to arguments: what may be written, and what is said of the rest."""

from collections.abc import Callable, Iterator
from datetime import date
from enum import Enum
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from agentrail import RequestContext
from agentrail.command import Command, CommandInvalid, command
from agentrail.errors import ConfigError, PayloadTooLarge


class Priority(Enum):
    LOW = "low"
    HIGH = "high"


class Level(Enum):
    VERY_LOW = 1
    HIGH = 2


@command
def remind(
    _context: RequestContext,
    text: str,
    *,
    days: Annotated[int, Meta(ge=1, le=30)] = 1,
    urgent: bool = False,
    tag: tuple[str, ...] = (),
    on_date: date | None = None,
) -> None:
    """Remind me of something."""


@command
def plan(
    name: Annotated[str, Meta(max_length=5, pattern="^[a-z]+$")],
    hours: float,
    quick: bool,
    count: int = 3,
) -> None:
    """Plan something."""


@command
def pick(priority: Priority, *, level: Level = Level.HIGH, size: Literal[1, 2, "XL"] = 1) -> None:
    """Pick something."""


@command
def add(to: str, items: Annotated[list[int], Meta(max_length=3)]) -> None:
    """Add numbers."""


@command
def none() -> None:
    """Take nothing."""


READ: list[tuple[Command, str, dict[str, object]]] = [
    (remind, "buy milk", {"text": "buy milk"}),
    (remind, "don't forget 'this', it's \"ours\"", {"text": "don't forget 'this', it's \"ours\""}),
    (remind, "'tis the season", {"text": "'tis the season"}),
    (remind, "a  b\n  c", {"text": "a  b\n  c"}),
    (remind, '"buy milk"', {"text": "buy milk"}),
    (remind, "“buy milk”", {"text": "buy milk"}),
    (remind, '"buy" "milk"', {"text": '"buy" "milk"'}),
    (remind, r'"a \"b\" \\ \n"', {"text": r'a "b" \ \n'}),
    (remind, r"C:\new \o/", {"text": r"C:\new \o/"}),
    (remind, "--days 3 buy milk", {"days": 3, "text": "buy milk"}),
    (remind, "--days=3 buy milk", {"days": 3, "text": "buy milk"}),
    (remind, "--DAYS=3 buy milk", {"days": 3, "text": "buy milk"}),
    (remind, "buy milk --urgent --days 3", {"urgent": True, "days": 3, "text": "buy milk"}),
    (remind, "buy milk --days=3 --no-urgent", {"urgent": False, "days": 3, "text": "buy milk"}),
    (remind, "--urgent=false buy", {"urgent": False, "text": "buy"}),
    (remind, "—urgent buy milk", {"urgent": True, "text": "buy milk"}),
    (remind, "—hola — adiós", {"text": "—hola — adiós"}),
    (remind, "use --urgent here", {"text": "use --urgent here"}),
    (remind, "say --days", {"text": "say --days"}),
    (remind, "-- --days 3", {"text": "--days 3"}),
    (remind, "milk --", {"text": "milk --"}),
    (remind, "--text 'buy milk'", {"text": "buy milk"}),
    (remind, "--tag a --tag 'b c' x --tag=d", {"tag": ("a", "b c", "d"), "text": "x"}),
    (remind, "--tag='b c' x", {"tag": ("b c",), "text": "x"}),
    (remind, "--tag '--urgent' x", {"tag": ("--urgent",), "text": "x"}),
    (remind, "--on-date 2026-02-03 x", {"on_date": date(2026, 2, 3), "text": "x"}),
    (remind, "--on_date 2026-02-03 x", {"on_date": date(2026, 2, 3), "text": "x"}),
    (plan, "tea -1.5 --quick", {"name": "tea", "hours": -1.5, "quick": True}),
    (plan, "tea 2 --no-quick 7", {"name": "tea", "hours": 2.0, "quick": False, "count": 7}),
    (plan, "--hours 2 tea --quick", {"name": "tea", "hours": 2.0, "quick": True}),
    (pick, "high", {"priority": Priority.HIGH}),
    (pick, "HIGH --level very-low", {"priority": Priority.HIGH, "level": Level.VERY_LOW}),
    (pick, "low --size 2", {"priority": Priority.LOW, "size": 2}),
    (pick, "low --size xl", {"priority": Priority.LOW, "size": "XL"}),
    (add, "'the list' 1 2 3", {"to": "the list", "items": [1, 2, 3]}),
    (none, "", {}),
]


@pytest.mark.parametrize(("made", "line", "arguments"), READ)
def test_a_line_gives_its_arguments(made: Command, line: str, arguments: dict[str, object]) -> None:
    assert made.read(line) == arguments


REFUSED = [
    (remind, "", "text is missing: a text."),
    (remind, "--urgent", "text is missing: a text."),
    (remind, "--urgnt x", "There is no option --urgnt."),
    (remind, "--days 0 x", "--days must be a whole number (≥ 1, ≤ 30), not 0."),
    (remind, "--days \ud800 x", "--days must be a whole number (≥ 1, ≤ 30), not ?."),
    (remind, "--urgent=\udfff x", "--urgent must be true or false, not ?."),
    (plan, "tea \ud800 --quick", "hours must be a number, not ?."),
    (remind, "--days 1.5 x", "--days must be a whole number (≥ 1, ≤ 30), not 1.5."),
    (remind, f"--days {'9' * 5000} x", f"whole number (≥ 1, ≤ 30), not {'9' * 39}…."),
    (remind, "--days", "--days needs a value: a whole number (≥ 1, ≤ 30)."),
    (remind, "--days --urgent x", "--days needs a value: a whole number (≥ 1, ≤ 30)."),
    (remind, "--days 1 --days 2 x", "--days is given twice."),
    (remind, "--urgent --no-urgent x", "--urgent is given twice."),
    (remind, "--no-urgent=yes x", "--no-urgent takes no value."),
    (remind, "--urgent=maybe x", "--urgent must be true or false, not maybe."),
    (remind, '--tag "a b x', 'The quotation mark at "a is not closed.'),
    (remind, "--tag='a b x", "The quotation mark at 'a is not closed."),
    (remind, "--tag 'a'b x", "The quotation mark at 'a'b is not closed."),
    (remind, "--on-date today x", "--on-date must be a date such as 2026-01-31, not today."),
    (plan, "", "name is missing: a text (≤ 5 characters, ^[a-z]+$)."),
    (plan, "coffee 1 --quick", "must be a text (≤ 5 characters, ^[a-z]+$), not coffee."),
    (plan, "TEA 1 --quick", "name must be a text (≤ 5 characters, ^[a-z]+$), not TEA."),
    (plan, "tea nan --quick", "hours must be a number, not nan."),
    (plan, "tea 1e999 --quick", "hours must be a number, not 1e999."),
    (plan, "tea 1", "--quick is missing: true or false."),
    (plan, "tea 1 2 3 --quick", "Nothing is expected at 3."),
    (pick, "hihg", "priority must be one of low, high, not hihg."),
    (add, "list 1 b", "items must be a whole number, not b."),
    (add, "list 1 2 3 4", "items takes ≤ 3 values."),
    (none, "x", "Nothing is expected at x."),
]


@pytest.mark.parametrize(("made", "line", "told"), REFUSED)
def test_a_line_that_does_not_fit_is_refused_in_a_sentence(
    made: Command, line: str, told: str
) -> None:
    with pytest.raises(CommandInvalid) as caught:
        made.read(line)

    assert caught.value.detail.endswith(told)


def test_ten_thousand_arguments_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="/add takes up to 1000 words"):
        add.read("list " + "1 " * 10_000)


def test_a_text_may_have_ten_thousand_words() -> None:
    text = "a " * 9_999 + "a"

    assert remind.read(text) == {"text": text}


def test_a_megabyte_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="/remind takes up to 32768 characters"):
        remind.read("a" * 1_000_000)


USAGES = [
    (remind, "/remind [--days <days>] [--urgent] [--tag <tag>…] [--on-date <on-date>] <text>"),
    (plan, "/plan --quick <name> <hours> [<count>]"),
    (pick, "/pick [--level <very-low|high>] [--size <1|2|XL>] <low|high>"),
    (add, "/add <to> <items>…"),
    (none, "/none"),
]


@pytest.mark.parametrize(("made", "usage"), USAGES)
def test_the_usage_says_how_it_is_written(made: Command, usage: str) -> None:
    assert made.usage == usage


# Functions that are no commands.


def no_docstring() -> None: ...


def mapping(values: dict[str, int]) -> None:
    """Take what nobody can write."""


def nested(values: list[list[int]]) -> None:
    """Take lists in a list."""


def either(value: int | str) -> None:
    """Take what can be read in two ways."""


def anything(value: object) -> None:
    """Take anything."""


def many_first(values: list[int], name: str) -> None:
    """Take many, and then another."""


def negated(no_color: int, *, color: bool = False) -> None:
    """Have two options of one name."""


def same(from_: int, *, _from: int = 1) -> None:
    """Have two options of one name."""


def strange(*values: int) -> None:
    """Take any number."""


def pieces() -> Iterator[str]:
    """Yield."""
    yield "a"


BAD: list[tuple[Callable[..., object], str]] = [
    (no_docstring, "needs a docstring"),
    (mapping, "parameter 'values' has a type that nobody can write in a command: use str"),
    (nested, "parameter 'values' has a type that nobody can write"),
    (either, "parameter 'value' has a type that nobody can write"),
    (anything, "parameter 'value' has a type that nobody can write"),
    (many_first, "parameter 'values' takes many values: make it the last one or keyword-only"),
    (negated, "two parameters would be written --no-color"),
    (same, "two parameters would be written --from"),
    (strange, "use none of"),
    (pieces, "is a generator: make it an async one"),
]


@pytest.mark.parametrize(("function", "told"), BAD)
def test_a_function_that_can_be_no_command_is_refused(
    function: Callable[..., object], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        command(function)

    assert told in caught.value.detail
    assert function.__name__ in caught.value.detail


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "/a", "a" * 65])
def test_a_name_that_cannot_be_typed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a command"):
        command(none.function, name=name)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_command_has_some_time(seconds: float) -> None:
    with pytest.raises(ConfigError, match="seconds must be over 0"):
        command(none.function, seconds=seconds)


def test_a_function_gives_its_name_and_its_first_paragraph() -> None:
    @command
    def send_all_(text: str) -> None:
        """Send it
        to all.

        Not shown.

        Args:
            text: what to send
        """

    assert (send_all_.name, send_all_.description) == ("send-all", "Send it to all.")
    assert send_all_.parameters[0].description == "what to send"
