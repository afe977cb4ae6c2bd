"""``chat``, ``explain``, ``doctor`` and ``local`` as a person at a terminal meets them."""

import os
import pty
import socket
import subprocess
from pathlib import Path

import pytest

from agentrail.model import weights
from tests.cli.command import AGENTRAIL, agentrail, environment

COMPOSED = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app, define_plugin, tool


@tool
async def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b


async def own(context, messages):
    return []


async def hook(*_):
    return None


app = create_app(
    AppConfig(
        profiles=[Profile(id="clerk", model="scripted:m", tools=[add], context_providers=[own])],
        providers=[ScriptedModel([])],
        plugins=[
            define_plugin("late", on_request_start=hook, after_response=hook, stop=hook),
            define_plugin(
                "early",
                priority=5,
                critical=True,
                deadlines={"on_request_start": 0.5},
                on_request_start=hook,
                intercept_chat_request=hook,
                after_response=hook,
                context_providers=[own],
                stop=hook,
            ),
        ],
    )
)
"""


# What a command does that finds no application.


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nowhere_at_all:app", "there is no module 'nowhere_at_all' here; run this where"),
        ("nowhere_at_all.app:app", "there is no module 'nowhere_at_all.app' here"),
        ("app:nothing", "'app' has no application 'nothing'"),
        ("app:other", "'app' has no application 'other': make one with agentrail.create_app"),
        ("app.py", "'app.py' names no application: write 'module:attribute'"),
        ("app.py:app", "'app.py:app' names no application"),
        (":app", "':app' names no application"),
        ("./app", "'./app' names no application"),
        ("a[b]c", "'a[b]c' names no application"),
    ],
)
def test_no_application_is_told_in_a_sentence(here: Path, spec: str, told: str) -> None:
    done = agentrail(here, "explain", spec)

    assert done.status == 2
    assert done.err.startswith(f"config_invalid: {told}")
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_every_command_tells_it(here: Path) -> None:
    for arguments in (["serve", "app:other"], ["chat", "hi", "--app", "app:other"]):
        done = agentrail(here, *arguments)

        assert done.status == 2
        assert done.err.startswith("config_invalid: 'app' has no application 'other'")


def test_faults_of_a_composition_are_told_one_by_one(here: Path) -> None:
    (here / "app.py").write_text(
        "from agentrail import AppConfig, Profile, create_app, define_plugin\n"
        "app = create_app(AppConfig(profiles=[Profile(id='a', model='nomodel')],\n"
        "    plugins=[define_plugin('x'), define_plugin('x')]))\n"
    )

    done = agentrail(here, "explain")

    assert done.status == 2
    assert "'nomodel' is no model reference" in done.err
    assert "two plugins are named 'x'" in done.err
    assert "Traceback" not in done.err


def test_an_error_in_the_application_shows_where_it_is(here: Path) -> None:
    (here / "app.py").write_text("import agentrail\nimport missing_of_mine\n")

    done = agentrail(here, "explain")

    assert done.status == 1
    assert 'app.py", line 2' in done.err
    assert "No module named 'missing_of_mine'" in done.err


# chat


def test_a_message_is_answered_and_nothing_else_is_printed(here: Path) -> None:
    done = agentrail(here, "chat", "hello [/there]")

    assert (done.status, done.out, done.err) == (0, "1: hello [/there] [b]\n", "")


def test_the_terminals_session_is_remembered(here: Path) -> None:
    assert agentrail(here, "chat", "one").out == "1: one [b]\n"
    assert agentrail(here, "chat", "two").out == "3: two [b]\n"
    assert agentrail(here, "chat", "--new", "three").out == "1: three [b]\n"
    assert agentrail(here, "chat", "--session", "other", "four").out == "1: four [b]\n"
    assert agentrail(here, "chat", "five").out == "5: five [b]\n"


def test_a_failed_answer_is_a_sentence_and_a_status(here: Path) -> None:
    done = agentrail(here, "chat", "fail")

    told = "model_unavailable: the upstream [prod] is down [/]\n"
    assert (done.status, done.out, done.err) == (1, "", told)


def test_the_sentence_is_red_where_there_is_color(here: Path) -> None:
    done = agentrail(here, "chat", "fail", FORCE_COLOR="1", NO_COLOR="", TERM="xterm")

    assert done.err.startswith("\x1b[31mmodel_unavailable\x1b[0m: ")


def test_a_refused_message_is_a_sentence_and_a_status(here: Path) -> None:
    for arguments, told in [
        ((" ",), "invalid_request: the message is empty"),
        (("hi", "--agent", "nobody"), "agent_not_found: there is no agent 'nobody'"),
        (("hi", "--session", "../x"), "invalid_id: the session id '../x'"),
    ]:
        done = agentrail(here, "chat", *arguments)
        assert done.status == 1
        assert done.err.startswith(told)
        assert "Traceback" not in done.err


def test_a_talk_goes_on_until_its_input_ends(here: Path) -> None:
    done = agentrail(here, "chat", stdin="one\n\n  \nfail\ntwo")

    assert done.out == "1: one [b]\n4: two [b]\n"
    assert done.err == "model_unavailable: the upstream [prod] is down [/]\n"
    assert done.status == 0


def test_a_talk_that_ends_with_a_failure_has_its_status(here: Path) -> None:
    assert agentrail(here, "chat", stdin="one\nfail\n").status == 1


def test_a_talk_can_be_quit(here: Path) -> None:
    done = agentrail(here, "chat", stdin="one\n/quit\ntwo\n")

    assert (done.status, done.out) == (0, "1: one [b]\n")


def test_an_interrupt_at_the_prompt_ends_a_talk(here: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [AGENTRAIL, "chat"],
        cwd=here,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 (this process has one thread)
    ) as process:
        os.close(theirs)
        shown = _shown_until(ours, b"> ", 1)
        os.write(ours, b"hello\n")
        shown += _shown_until(ours, b"> ", 1)
        os.write(ours, b"\x03")
        status = process.wait(50)
    os.close(ours)

    assert b"1: hello [b]" in shown
    assert status == 130


def _take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def _shown_until(terminal: int, text: bytes, count: int) -> bytes:
    shown = b""
    while shown.count(text) < count:
        shown += os.read(terminal, 4096)
    return shown


def test_an_answer_comes_piece_by_piece(here: Path) -> None:
    """The story has begun to be told, and never ends."""
    with subprocess.Popen(
        [AGENTRAIL, "chat", "a story"],
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        told = b""
        while told != b"Once upon a time":
            told += os.read(process.stdout.fileno(), 100)
        process.terminate()


# explain


def test_explain_tells_who_runs_where_and_why(here: Path) -> None:
    (here / "app.py").write_text(COMPOSED)

    done = agentrail(here, "explain")

    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    hooks = [line.split(":")[0].strip() for line in lines if line.startswith("  ")][:40]
    for name in ("start", "on_request_start", "context_providers", "before_tool_call"):
        assert name in hooks
    assert section(lines, "on_request_start") == [
        "1. early: priority 5, place 1 of 2 plugins; 0.5 s; a failure is reported",
        "2. late: place 2 of 2 plugins; 2 s; a failure is reported",
    ]
    assert section(lines, "intercept_chat_request") == [
        "1. early: priority 5, place 1 of 2 plugins; 2 s; a failure refuses the request"
    ]
    assert section(lines, "context_providers") == [
        "1. profile:clerk: the profile's own come first; 3 s; a failure is reported",
        "2. early: priority 5, place 1 of 2 plugins; 3 s; a failure is reported",
    ]
    for name in ("stop", "after_response"):  # in reverse
        assert [line.split(":")[0] for line in section(lines, name)] == ["1. late", "2. early"]
    assert "  before_request: nobody" in lines
    assert "  clerk (default): scripted:m; tools: add; at most 16 steps, 600 s" in lines
    assert "  POST /chat" in lines
    assert "  GET /health; open to everybody" in lines


def section(lines: list[str], hook: str) -> list[str]:
    """Return the lines under a hook's name."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"  {hook}: "))
    found: list[str] = []
    for line in lines[start + 1 :]:
        if not line.startswith("    "):
            break
        found.append(line.strip())
    return found


def test_explain_starts_nothing(here: Path) -> None:
    assert agentrail(here, "explain").status == 0
    assert {path.name for path in here.iterdir()} <= {"app.py", "__pycache__"}


# doctor


def test_doctor_finds_nothing_wrong(here: Path) -> None:
    done = agentrail(here, "doctor", "--port", "0", "--data-dir", "mine")

    assert (done.status, done.err) == (0, "")
    assert all(line.startswith("ok   ") for line in done.out.splitlines())
    assert "application app:app: agents assistant" in done.out
    assert "data directory mine can be written" in done.out


def test_doctor_finds_a_port_taken(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = agentrail(here, "doctor", "--port", f"{port}")

    assert done.status == 1
    assert f"fix  port {port} is taken" in done.out


def test_doctor_finds_a_data_directory_that_is_none(here: Path) -> None:
    (here / "data").write_text("a file")

    done = agentrail(here, "doctor", "--port", "0")

    assert done.status == 1
    assert "fix  data directory data: " in done.out


@pytest.mark.parametrize("code", ["import missing_of_mine", "app = (", "app = 5"])
def test_doctor_finds_an_application_that_cannot_be_loaded(here: Path, code: str) -> None:
    (here / "app.py").write_text(code)

    done = agentrail(here, "doctor", "--port", "0")

    assert done.status == 1
    assert "fix  application app:app: " in done.out
    assert done.err == ""


def test_doctor_shows_what_it_finds_as_it_is(here: Path) -> None:
    """Square brackets are no markup: extras of a package are written in them."""
    done = agentrail(here, "doctor", "x[server]", "--port", "0")

    assert "'x[server]'" in done.out


def test_doctor_finds_what_a_model_lacks(here: Path) -> None:
    app = (here / "app.py").read_text()
    for model, told in [
        ("local:smollm2-135m", "its weights are missing: agentrail local install"),
        ("openai:gpt-5-mini", "set OPENAI_API_KEY"),
    ]:
        (here / "app.py").write_text(app.replace("scripted:m", model))
        unset = {"AGENTRAIL_CACHE_DIR": f"{here}/none", "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
        done = agentrail(here, "doctor", "--port", "0", **unset)

        assert done.status == 1
        assert f"fix  model {model}: {told}" in done.out


def test_doctor_finds_what_a_model_has(here: Path) -> None:
    app = (here / "app.py").read_text()
    (here / "app.py").write_text(app.replace("scripted:m", "openai:gpt-5-mini"))

    done = agentrail(here, "doctor", "--port", "0", OPENAI_API_KEY="k")

    assert done.status == 0
    assert "ok   model openai:gpt-5-mini: OPENAI_API_KEY or OPENAI_BASE_URL is set" in done.out


# local


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose weights have the right size, which is all that is looked at."""
    with (tmp_path / Path(weights.SMOLLM2.member).name).open("wb") as file:
        file.truncate(weights.SMOLLM2.size)
    return tmp_path


def test_local_install_if_missing_is_quiet_when_nothing_is_missing(cache: Path) -> None:
    done = agentrail(cache, "local", "install", "--if-missing", AGENTRAIL_CACHE_DIR=f"{cache}")

    assert (done.status, done.out, done.err) == (0, "", "")


def test_local_install_tells_where_the_model_is(cache: Path) -> None:
    done = agentrail(cache, "local", "install", AGENTRAIL_CACHE_DIR=f"{cache}")

    assert (done.status, done.err) == (0, "")
    assert f"{cache}/" in done.out


def test_without_a_command_the_commands_are_listed(tmp_path: Path) -> None:
    done = agentrail(tmp_path)

    for command in ("serve", "chat", "explain", "doctor", "local"):
        assert f" {command} " in done.out + done.err
