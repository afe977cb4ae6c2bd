"""Every sentence can be said in another language."""

import string

import attrs
import pytest

from agentrail import ChatRequest, Commands, command, create_app
from agentrail.command import ENGLISH, Command, Texts
from agentrail.errors import ConfigError, ModelUnavailable
from tests.command.conftest import config_of
from tests.command.test_command_parsing import add, none, pick, plan, remind

pytestmark = pytest.mark.anyio


def marked() -> Texts:
    """Texts that say their own name, and what they are given."""
    texts: dict[str, str] = {}
    for field in attrs.fields(Texts):
        names = [name for _, name, _, _ in string.Formatter().parse(str(field.default)) if name]
        texts[field.name] = f"«{field.name}{''.join(f' {{{name}}}' for name in names)}»"
    return Texts(**texts)


@command
async def fail(how: str = "") -> None:
    """✗"""
    if how:
        raise ModelUnavailable("…")
    raise RuntimeError


@command(scope="admin")
async def purge() -> None:
    """✗"""


@command(background=True)
async def work() -> None:
    """✗"""


async def answer(message: str) -> str:
    plugin = Commands([remind, plan, pick, add, none, fail, purge, work], texts=marked())
    async with create_app(config_of(plugin)).host as host:
        return (await host.chat(ChatRequest(message, "s1"))).message


SAID = [
    ("/hlp", "«unknown hlp» «nearest /help» «see_help»"),
    ("/purge", "«forbidden purge»"),
    ("/work", "«started work»"),
    ("/none", "«done»"),
    ("/fail x", "«failed fail …»"),
    ("/fail", "«broke fail»"),
    ("/none x", "«unexpected x»\n«usage /none»"),
    ("/help help", "/help [<name>]\n«help»\nname: «help_name»; «string»"),
    ("/add x " + "1 " * 10_000, "«too_many add 1000»\n«usage /add <to> <items>…»"),
    ("/none " + "x" * 40_000, "«too_long none 32768»\n«usage /none»"),
    ("/add x 1 2 3 4", "«count items ≤ 3»\n«usage /add <to> <items>…»"),
]
REFUSED = [
    (remind, "--x y", "«unknown_option --x»"),
    (remind, "--no-urgent=1 y", "«no_value --no-urgent»"),
    (remind, "--days", "«needs_value --days «integer» (≥ 1, ≤ 30)»"),
    (remind, "--urgent --urgent y", "«twice --urgent»"),
    (remind, "--tag 'x", "«not_closed 'x»"),
    (remind, "", "«missing text «string»»"),
    (remind, "--on-date x y", "«wrong --on-date «date» x»"),
    (plan, "coffee 1 --quick", "«wrong name «string» («length ≤ 5», ^[a-z]+$) coffee»"),
    (plan, "tea x --quick", "«wrong hours «number» x»"),
    (plan, "tea 1 --quick=x", "«wrong --quick «boolean» x»"),
    (pick, "x", "«wrong priority «choice low, high» x»"),
]


@pytest.mark.parametrize(("message", "told"), SAID)
async def test_an_answer_is_in_the_texts_given(message: str, told: str) -> None:
    assert await answer(message) == told


@pytest.mark.parametrize(("made", "line", "told"), REFUSED)
def test_a_refusal_is_in_the_texts_given(made: Command, line: str, told: str) -> None:
    with pytest.raises(Exception, match="«") as caught:
        made.read(line, marked())

    assert str(caught.value) == told


def test_a_translation_may_leave_out_what_it_is_given() -> None:
    assert Texts(unknown="So etwas gibt es nicht.").unknown == "So etwas gibt es nicht."


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"unknown": "Kein {nmae}."}, "Texts.unknown is not given {nmae}"),
        ({"done": "{}"}, "Texts.done is not given {}"),
        ({"wrong": "{argument.name}"}, "Texts.wrong is not given {argument.name}"),
        ({"late": "{name"}, "Texts.late cannot be filled in: "),
    ],
)
def test_a_sentence_that_cannot_be_said_is_refused_at_once(
    texts: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Texts(**texts)

    assert caught.value.detail.startswith(told)


def test_the_texts_are_english_unless_others_are_given() -> None:
    assert Commands([]).texts is ENGLISH
