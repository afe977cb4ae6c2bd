"""Every sentence can be said in another language."""

import string
from typing import Any

import anyio
import attrs
import pytest

from agentrail import ChatRequest, Commands, RequestContext, command, create_app
from agentrail.command import Command, Texts, in_language
from agentrail.errors import ConfigError, ModelUnavailable
from tests.command.conftest import config_of
from tests.command.test_command_parsing import add, none, pick, plan, remind

pytestmark = pytest.mark.anyio

SENTENCES = [field for field in attrs.fields(Texts) if field.name != "descriptions"]


def marked() -> Texts:
    """Texts that say their own name, and what they are given."""
    texts: dict[str, str] = {}
    for field in SENTENCES:
        names = [name for _, name, _, _ in string.Formatter().parse(str(field.default)) if name]
        texts[field.name] = f"«{field.name}{''.join(f' {{{name}}}' for name in names)}»"
    return Texts(**texts, descriptions={"plan": "«plan»", "plan.name": "«plan.name»"})


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
    await anyio.sleep_forever()


@command
async def much() -> str:
    """✗"""
    return "x" * 999_001


async def answer(message: str) -> str:
    made = [remind, plan, pick, add, none, fail, purge, work, much]
    plugin = Commands(made, texts=marked(), in_background=1)
    async with create_app(config_of(plugin)).host as host:
        if message == "/work again":
            message = "/work"
            await host.chat(ChatRequest(message, "s1"))
        return (await host.chat(ChatRequest(message, "s1"))).message


SAID = [
    ("/hlp", "«unknown hlp» «nearest /help» «see_help»"),
    ("/purge", "«forbidden purge»"),
    ("/work", "«started work»"),
    ("/work again", "«busy 1»"),
    ("/much", "«failed much «large 999000»»"),
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
    texts: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Texts(**texts)

    assert caught.value.detail.startswith(told)


GERMAN = Texts(
    unknown="Den Befehl /{name} gibt es nicht.",
    see_help="/help zeigt alle.",
    descriptions={"add": "Zählt zusammen.", "add.to": "wozu"},
)
FRENCH = Texts(unknown="Il n'y a pas de commande /{name}.")
TEXTS = {"en": Texts(), "de": GERMAN, "fr-CH": FRENCH}
LOCALES: list[tuple[object, str]] = [
    ("de", "Den Befehl"),
    ("de-AT", "Den Befehl"),
    ("DE_at", "Den Befehl"),
    ("fr-CH", "Il n'y a pas"),
    ("fr", "There is no"),
    ("ja, de-CH;q=0.8, en;q=0.9", "There is no"),
    ("ja, de-CH;q=0.9, en;q=0.8", "Den Befehl"),
    ("en;q=0, de", "Den Befehl"),
    ("de;q=x", "There is no"),
    ("", "There is no"),
    ("*", "There is no"),
    (",;=-\ud800\x00" * 100_000, "There is no"),
    (["de"], "There is no"),
    (None, "There is no"),
]


@pytest.mark.parametrize(("locale", "told"), LOCALES)
async def test_a_request_is_answered_in_its_language_or_else_in_the_first(
    locale: object, told: str
) -> None:
    async with create_app(config_of(Commands([add], texts=TEXTS))).host as host:
        answer = await host.chat(ChatRequest("/x", metadata={"locale": locale}))

    assert answer.message.startswith(told)


async def test_help_describes_commands_in_the_requests_language() -> None:
    async with create_app(config_of(Commands([add], texts=TEXTS))).host as host:
        asked = ChatRequest("/help add", metadata={"locale": "de"})
        german = (await host.chat(asked)).message.splitlines()
        english = (await host.chat(ChatRequest("/help add"))).message.splitlines()
        listed = await host.chat(ChatRequest("/help", metadata={"locale": "de"}))

    assert german[:3] == ["/add <to> <items>…", "Zählt zusammen.", "to: wozu; a text"]
    assert english[:3] == ["/add <to> <items>…", "Add numbers.", "to: a text"]
    assert listed.message.splitlines()[1] == "/add: Zählt zusammen."


async def test_a_command_answers_in_the_requests_language_itself() -> None:
    @command
    async def greet(context: RequestContext) -> str:
        """Greet."""
        return in_language({"en": "Hello.", "de": "Hallo."}, context.locale)

    async with create_app(config_of(Commands([greet]))).host as host:
        answer = await host.chat(ChatRequest("/greet", metadata={"locale": "de-AT"}))

    assert answer.message == "Hallo."


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (Texts(descriptions={"ad": "x"}), "Texts.descriptions has 'ad': no command, nor"),
        ({"en": Texts(descriptions={"add.from": "x"})}, "Texts.descriptions has 'add.from'"),
        ({}, "texts has no language"),
    ],
)
def test_texts_that_fit_no_command_or_language_are_refused(
    texts: Texts | dict[str, Texts], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Commands([add], texts=texts)
