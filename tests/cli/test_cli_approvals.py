"""``agentrail chat`` and ``agentrail sessions`` with calls that wait for approval."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import agentrail, serving, terminal

APP = '''
from pathlib import Path

from agentrail import AppConfig, Profile, ScriptedModel, create_app, tool
from agentrail.model import call_tools
from agentrail.tool import ask


@tool
def send(to: str) -> str:
    """Send a letter."""
    with Path("sent").open("a") as sent:
        sent.write(f"{to!r}\\n")
    return f"sent to {to}"


def say(request):
    last = request.messages[-1]
    if last.text == "hello":
        return "hello to you"
    if last.text.startswith("write"):
        return call_tools(*[("send", {"to": to}) for to in last.text.split(" to ")[1:]])
    results = [message for message in request.messages if message.role == "tool"]
    if len(results) == 1:
        return call_tools(("send", {"to": "the archive"}))
    return f"{len(results)} done"


app = create_app(
    AppConfig(
        profiles=[
            Profile(
                id="secretary",
                model="scripted:m",
                tools=[send],
                permissions=[ask("send", reason="letters cannot be called back.")],
            )
        ],
        providers=[ScriptedModel.repeat(say)],
    )
)
'''
"""Sends letters: after the first one, another one to the archive."""

ASKED = 'send {"to": "%s"}: letters cannot be called back. Allow? [y/N] '


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A directory with that application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


def sent(office: Path) -> list[str]:
    """Returns to whom letters were sent."""
    file = office / "sent"
    return file.read_text("utf-8").splitlines() if file.exists() else []


def test_a_person_is_asked_about_each_call_and_the_turn_goes_on(office: Path) -> None:
    with terminal(office, "chat", "write to ada to bob to cy") as person:
        person.answer(ASKED % "ada", "y\n")
        person.answer(ASKED % "bob", "\n")
        person.answer(ASKED % "cy", " YES\n")
        status, shown = person.end()

    assert status == 0
    assert shown.endswith("3 done\n")
    assert "… send: denied\n" in shown
    assert sorted(sent(office)) == ["'ada'", "'cy'"]


def test_a_turn_that_waits_again_is_asked_about_again(office: Path) -> None:
    with terminal(office, "chat", "write to ada") as person:
        person.answer(ASKED % "ada", "y\n")
        person.answer(ASKED % "the archive", "y\n")
        status, shown = person.end()

    assert (status, sent(office)) == (0, ["'ada'", "'the archive'"])
    assert shown.endswith("2 done\n")


def test_a_talk_goes_on_after_an_approval(office: Path) -> None:
    with terminal(office, "chat") as person:
        person.answer("> ", "write to ada to bob\n")
        person.answer(ASKED % "ada", "n\n")
        person.answer(ASKED % "bob", "sure\n")
        person.answer("> ", "hello\n")
        person.answer("> ", "/quit\n")
        status, shown = person.end()

    assert (status, sent(office)) == (0, [])
    assert "\n2 done\n" in shown
    assert "\nhello to you\n" in shown


def test_what_was_typed_before_the_question_is_no_answer(office: Path) -> None:
    with terminal(office, "chat") as person:
        person.answer("> ", "write to ada to bob\ny\ny\n")
        person.answer(ASKED % "ada", "n\n")
        person.answer(ASKED % "bob", "n\n")
        person.answer("> ", "/quit\n")
        person.end()

    assert sent(office) == []


def test_what_steers_a_terminal_is_shown_harmless_and_in_full(office: Path) -> None:
    name = "eve\x1b[2K\u202e  " + "x" * 200
    with terminal(office, "chat", f"write to {name} to bob") as person:
        person.answer(ASKED % ("eve\\u001b[2K\N{REPLACEMENT CHARACTER}  " + "x" * 200), "y\n")
        person.answer(ASKED % "bob", "y\n")
        status, _ = person.end()

    assert (status, len(sent(office))) == (0, 2)


def test_the_end_of_the_input_decides_nothing(office: Path) -> None:
    with terminal(office, "chat", "write to ada to bob") as person:
        person.answer(ASKED % "ada", "y\n")
        person.answer(ASKED % "bob", "\x04")
        status, shown = person.end()

    assert (status, sent(office)) == (1, [])
    waits = shown.partition("waits for approval:\n")[2]
    assert waits.startswith('  send {"to": "bob"}: letters cannot be called back\n    POST /turns/')
    assert '"ada"' not in waits


def test_without_a_terminal_it_is_told_what_waits_and_where_to_decide(office: Path) -> None:
    done = agentrail(office, "chat", "--new", "write to ada to bob")

    assert (done.status, done.out) == (1, "")
    found = re.fullmatch(
        r"session (?P<session>ses_\w+)\n"
        r"turn (?P<turn>turn_\w+) of session (?P=session) waits for approval:\n"
        r'  send \{"to": "ada"\}: letters cannot be called back\n'
        r"    POST (?P<ada>/turns/(?P=turn)/approvals/call_\w+)\n"
        r'  send \{"to": "bob"\}: letters cannot be called back\n'
        r"    POST (?P<bob>/turns/(?P=turn)/approvals/call_\w+)\n"
        r"decide while it is served, with (?P<yes>\{.*\}) or (?P<no>\{.*\})\n",
        done.err,
    )
    assert found is not None, done.err
    with serving(office) as host:
        first = host.client.post(found["ada"], json=json.loads(found["yes"]))
        last = host.client.post(found["bob"], json=json.loads(found["no"]))
    assert (first.status_code, last.json()["message"]) == (202, "2 done")
    assert sent(office) == ["'ada'"]


def test_a_piped_talk_is_not_answered_by_its_next_line(office: Path) -> None:
    done = agentrail(office, "chat", stdin="write to ada\ny\nhello\n")

    assert sent(office) == []
    assert done.out.endswith("hello to you\n")


# sessions


def test_a_session_whose_turn_waits_is_marked(office: Path) -> None:
    agentrail(office, "chat", "--session", "plain", "hello")
    agentrail(office, "chat", "--session", "letters", "write to ada to bob")

    listed = agentrail(office, "sessions", "list").out
    shown = agentrail(office, "sessions", "show", "letters").out

    (turn,) = re.findall(r"turn_\w+", listed)
    assert re.findall(r"^(\w+) +secretary +1(.*)$", listed, re.MULTILINE) == [
        ("letters", f"      {turn}"),
        ("plain", ""),
    ]
    call = r'  call_\w+ send \{"to": "%s"\}: letters cannot be called back\n'
    assert re.search(
        rf"^turn {turn} waits for approval of\n{call % 'ada'}{call % 'bob'}\Z", shown, re.MULTILINE
    )
    assert "turn_" not in agentrail(office, "sessions", "show", "plain").out


def test_a_turn_that_was_replaced_waits_no_more(office: Path) -> None:
    agentrail(office, "chat", "--session", "s", "write to ada")
    agentrail(office, "chat", "--session", "s", "hello")

    assert "turn_" not in agentrail(office, "sessions", "list").out
    assert "turn_" not in agentrail(office, "sessions", "show", "s").out
