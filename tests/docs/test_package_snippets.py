"""The packages of the page on writing them do what the page says, against a real server."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from agentrail import AppConfig, ChatRequest, Profile, ScriptedModel, create_app
from agentrail.model import call_tools
from agentrail.plugin import PackageSettings
from tests.docs.pages import ROOT

pytestmark = pytest.mark.anyio

SOURCE = ROOT / "docs/snippets/packages/currency.py"
SERVICE = "https://rates.example.com"


@pytest.fixture
def asked() -> list[tuple[str, str | None]]:
    """Each request to the service: its path and its key."""
    return []


@pytest.fixture
def service(asked: list[tuple[str, str | None]]) -> Iterator[str]:
    class Rates(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("authorization")))
            body = json.dumps({"EUR": 0.9}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rates)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_rate_is_asked_for_once_with_the_key(
    asked: list[tuple[str, str | None]], service: str, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    text = SOURCE.read_text("utf-8").replace(SERVICE, service)
    packages.joinpath("currency.py").write_text(text, "utf-8")
    calls = [call_tools(("currency__rate", {"currency": name})) for name in ("EUR", "EUR", "XYZ")]
    model = ScriptedModel([each for call in calls for each in (call, "Done.")])
    settings = PackageSettings(
        directories=[packages],
        config={"currency": {"base": "USD"}},
        secrets={"RATES_KEY": "the key"}.get,
    )
    app = create_app(
        AppConfig(
            profiles=[Profile(id="assistant", model="scripted:any")],
            providers=[model],
            packages=settings,
            data_dir=tmp_path / "data",
        )
    )

    async with app.host as host:
        for _ in calls:
            await host.chat(ChatRequest("What is it worth?"))

    told = [str(each.messages[-1]) for each in model.requests[1::2]]
    assert [("0.9" in each, "nobody knows" in each) for each in told] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert asked == [("/USD", "Bearer the key")] * 2
