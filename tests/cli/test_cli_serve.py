"""``agentrail serve`` as a process of its own: it serves, it stops, and it may be killed."""

import signal
import socket
from itertools import pairwise
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.responses import Response

from agentrail.cli._serve import _logged
from tests.cli.command import agentrail, read_until, serving

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

TOLD = {"message": "Tell me a story.", "sessionId": "s"}


def texts(client: httpx.Client) -> list[tuple[str, str]]:
    """Return role and text of the session's messages, oldest first."""
    rows = client.get("/sessions/s/messages").json()["messages"]
    return [(row["message"]["role"], row["message"]["parts"][0]["text"]) for row in reversed(rows)]


def test_it_serves_and_stops_at_sigterm(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        assert server.client.get("/ready").json() == {"status": "ready"}
        answer = server.client.post("/chat", json={"message": "hi"}).json()
        assert answer["message"] == "1: hi [b]"

        assert server.stop() == 0

    assert not any("Traceback" in line for line in server.log)
    assert (here / "data" / "sessions.db").exists()


def test_servers_are_imported_before_the_event_loop_runs(here: Path, backend: str) -> None:
    """It would stand still meanwhile."""
    app = (here / "app.py").read_text().replace("create_app(", "create_app(watched(")
    (here / "app.py").write_text(
        "import sys\n"
        "from attrs import evolve\n"
        "from agentrail import define_plugin\n"
        "known = set()\n"
        "def stop():\n"
        "    late = [m for m in {*sys.modules} - known if m.startswith(('uvicorn', 'hypercorn'))]\n"
        "    print('late:', sorted(late), file=sys.stderr)\n"
        "late = define_plugin('late', start=lambda: known.update(sys.modules), stop=stop)\n"
        "def watched(config):\n"
        "    return evolve(config, plugins=[late])\n"
        + app.replace("ScriptedModel.repeat(say)]))", "ScriptedModel.repeat(say)])))")
    )
    with serving(here, "--backend", backend) as server:
        server.client.get("/ready")
        assert server.stop() == 0

    assert "late: []" in server.log


def test_each_request_is_one_line_of_the_log(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        server.client.get("/ready")
        server.client.post("/chat", json={"message": "hi"})
        server.client.post("/stream", json={"message": "hi"})
        server.client.get("/nothing%0A\N{LATIN SMALL LETTER O WITH DIAERESIS}?said=secret")
        assert server.stop() == 0

    told = [line for line in server.log if "agentrail.cli" not in line]
    assert told == [
        'INFO agentrail.access: 127.0.0.1 "GET /ready" 200',
        'INFO agentrail.access: 127.0.0.1 "POST /chat" 200',
        'INFO agentrail.access: 127.0.0.1 "POST /stream" 200',
        'INFO agentrail.access: 127.0.0.1 "GET /nothing%0A%C3%B6" 404',
    ]


def test_the_log_names_who_connected_and_not_who_is_said_to_have(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        forged = {b"X-Forwarded-For": b"203.0.113.9\x85\x9b31m"}
        response = server.client.get("/ready", headers=forged)
        assert server.stop() == 0

    assert response.status_code == 403
    told = [line for line in server.log if "agentrail.access" in line]
    assert told == ['INFO agentrail.access: 127.0.0.1 "GET /ready" 403']


def test_nothing_from_outside_breaks_a_line_of_the_log(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As another server might let it through."""
    caplog.set_level("INFO", "agentrail.access")

    async def ask() -> None:
        for client in ("\x1b[31m::1%eth0\n", "\x9b"):
            transport = httpx.ASGITransport(_logged(Response()), client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://h") as web:
                await web.request('G\nT"', "/a%0D%22%1B")

    anyio.run(ask, backend=backend)

    assert [record.getMessage() for record in caplog.records] == [
        '%1B%5B31m::1%eth0%0A "G%0AT%22 /a%0D%22%1B" 200',
        '%C2%9B "G%0AT%22 /a%0D%22%1B" 200',
    ]


def test_it_stops_at_an_interrupt(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        assert server.stop(signal.SIGINT) == 0

    assert not any("Traceback" in line for line in server.log)


def test_a_stop_waits_no_longer_than_its_grace_and_tells_the_reader(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend, "--grace", "0.2") as server:
        with server.client.stream("POST", "/stream", json=TOLD) as response:
            pieces = response.iter_text()
            heard = ""
            while "a time" not in heard:
                heard += next(pieces)
            server.process.send_signal(signal.SIGTERM)
            heard += "".join(pieces)

        assert server.end() == 0

    last = heard.strip().split("\n\n")[-1]
    assert "event: turn.end" in last
    assert '"outcome":"cancelled"' in last
    assert not any("Traceback" in line for line in server.log)


def test_a_stop_lets_a_turn_end_within_its_grace(here: Path, backend: str) -> None:
    """The story ends when the test says so, which is after the signal."""
    told = here / "told"
    app = (here / "app.py").read_text()
    ends = f"await anyio.Path({str(told)!r}).exists()"
    app = app.replace("await anyio.sleep_forever()", f"while not {ends}: await anyio.sleep(0.01)")
    (here / "app.py").write_text(app)

    with serving(here, "--backend", backend) as server:
        with server.client.stream("POST", "/stream", json=TOLD) as response:
            pieces = response.iter_text()
            heard = next(pieces)
            server.process.send_signal(signal.SIGTERM)
            server.until("stopping")
            told.touch()
            heard += "".join(pieces)
        assert server.process.wait(50) == 0

    assert '"outcome":"completed"' in heard


def test_nothing_is_lost_when_it_is_killed_in_the_middle_of_an_answer(
    here: Path, backend: str
) -> None:
    with serving(here, "--backend", backend) as server:
        server.client.post("/chat", json={"message": "hi", "sessionId": "s"})
        with server.client.stream("POST", "/stream", json=TOLD) as response:
            heard = read_until(" a time", response)
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert "event: turn.e" not in heard

    with serving(here, "--backend", backend) as server:
        before = [("user", "hi"), ("assistant", "1: hi [b]"), ("user", "Tell me a story.")]
        assert texts(server.client)[:3] == before

        answer = server.client.post("/chat", json={"message": "Go on.", "sessionId": "s"}).json()

        partial = ("assistant", "Once upon a time")
        assert answer["message"] == "5: Go on. [b]"
        assert texts(server.client) == [
            *before,
            partial,
            ("user", "Go on."),
            ("assistant", "5: Go on. [b]"),
        ]
        listed = server.client.get("/sessions").json()["sessions"]
        assert [(row["sessionId"], row["turns"]) for row in listed] == [("s", 3)]
        assert server.stop() == 0


def test_what_was_heard_before_a_kill_keeps_its_numbers(here: Path, backend: str) -> None:
    with (
        serving(here, "--backend", backend) as server,
        server.client.stream("POST", "/stream", json=TOLD) as response,
    ):
        heard = read_until(" a time", response)
        server.stop(signal.SIGKILL)
    with serving(here, "--backend", backend) as server:
        again = {"message": "Go on.", "sessionId": "s"}
        heard += server.client.post("/stream", json=again).text

    ids = [int(line[4:]) for line in heard.split("\n") if line.startswith("id: ")]
    assert all(one < other for one, other in pairwise(ids))


def test_without_an_authenticator_it_serves_this_machine_only(here: Path, backend: str) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):  # noqa: S104
        done = agentrail(here, "serve", "--host", host, "--port", "0", "--backend", backend)

        assert done.status == 2
        assert "without an authenticator" in done.err
        assert repr(host) in done.err
        assert "Traceback" not in done.err


def test_a_port_that_is_taken_is_told_in_a_sentence(here: Path, backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = agentrail(here, "serve", "--port", port, "--backend", backend)

    assert done.status == 2
    assert done.err.startswith("config_invalid: ")
    assert f"cannot serve on 127.0.0.1 port {port} (Address already in use): choose" in done.err
    assert "Traceback" not in done.err


def test_a_plugin_that_does_not_start_is_told_in_a_sentence(here: Path, backend: str) -> None:
    (here / "app.py").write_text(
        "from agentrail import AppConfig, Profile, ScriptedModel, create_app, define_plugin\n"
        "def start():\n"
        "    raise OSError('no [license] in /etc')\n"
        "app = create_app(AppConfig(profiles=[Profile(id='a', model='scripted:m')],\n"
        "    providers=[ScriptedModel([])], plugins=[define_plugin('licensed', start=start)]))\n"
    )

    done = agentrail(here, "serve", "--port", "0", "--backend", backend)

    assert done.status == 2
    assert "'licensed' did not start: no [license] in /etc" in done.err
    assert "Traceback" not in done.err
