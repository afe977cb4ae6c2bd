"""A host with packages off the loopback lets in who has the token that was printed once."""

import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.command import AGENTRAIL, environment

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

APP = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.plugin import PackageSettings

profile = Profile(id="assistant", model="scripted:m")
scripted = ScriptedModel.repeat("Hello.")
app = create_app(
    AppConfig(profiles=[profile], providers=[scripted], packages=PackageSettings())
)
"""

EVERYWHERE = "0.0.0.0"  # noqa: S104 - which is the point

SHOWN = "Token of the first administrator, shown this once: "


@contextmanager
def served(
    here: Path, backend: str, address: str
) -> Generator[tuple[httpx.Client, list[str], subprocess.Popen[str]]]:
    """Serve the application; yield a client of it, and what was logged until it listened."""
    command = [str(AGENTRAIL), "serve", "--host", address, "--port", "0", "--backend", backend]
    log = list[str]()
    with subprocess.Popen(
        command,
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                log.append(line)
                if " at http://" in line:
                    break
            port = log[-1].partition(" at http://")[2].partition(";")[0].rpartition(":")[2]
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=50, trust_env=False) as client:
                yield client, log, process
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=50)
            log += [out, err]
            assert process.returncode == 0, "".join(log)


def test_the_first_token_is_printed_once_and_lets_its_holder_in(
    tmp_path: Path, backend: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    ways = [
        ("GET", "/api/plugins"),
        ("POST", "/api/plugins/x/toggle"),
        ("GET", "/api/openapi.json"),
        ("GET", "/sessions"),
        ("POST", "/chat"),
    ]

    with served(tmp_path, backend, EVERYWHERE) as (client, log, process):
        assert process.stdout is not None
        line = process.stdout.readline().rstrip("\n")
        assert line.startswith(SHOWN)
        token = line.removeprefix(SHOWN)
        for method, path in ways:
            assert client.request(method, path).status_code == 401, path
        assert client.get("/health").status_code == 200
        admin = {"authorization": f"Bearer {token}"}
        assert client.get("/api/plugins", headers=admin).json() == {"plugins": [], "broken": {}}
        assert client.post("/chat", headers=admin, json={"message": "hi"}).status_code == 200
        (kept,) = client.get("/api/tokens", headers=admin).json()["tokens"]
        assert (kept["user"], kept["roles"], kept["createdBy"]) == ("admin", ["admin"], "serve")
    assert token not in "".join(log)

    with served(tmp_path, backend, EVERYWHERE) as (client, log, _):
        assert client.get("/api/plugins").status_code == 401
        assert client.get("/api/plugins", headers=admin).status_code == 200
    assert SHOWN not in "".join(log)


def test_on_the_loopback_there_is_no_token_and_another_can_be_made(
    tmp_path: Path, backend: str
) -> None:
    (tmp_path / "app.py").write_text(APP)

    with served(tmp_path, backend, "127.0.0.1") as (client, _, _):
        assert client.get("/api/tokens").json() == {"tokens": []}
        made = client.post("/api/tokens", json={"user": "ada", "roles": ["viewer"]})
        assert made.status_code == 201
