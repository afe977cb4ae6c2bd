"""No secret comes out of a host, wherever it was put in, and whichever way it might."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM
from threading import Thread

import pytest

from tests.canaries import forms, leaks
from tests.cli.command import AGENTRAIL, IMPORTED, Serving, environment, serving
from tests.echo import Echo, echoing
from tests.forks import run

APP = '''
import json
import logging
import os
from base64 import b64encode
from pathlib import Path

from agentrail import (
    AppConfig, BearerTokens, ChatResponse, Message, Principal, Profile, ScriptedModel, create_app,
    define_plugin, tool,
)
from agentrail.errors import ToolError
from agentrail.model.scripted import call_tools
from agentrail.plugin import PackageSettings

log = logging.getLogger("app")
ROLES = frozenset({"admin", "auditor"})


def told(config):
    texts = [str(each) for each in config.values()]
    return " ".join([*texts, json.dumps(config), *(b64encode(t.encode()).decode() for t in texts)])


def make(**config):
    said = told(config)
    log.warning("made with %s", said)
    if Path("no-make").exists():
        raise ValueError(said)

    def start():
        log.info("starts with %r", config)
        if Path("no-start").exists():
            raise RuntimeError(said)

    def fail(*_):
        raise OSError(said)

    def intercept(request, _context):
        async def pieces():
            yield "so far "
            raise OSError(said)

        return ChatResponse(text_stream=pieces()) if request.text == "/break" else None

    def reach():
        """Reach for it."""
        raise OSError(said)

    return define_plugin(
        "maker",
        start=start,
        tools=[tool(reach)],
        intercept_chat_request=intercept,
        on_request_start=fail,
        before_request=fail,
        on_turn_persisted=fail,
        on_request_end=fail,
    )


def answer(request):
    if request.messages[-1].role == "tool":
        return "it failed"
    return call_tools(("reach", {}), ("pack__say", {}))


app = create_app(
    AppConfig(
        profiles=[Profile(id="own", model="scripted:m")],
        providers=[ScriptedModel.repeat(answer)],
        packages=PackageSettings(directories=["packages"]),
        authenticator=BearerTokens({os.environ["BEARER"]: Principal(user_id="ada", roles=ROLES)}),
    )
)
'''

PACKAGE = """
# /// plugin
# id = "pack"
# version = "1.0.0"
# entry_point = "pack.py:Plugin"
# permissions = {secrets = ["ENV"]}
# ///
import json
from pathlib import Path


class Plugin:
    def __init__(self, context):
        self.context = context

    def start(self):
        self.said = f"{json.dumps(dict(self.context.config))} {self.context.secret('ENV').reveal()}"
        self.context.logger.warning("begins with %s", self.said)
        if Path("no-pack").exists():
            raise RuntimeError(self.said)

    def get_tools(self):
        return [{"name": "say", "description": "Says.", "parameters": {"type": "object"}}]

    def handle_say(self):
        try:
            raise OSError(self.said)
        except OSError:
            self.context.logger.exception("failed: %s", self.said)
            raise
"""

CANARIES = {
    "variable": "cänary \"of\" 'variables' <&>\\ é€😀",
    "mounted": "Y2FuYXJ5L29mK21vdW50ZWQ/Pz8+Pj4=",
    "sealed": "https://canary.example/of?sealed=1&k=%20v#x",
    "filled": "sk-canary-of-filled-0123456789",
    "plain": "canary.of.plain~text+and=more/",
    "config": "Cänary of 'config' \"text\"",
    "inner": "canary/of/inner/lists?",
    "number": "7261829405",
    "password": "canary:of:password!",
    "bearer": "canary-of-bearer-tokens-0123456789",
    "key": urlsafe_b64encode(b"canary of the key, of 32 bytes..").decode().rstrip("="),
    "changed": "canary-of-what-is-changed",
}


def settings(echo: Echo, plain: str = CANARIES["plain"], more: str = "") -> str:
    user = "ada:canary%3Aof%3Apassword!"
    named = {"config": "password", "inner": "token"}
    config = {
        named["config"]: CANARIES["config"],
        "of": {named["inner"]: [{"x": CANARIES["inner"]}]},
        "pin_key": int(CANARIES["number"]),
        "mounted": "secret:MOUNTED",
    }
    packed = {"named": "secret:ENV", "passphrase": CANARIES["config"]}
    providers = {
        "sealed": {"base_url": echo.url, "api_key": "secret:SEALED"},
        "plain": {"base_url": echo.url, "api_key": plain},
        "filled": {"base_url": echo.url, "api_key": "${FILLED}"},
        "mounted": {"base_url": echo.url, "api_key": "secret:MOUNTED"},
        "user": {"base_url": echo.url.replace("://", f"://{user}@")},
    }
    every = {
        "secrets": {"directory": "mounted"},
        "reload": {"watch": False},
        "providers": {name: {"kind": "openai", **each} for name, each in providers.items()},
        "profiles": [{"id": name, "model": f"{name}:m"} for name in providers],
        "plugins": {
            "entries": [
                {"name": "maker", "object": "app:make", "config": config},
                {"name": "pack", "config": packed},
            ],
        },
    }
    return json.dumps(every, indent=1, ensure_ascii=False)[:-1] + more + "}"


@pytest.fixture
def variables(tmp_path: Path) -> Mapping[str, str]:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "MOUNTED").write_text(CANARIES["mounted"])
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "pack.py").write_text(PACKAGE)
    return {
        "AGENTRAIL_SECRET_ENV": CANARIES["variable"],
        "AGENTRAIL_KEY": CANARIES["key"],
        "FILLED": CANARIES["filled"],
        "BEARER": CANARIES["bearer"],
    }


@pytest.mark.parametrize("capture", ["true", "false"])
def test_no_secret_comes_out(tmp_path: Path, variables: Mapping[str, str], capture: str) -> None:
    traced = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": capture,
    }
    with echoing() as echo:
        file = tmp_path / "agentrail.yaml"
        file.write_text(settings(echo), encoding="utf-8")
        sealing = told(tmp_path, variables, "secret set SEALED", stdin=CANARIES["sealed"])
        traced["OTEL_EXPORTER_OTLP_ENDPOINT"] = echo.collector
        with serving(tmp_path, variables={**variables, **traced}) as host:
            # It tells more than a pipe takes.
            reader = Thread(target=lambda: host.log.extend(host.says))
            reader.start()
            host.client.headers["authorization"] = f"Bearer {CANARIES['bearer']}"
            sinks = {**sealing, **talked(host, echo), **administered(host, echo, file)}
            host.process.send_signal(SIGTERM)
            assert host.process.wait(50) == 0
            reader.join()
        sinks["the log"] = "\n".join(host.log)
        sinks |= stopped(tmp_path, variables, echo)
    data = {each for each in (tmp_path / "data").rglob("*") if each.is_file()}
    files = {str(each.relative_to(tmp_path)): each.read_bytes() for each in data}

    assert leaks(CANARIES, {**sinks, **files, "exported": b"".join(echo.exported)}) == []

    sent = " ".join(echo.authorizations)
    assert all(CANARIES[name] in sent for name in ("sealed", "plain", "filled", "mounted"))
    assert {"data/host.db", "data/sessions.db"} <= files.keys()
    assert echo.exported
    for place in ("made with", "{{secret:ENV}}", "{{secret:MOUNTED}}", "[hidden]"):
        assert place in sinks["the log"]


def test_no_secret_that_somebody_says_is_in_spans(
    tmp_path: Path, variables: Mapping[str, str]
) -> None:
    """They go to other machines than the session does."""
    with echoing() as echo:
        (tmp_path / "agentrail.yaml").write_text(settings(echo), encoding="utf-8")
        told(tmp_path, variables, "secret set SEALED", stdin=CANARIES["sealed"])
        traced = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": echo.collector,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        }
        with serving(tmp_path, variables={**variables, **traced}) as host:
            host.client.headers["authorization"] = f"Bearer {CANARIES['bearer']}"
            said = f"it is {CANARIES['plain']}, or {CANARIES['sealed']}, isn't it?"
            host.client.post("/chat", json={"message": said, "agentId": "plain"})
            assert host.stop() == 0
    exported = b"".join(echo.exported)

    assert b"it is [hidden], or {{secret:SEALED}}, isn't it?" in exported
    assert leaks(CANARIES, {"exported": exported}) == []


def told(
    here: Path, variables: Mapping[str, str], command: str, status: int = 0, stdin: str = ""
) -> dict[str, str]:
    """Return what a command prints."""
    done = run(
        [AGENTRAIL, *command.split()], here, {**environment(), **variables}, IMPORTED, stdin=stdin
    )
    assert done.status == status, done.err
    return {command: done.out + done.err}


def talked(host: Serving, echo: Echo) -> dict[str, str]:
    """Return what turns answer, to whose providers an upstream repeats what it was sent."""
    said = dict[str, str]()
    for echo.refuses in (True, False):
        for agent in ("sealed", "plain", "filled", "mounted", "user", "own"):
            body = {"message": "hello", "agentId": agent, "sessionId": f"of-{agent}"}
            for path in ("/chat", "/stream"):
                answer = host.client.post(path, json=body)
                said[f"{path} of {agent}, {echo.refuses}"] = f"{answer.headers} {answer.text}"
    for path in ("/chat", "/stream"):
        said[f"{path} that breaks"] = host.client.post(path, json={"message": "/break"}).text
    return said


def administered(host: Serving, echo: Echo, file: Path) -> Mapping[str, str]:
    """Return what the API answers, while all goes wrong that can."""
    said, here = dict[str, str](), file.parent

    def ask(method: str, path: str, status: int = 200, **more: object) -> None:
        answer = host.client.request(method, f"/api/{path}", **more)  # type: ignore[arg-type]
        assert answer.status_code == status, answer.text
        said[f"{method} {path} #{len(said)}"] = f"{answer.headers} {answer.text}"

    for trouble in ("no-make", "no-start", "no-pack"):
        (here / trouble).touch()
        # So that they are made anew.
        config = settings(echo).replace("Cänary of", f"Cänary of {trouble}")
        file.write_text(config, encoding="utf-8")
        ask("POST", "config/reload", 422)
        (here / trouble).unlink()
        ask("GET", "config")
    file.write_text(settings(echo, more=', "sever": {"api_key": 1}'), encoding="utf-8")
    ask("POST", "config/reload", 422)
    file.write_text(settings(echo)[:-40], encoding="utf-8")
    ask("POST", "config/reload", 422)
    file.write_text(settings(echo, CANARIES["changed"]), encoding="utf-8")
    ask("POST", "config/reload")
    ask("POST", "config/rollback", json={"revision": 1})
    ask("PUT", "secrets/SEALED", 204, json={"value": CANARIES["changed"] + "."})
    ask("PUT", "secrets/SEALED", 204, json={"value": CANARIES["sealed"]})
    ask("PUT", "secrets/SEALED", 422, json={"value": {CANARIES["sealed"]: 1}})
    ask("PUT", f"secrets/{CANARIES['filled']}", 422, json={"value": "x"})
    ask("POST", "secrets/rotate", 422)  # the key is in a variable
    paths = ("config", "config/history", "config/history/1", "config/history/2", "secrets")
    for path in (*paths, "plugins", "plugins/pack", "plugins/pack/logs", "plugins/pack/events"):
        ask("GET", path)
    for path in ("plugins/events", "tools", "audit", "tokens", "openapi.json"):
        ask("GET", path)
    return said


def stopped(here: Path, variables: Mapping[str, str], echo: Echo) -> Mapping[str, str]:
    """Return what commands print of a host that does not run, and while it cannot."""
    file, said = here / "agentrail.yaml", dict[str, str]()
    commands = [
        *(f"config {each}" for each in ("show --all", "history --json", "revision 1", "diff 1 2")),
        *("audit list", "secret list", "plugin inspect pack", "sessions show of-own"),
    ]
    for command in commands:
        said |= told(here, variables, command)
    file.write_text(settings(echo, more=', "sever": 1, "stop_grace": "x"'), encoding="utf-8")
    said |= told(here, variables, "config check", 2)
    file.write_text(settings(echo), encoding="utf-8")
    for trouble in ("no-make", "no-start"):
        (here / trouble).touch()
        (failed,) = told(here, variables, "serve --port 0", 2).values()
        said[f"serve, {trouble}"] = failed
        (here / trouble).unlink()
    return said


def test_what_is_looked_for_is_found() -> None:
    """Or the test above could not fail."""
    for name, value in CANARIES.items():
        for form in forms(value):
            assert leaks(CANARIES, {"text": f"<{form}>", "bytes": f"<{form}>".encode()})
        assert leaks({name: value}, {"text": "<nothing>"}) == []
