"""``agentrail config`` and ``agentrail serve --config``: settings as a person meets them."""

import json
import socket
from pathlib import Path

import httpx
import pytest

from tests.cli.command import agentrail, serving

SETTINGS = """\
server:
  host: 127.0.0.1
providers:
  house: {kind: openai, api_key: canary}
profiles:
  - id: second
    model: scripted:m
"""

ALONE = """\
providers: {house: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
profiles: [{id: alone, model: "house:m"}]
"""


def write(directory: Path, text: str, name: str = "agentrail.yaml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_that_are_in_order_can_be_used(here: Path) -> None:
    write(here, SETTINGS)

    done = agentrail(here, "config", "check")

    assert (done.status, done.err) == (0, "")
    assert done.out.endswith("agentrail.yaml can be used\n")


def test_a_check_names_all_that_is_wrong_and_no_value(here: Path) -> None:
    file = write(here, SETTINGS + "sever: canary\nstop_grace: canary\n", "other.yaml")

    done = agentrail(here, "config", "check", str(file))

    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "config_refused: the settings are refused:\n"
        "  - other.yaml:8: sever: there is no setting 'sever' here; did you mean 'server'?\n"
        "  - other.yaml:9: stop_grace: it must be a number\n"
    )


def test_a_check_sees_what_variables_say(here: Path) -> None:
    write(here, SETTINGS)

    done = agentrail(here, "config", "check", AGENTRAIL_SERVER__PROT="1")

    assert done.status == 2
    assert "did you mean AGENTRAIL_SERVER__PORT?" in done.err


def test_a_check_runs_nothing_of_the_application(here: Path) -> None:
    write(here, SETTINGS + "plugins: {entries: [{name: a, object: 'ended:now'}]}\n")
    (here / "ended.py").write_text("from pathlib import Path\nPath('ran').touch()\n")

    assert agentrail(here, "config", "check").status == 0
    assert not (here / "ran").exists()


def test_a_check_without_a_file_says_so(here: Path) -> None:
    done = agentrail(here, "config", "check")

    assert done.status == 2
    assert "there is no agentrail.yaml, .toml or .json here: name a file" in done.err


def test_two_files_are_refused(here: Path) -> None:
    write(here, SETTINGS)
    write(here, "{}", "agentrail.json")

    done = agentrail(here, "config", "check")

    assert done.status == 2
    assert "agentrail.json: agentrail.yaml is there too" in done.err


def test_a_variable_names_the_file(here: Path) -> None:
    write(here, "not: this")
    file = write(here, SETTINGS, "other.yaml")

    done = agentrail(here, "config", "check", AGENTRAIL_CONFIG=str(file))

    assert done.status == 0
    assert "other.yaml can be used" in done.out


def test_it_shows_what_is_said_with_its_place_and_no_secret(here: Path) -> None:
    write(here, SETTINGS)

    done = agentrail(here, "config", "show", AGENTRAIL_STOP_GRACE="5")

    rows = [line.split() for line in done.out.splitlines()]
    assert ["server.host", '"127.0.0.1"', "agentrail.yaml:2"] in rows
    assert ["stop_grace", "5.0", "AGENTRAIL_STOP_GRACE"] in rows
    assert ["providers.house.api_key", '"[hidden]"', "agentrail.yaml:4"] in rows
    assert "server.port" not in done.out
    assert "canary" not in done.out + done.err


def test_it_shows_the_defaults_too(here: Path) -> None:
    write(here, SETTINGS)

    done = agentrail(here, "config", "show", "--all")

    assert ["server.port", "8642", "default"] in [line.split() for line in done.out.splitlines()]


def test_it_shows_settings_to_programs(here: Path) -> None:
    write(here, SETTINGS)

    done = agentrail(here, "config", "show", "--json")

    shown = {each["path"]: each for each in json.loads(done.out)}
    assert shown["profiles.0.id"] == {
        "path": "profiles.0.id",
        "value": "second",
        "source": "agentrail.yaml:6",
    }
    assert "canary" not in done.out + done.err


def test_it_prints_the_schema(here: Path) -> None:
    schema = json.loads(agentrail(here, "config", "schema").out)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "server" in schema["$defs"]["Settings"]["properties"]


def test_every_command_has_the_settings_that_are_found(here: Path) -> None:
    write(here, SETTINGS)

    told = agentrail(here, "explain").out

    assert "second" in told


def test_a_fault_in_an_object_is_told_with_its_line(here: Path) -> None:
    write(here, "plugins:\n  entries:\n  - {name: a, object: 'nowhere:at_all'}\n")

    done = agentrail(here, "explain")

    assert done.status == 2
    assert "agentrail.yaml:3: plugins.entries.0.object: it cannot be taken" in done.err


def test_settings_alone_are_an_application(tmp_path: Path) -> None:
    write(tmp_path, ALONE)

    done = agentrail(tmp_path, "explain")

    assert (done.status, done.err) == (0, "")
    assert "alone" in done.out


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_file_says_how_it_is_served(here: Path, backend: str) -> None:
    file = write(here, SETTINGS + "data_dir: kept\n", "other.yaml")
    text = file.read_text().replace("server:\n", f"server:\n  backend: {backend}\n")
    file.write_text(text)

    with serving(here, "--config", str(file)) as server:
        first = server.client.post("/chat", json={"message": "hi"}).json()
        second = server.client.post("/chat", json={"message": "hi", "agentId": "second"}).json()
        assert server.stop() == 0

    assert (first["message"], second["message"]) == ("1: hi [b]", "1: hi [b]")
    assert (here / "kept" / "sessions.db").exists()
    assert not (here / "data").exists()


def test_the_port_of_the_file_is_served(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = write(here, f"server: {{port: {port}}}\n", "other.yaml")
        refused = agentrail(here, "serve", "--config", str(file))

    assert refused.status == 2
    assert f"cannot serve on 127.0.0.1 port {port}" in refused.err

    with (
        serving(here, "--config", str(file), port=None) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=50, trust_env=False) as client,
    ):
        answer = client.post("/chat", json={"message": "hi"}).json()
        assert server.stop() == 0

    assert answer["message"] == "1: hi [b]"


def test_an_option_counts_more_than_the_file(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"server: {{port: {port}, backend: trio}}\ndata_dir: kept\n"
        write(here, text)

        with serving(here, "--data-dir", "mine") as server:
            assert server.client.base_url.port != port
            server.client.post("/chat", json={"message": "hi"})
            assert server.stop() == 0

    assert (here / "mine" / "sessions.db").exists()
    assert not (here / "kept").exists()
