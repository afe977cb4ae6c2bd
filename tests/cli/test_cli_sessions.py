"""``agentrail sessions`` and ``agentrail explain --coverage``: read, and nothing run."""

import json
import re
from pathlib import Path

import pytest

from agentrail.hook import COVERAGE, HOOKS, Kind
from tests.cli.command import agentrail, read_until, serving
from tests.forks import Done

APP = '''
from agentrail import AppConfig, Limits, Message, Profile, ScriptedModel, create_app
from agentrail import define_plugin, tool
from agentrail.model import call_tools


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"{what} [here]\\n\\x1b[31m" + "word " * 60


def say(request):
    last = request.messages[-1]
    if "Summarize" in request.messages[0].text:
        return "they looked"
    if last.text.startswith("look"):
        return call_tools(("look", {"what": "Ada"}))
    return f"answer to {last.text}" + " word" * 50


async def rain(context, messages):
    return [Message.system("it rains [a lot]")]


profile = Profile(
    id="assistant",
    model="scripted:m",
    prompt="Be brief.",
    tools=[look],
    context_window=600,
    limits=Limits(max_tokens=100),
)
app = create_app(
    AppConfig(
        profiles=[profile],
        providers=[ScriptedModel.repeat(say)],
        plugins=[define_plugin("weather", context_providers=[rain], start=lambda: print("up"))],
    )
)
'''
"""An application that talks at length, and says so when it is started."""


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A directory with that application in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


def say(here: Path, *texts: str, session: str = "s") -> None:
    done = agentrail(here, "chat", "--session", session, stdin="\n".join(texts))
    assert done.status == 0, done.err


def rows(done: Done) -> list[list[str]]:
    """Returns what a command printed, in columns."""
    assert (done.status, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if line != line.rstrip()] == []
    return [re.split(r"\s{2,}", line.strip()) for line in done.out.splitlines()]


def test_the_sessions_of_a_user_are_listed(office: Path) -> None:
    name = "a-session-with-a-name-that-is-longer-than-a-screen-is-wide-" + "x" * 60
    say(office, "one", "two", session="first")
    say(office, "one", session=name)

    head, *listed = rows(agentrail(office, "sessions", "list"))

    assert head == ["session", "agent", "turns", "waits for approval"]
    assert listed == [[name, "assistant", "1"], ["first", "assistant", "2"]]
    assert rows(agentrail(office, "sessions", "list", "--user", "eve")) == [head]
    assert rows(agentrail(office, "sessions", "list", "--tenant", "elsewhere")) == [head]


def test_a_session_is_shown_message_by_message(office: Path) -> None:
    say(office, "look", "bye")

    shown = rows(agentrail(office, "sessions", "show", "s"))

    told = [re.split(r" +", " ".join(row), maxsplit=2) for row in shown]
    assert [role for _, role, _ in told] == [
        *["user", "assistant", "tool", "assistant"],
        *["user", "assistant"],
    ]
    numbers = [int(number) for number, _, _ in told]
    assert numbers == sorted({*numbers})
    assert [text.split(" word")[0] for _, _, text in told] == [
        "look",
        'calls look {"what": "Ada"}',
        "Ada [here] \N{REPLACEMENT CHARACTER}[31mword",
        "answer to",
        "bye",
        "answer to bye",
    ]


def test_what_is_cut_off_is_marked_and_what_fits_is_not(office: Path) -> None:
    fits = "x" * 100
    say(office, fits, fits + "y")

    shown = [row[-1].split()[-1] for row in rows(agentrail(office, "sessions", "show", "s"))]

    assert (shown[0], shown[2]) == (fits, "x" * 99 + "…")


def test_a_turn_without_an_answer_is_marked(here: Path) -> None:
    for text in ("one", "fail", "two"):
        agentrail(here, "chat", text, "--session", "s")

    shown = rows(agentrail(here, "sessions", "show", "s"))

    told = [" ".join(row) for row in shown]
    assert [line.lstrip("0123456789 ") for line in told] == [
        *["user one", "assistant 1: one [b]"],
        *["user fail", "failed model_unavailable: the upstream [prod] is down [/]"],
        *["user two", "assistant 4: two [b]"],
    ]


def test_a_turn_whose_host_died_is_marked_and_one_that_runs_is_too(here: Path) -> None:
    with serving(here) as host:
        told = {"message": "a story", "sessionId": "s", "onDisconnect": "continue"}
        with host.client.stream("POST", "/stream", json=told) as answer:
            read_until("a time", answer)
            runs = rows(agentrail(here, "sessions", "show", "s"))
            host.process.kill()
            host.process.wait(50)
            died = rows(agentrail(here, "sessions", "show", "s"))

    assert (runs[-1], died[-1]) == (["running"], ["not ended its host died"])


def test_what_the_model_was_given_is_told_with_its_reasons(office: Path) -> None:
    say(office, "one", "two", "look")  # a host that stops waits for the summary
    say(office, "three")

    done = agentrail(office, "sessions", "show", "s", "--context")

    assert (done.status, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    pieces = [(line[7:16].strip(), *line[17:].split("  ")) for line in lines]
    reasons = [
        (role, re.sub(r"\d+", "N", why), text.split(" word")[0]) for role, why, text in pieces
    ]
    summary = "a summary of all up to event N"
    assert reasons == [
        ("system", "the profile's prompt", "Be brief."),
        ("", "the tools", "look"),
        ("system", summary, "What was said before, in short: they looked"),
        ("user", "the history", "look"),
        ("assistant", "the history", "calls look"),
        ("tool", "the history", "Ada [here] \N{REPLACEMENT CHARACTER}[31mword"),
        ("assistant", "the history", "answer to"),
        ("system", "for this turn, from weather", "it rains [a lot]"),
        ("user", "this turn", "three"),
        ("assistant", "this turn", "answer to three"),
    ]
    tokens = sum(int(line[:6]) for line in lines)
    assert last == (
        f"{tokens:6} tokens, as estimated; the window has 600, of which 100 are kept for the answer"
    )


def test_what_was_left_out_is_told_and_not_counted(office: Path) -> None:
    app = office / "app.py"
    app.write_text(APP.replace('prompt="Be', 'compact=False, prompt="Be'), encoding="utf-8")
    say(office, "one", "two", "three", "four", "five", "six")

    done = agentrail(office, "sessions", "show", "s", "--context")

    rows(done)
    *lines, last = done.out.splitlines()
    (left_out,) = [line for line in lines if "left out: it does not fit the window" in line]
    counted = sum(int(line.split()[0]) for line in lines if line is not left_out)
    assert int(left_out.split()[0]) > 0
    assert last.split()[0] == str(counted)


@pytest.mark.parametrize("arguments", [[], ["--context"]])
def test_a_session_that_is_not_there_is_a_sentence(office: Path, arguments: list[str]) -> None:
    say(office, "one")

    done = agentrail(office, "sessions", "show", "nowhere", *arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.strip() == "session_not_found: there is no session 'nowhere'"


def test_sessions_are_read_beside_a_host_that_serves(office: Path) -> None:
    with serving(office) as host:
        answer = host.client.post("/chat", json={"message": "one", "sessionId": "s"})
        assert answer.status_code == 200
        shown = rows(agentrail(office, "sessions", "show", "s"))
        context = agentrail(office, "sessions", "show", "s", "--context")
        again = host.client.post("/chat", json={"message": "two", "sessionId": "s"})

    assert len(shown) == 2
    assert (context.status, "the profile's prompt" in context.out) == (0, True)
    assert "up" not in context.out
    assert json.loads(again.text)["outcome"] == "completed"


# The coverage.


def test_the_coverage_is_the_table_that_the_host_keeps_to(office: Path) -> None:
    done = agentrail(office, "explain", "--coverage")

    rows(done)
    table, _, paths = done.out.partition("\npath")
    head, *lines = [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()]
    assert head == ["hook", *COVERAGE, "plugins"]
    assert {line[0]: line[1:-1] for line in lines} == {
        name: ["runs" if name in path.hooks else "-" for path in COVERAGE.values()]
        for name, spec in HOOKS.items()
        if spec.kind is not Kind.LIFECYCLE
    }
    assert {line[0]: line[-1] for line in lines if line[-1] != "nobody"} == {
        "context_providers": "weather"
    }
    assert all(path.description in paths for path in COVERAGE.values())
