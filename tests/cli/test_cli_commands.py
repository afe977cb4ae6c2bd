"""``chat``, ``explain``, ``doctor`` and ``local`` as a person at a terminal meets them."""

import os
import re
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from agentrail.model import weights
from agentrail.model.local_server import CONTEXT, SLOTS
from tests.cli.command import AGENTRAIL, agentrail, environment, terminal

COMPOSED = """
from dataclasses import dataclass
from functools import partial

from agentrail import AppConfig, Profile, ScriptedModel, create_app, define_plugin, middleware, tool
from agentrail.tool import ask, deny


@dataclass
class Bill:
    total: int


class Budget:
    model = "any"

    async def __call__(self, request, call_next):
        return await call_next(request)


class Check:
    def pre_process(self, ctx):
        return None


async def watch(request, call_next):
    return await call_next(request)


both = middleware.logging()


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
        profiles=[
            Profile(id="clerk", model="scripted:m", tools=[add], context_providers=[own]),
            Profile(
                id="cashier",
                model="scripted:m",
                fallbacks=["openai:n", "scripted:o"],
                context_window=4000,
                tools=[add],
                permissions=[ask("add", reason="sums [are] final"), deny("add", a="1", b="*")],
                output=Bill,
            ),
        ],
        providers=[ScriptedModel([])],
        model_middleware=[
            both,
            middleware.retry(),
            middleware.cache(60),
            middleware.metrics(),
            middleware.from_pre_post(Check()),
            watch,
            partial(watch),
            Budget(),
        ],
        tool_middleware=[middleware.slow_log(1), both],
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
        ("app:nothing", "'app' has no application 'nothing': write 'app:app'"),
        ("app:other", "'app' has no application 'other': write 'app:app'"),
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


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("application = create_app(config)", ": write 'app:application'"),
        ("app = config", " but an object of type AppConfig: make one with agentrail.create_app("),
        ("", ": make one with agentrail.create_app("),
    ],
)
def test_what_there_is_in_its_place_is_told(tmp_path: Path, made: str, told: str) -> None:
    (tmp_path / "app.py").write_text(
        "from agentrail import AppConfig, Profile, create_app\n"
        "config = AppConfig(profiles=[Profile(id='a', model='local:m')])\n"
        f"{made}\n"
    )

    done = agentrail(tmp_path, "explain")

    assert done.status == 2
    assert done.err.startswith(f"config_invalid: 'app' has no application 'app'{told}")


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


@pytest.mark.parametrize(
    ("code", "told", "line"),
    [
        ("import missing_of_mine", "ModuleNotFoundError: No module named 'missing_of_mine'", 1),
        ("from agentrail import nothing", "ImportError: cannot import name 'nothing'", 1),
        ("app = (", "SyntaxError: '(' was never closed (app.py, line 1)", 1),
        ("import json\njson.loads('')", "JSONDecodeError: Expecting value: line 1", 2),
        ("from agentrail import Profile\nProfile(id='a', modle='b')", "TypeError: Profile.", 2),
        ("from agentrail.events import decode\ndecode(b'')", "DecodeError: Input data was", 2),
        ("raise RuntimeError", "RuntimeError\n", 1),
    ],
)
def test_what_the_application_raises_is_a_sentence_and_its_own_lines(
    here: Path, code: str, told: str, line: int
) -> None:
    (here / "app.py").write_text(code)

    done = agentrail(here, "explain")

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"config_invalid: 'app' cannot be loaded: {told}")
    assert re.findall(r'^  File "(.*)", line (\d+)', done.err, re.MULTILINE) == [
        (f"{here}/app.py", str(line))
    ]
    assert code.splitlines()[-1] in done.err


def test_all_of_the_applications_files_on_the_way_are_shown(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "parts.py").write_text("def make():\n    raise ValueError('no part')\n")
    (here / "app.py").write_text("from mine import parts\n\nparts.make()\n")

    done = agentrail(here, "serve")

    assert done.status == 2
    assert "cannot be loaded: ValueError: no part\n" in done.err
    assert re.findall(r'File ".*/(\w+\.py)", line (\d+)', done.err) == [
        ("app.py", "3"),
        ("parts.py", "2"),
    ]


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = agentrail(tmp_path, "--version")

    assert (done.status, done.out, done.err) == (0, f"agentrail {version('agentrail-host')}\n", "")


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


def test_a_new_session_tells_its_id_and_lasts_for_the_whole_talk(here: Path) -> None:
    done = agentrail(here, "chat", "--new", stdin="one\ntwo\n")

    assert done.out == "1: one [b]\n3: two [b]\n"
    (session,) = re.findall(r"^session (ses_\w+)$", done.err, re.MULTILINE)
    assert agentrail(here, "chat", "--session", session, "three").out == "5: three [b]\n"


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
    with terminal(here, "chat") as person:
        person.answer("> ", "hello\n")
        person.answer("> ", "\x03")
        status, shown = person.end()

    assert "1: hello [b]" in shown
    assert status == 130
    assert shown.endswith("> ^C\n")


def test_the_shells_prompt_comes_on_a_line_of_its_own_when_the_input_ends(here: Path) -> None:
    with terminal(here, "chat") as person:
        person.answer("> ", "\x04")
        status, shown = person.end()

    assert (status, shown.endswith("> \n")) == (0, True)


def test_a_command_needs_no_model(here: Path) -> None:
    (here / "app.py").write_text(
        "from agentrail import AppConfig, Commands, Profile, create_app\n"
        "profile = Profile(id='a', model='local:smollm2-135m')\n"
        "app = create_app(AppConfig(profiles=[profile], plugins=[Commands([])]))\n"
    )
    nothing = {"AGENTRAIL_CACHE_DIR": f"{here / 'cache'}"}

    asked = agentrail(here, "chat", "/help", **nothing)
    said = agentrail(here, "chat", "hello", **nothing)

    assert (asked.status, asked.err) == (0, "")
    assert asked.out.startswith("/help")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("config_invalid: the weights of the local model are not installed")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chat", "hi", "--new", "--session", "x"], "--new begins a session, --session goes on"),
        (["explain", "--turn", "t", "--coverage"], "--turn and --coverage print different things"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(
    here: Path, arguments: list[str], told: str
) -> None:
    done = agentrail(here, *arguments, COLUMNS="120")

    assert (done.status, done.out) == (2, "")
    assert told in done.err
    assert not (here / "data").exists()


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
    assert "  POST /chat" in lines
    assert "  GET /health; open to everybody" in lines


def test_explain_tells_what_a_profile_is_made_of(here: Path) -> None:
    (here / "app.py").write_text(COMPOSED)

    done = agentrail(here, "explain")

    profiles = done.out.partition("\nProfiles\n")[2].partition("\n\n")[0]
    assert profiles.splitlines() == [
        "  clerk (default)",
        "    model: scripted:m",
        "    context window: 8192 tokens",
        "    model middleware: logging, retry, cache, metrics, Check, watch, watch, Budget",
        "    tools: add",
        "    tool middleware: slow_log, logging",
        "    permissions: every call is allowed",
        "    output: text",
        "    limits: at most 16 steps, 600 s",
        "  cashier",
        "    model: scripted:m, then openai:n, then scripted:o",
        "    context window: 4000 tokens",
        "    model middleware: logging, retry, cache, metrics, Check, watch, watch, Budget",
        "    tools: add",
        "    tool middleware: slow_log, logging",
        "    permissions: ask add (sums [are] final), deny add a=1 b=*",
        "    output: Bill",
        "    limits: at most 16 steps, 600 s",
    ]


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
    (here / "mine").mkdir()
    done = agentrail(here, "doctor", "--port", "0", "--data-dir", "mine")

    assert (done.status, done.err) == (0, "")
    *checked, model = done.out.splitlines()
    assert all(line.startswith("ok   ") for line in checked)
    assert model == "?    model scripted:m: of the application's own provider; it was not checked"
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


UNSET = {
    f"{name}_{what}": "" for name in ("OPENAI", "ANTHROPIC") for what in ("API_KEY", "BASE_URL")
}


def test_doctor_finds_what_a_model_lacks(here: Path) -> None:
    app = (here / "app.py").read_text()
    for model, told in [
        ("local:smollm2-135m", "its weights are missing: agentrail local install"),
        ("local:nope", "there is no such local model; there are: smollm2-135m"),
        ("openai:gpt-5-mini", "set OPENAI_API_KEY"),
        ("openai-responses:gpt-5-mini", "set OPENAI_API_KEY"),
        ("anthropic:claude", "set ANTHROPIC_API_KEY"),
    ]:
        (here / "app.py").write_text(app.replace("scripted:m", model))
        none = {"AGENTRAIL_CACHE_DIR": f"{here}/none"}
        done = agentrail(here, "doctor", "--port", "0", **none, **UNSET)

        assert done.status == 1
        assert f"fix  model {model}: {told}" in done.out


def test_doctor_looks_at_fallbacks_too(here: Path) -> None:
    app = (here / "app.py").read_text()
    fallback = 'model="scripted:m", fallbacks=["anthropic:claude"]'
    (here / "app.py").write_text(app.replace('model="scripted:m"', fallback))

    done = agentrail(here, "doctor", "--port", "0", **UNSET)

    assert done.status == 1
    assert "fix  model anthropic:claude: set ANTHROPIC_API_KEY" in done.out


def test_doctor_asks_no_key_for_an_own_provider_of_a_known_name(here: Path) -> None:
    app = (here / "app.py").read_text().replace("scripted:m", "openai:m")
    (here / "app.py").write_text(app.replace("repeat(say)", 'repeat(say, "openai")'))

    done = agentrail(here, "doctor", "--port", "0", **UNSET)

    assert done.status == 0
    assert "?    model openai:m: of the application's own provider" in done.out


def test_doctor_finds_what_a_model_has(here: Path) -> None:
    app = (here / "app.py").read_text()
    (here / "app.py").write_text(app.replace("scripted:m", "openai:gpt-5-mini"))

    done = agentrail(here, "doctor", "--port", "0", **UNSET | {"OPENAI_API_KEY": "k"})

    assert done.status == 0
    told = "OPENAI_API_KEY is set; whether the server answers was not checked"
    assert f"ok   model openai:gpt-5-mini: {told}\n" in done.out


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose weights have the right size, which is all that is looked at."""
    with (tmp_path / Path(weights.SMOLLM2.member).name).open("wb") as file:
        file.truncate(weights.SMOLLM2.size)
    return tmp_path


@pytest.mark.parametrize(("more", "mark"), [(0, "ok  "), (1, "warn")])
def test_doctor_warns_of_a_window_that_the_local_model_has_not(
    here: Path, cache: Path, more: int, mark: str
) -> None:
    pytest.importorskip("xllamacpp")
    window = CONTEXT // SLOTS + more
    local = f'model="local:smollm2-135m", context_window={window}'
    app = (here / "app.py").read_text()
    (here / "app.py").write_text(app.replace('model="scripted:m"', local))

    done = agentrail(here, "doctor", "--port", "0", AGENTRAIL_CACHE_DIR=f"{cache}")

    assert done.status == 0
    last = done.out.splitlines()[-1]
    assert last.startswith(f"{mark} model local:smollm2-135m: ")
    assert ("a profile's context_window is 2049" in last) is bool(more)


# local


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
