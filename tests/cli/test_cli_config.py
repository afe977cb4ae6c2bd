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


NAMED = """\
plugins: {entries: [{name: a, object: 'ended:now', config: {key: 'secret:LOST'}}]}
middlewares: [{name: object, object: 'ended:now'}]
"""


def test_a_check_makes_nothing_that_settings_name_and_says_so(here: Path) -> None:
    write(here, SETTINGS + NAMED)
    (here / "ended.py").write_text("from pathlib import Path\nPath('ran').touch()\n")

    done = agentrail(here, "config", "check")

    assert (done.status, done.out.endswith("agentrail.yaml can be used\n")) == (0, True)
    assert done.err.splitlines() == [
        "agentrail.yaml:8: plugins.entries.0.config.key: nobody has the secret 'LOST' here",
        "not looked at: what they name of the application's code; 'agentrail doctor' makes it",
    ]
    assert not (here / "ran").exists()
    assert not (here / "data").exists()


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            "  - {id: assistant, model: 'scripted:m'}\n",
            "agentrail.yaml:8: profiles.1: the application has a profile of this id",
        ),
        (
            "  - {id: lost, model: 'hause:m'}\n",
            "agentrail.yaml:8: profiles.1: profile 'lost': 'hause:m' names no model provider; ",
        ),
        (
            "  - {id: lost, model: 'house:m', fallbacks: ['nowhere:m']}\n",
            "agentrail.yaml:8: profiles.1: profile 'lost': 'nowhere:m' names no model provider",
        ),
        (
            "plugins:\n  entries: [{name: lost}]\n",
            "agentrail.yaml:9: plugins.entries.0.name: the application has no plugin of this name",
        ),
    ],
    ids=["profile", "model", "fallback", "plugin"],
)
def test_a_check_compares_settings_with_the_application(here: Path, more: str, fault: str) -> None:
    write(here, SETTINGS + more)

    done = agentrail(here, "config", "check")

    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[1].startswith(f"  - {fault}")


def test_a_check_without_the_application_says_so(here: Path) -> None:
    write(here, SETTINGS)
    (here / "app.py").write_text("raise OSError('no license')\n")

    done = agentrail(here, "config", "check")

    assert (done.status, done.err) == (
        0,
        "they were compared with no application: 'app' cannot be loaded: OSError: no license\n",
    )


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


def test_a_file_that_a_variable_names_is_told_with_all_of_its_path(here: Path) -> None:
    done = agentrail(here, "config", "check", AGENTRAIL_CONFIG="conf/lost.yaml")

    assert done.status == 2
    assert "lost.yaml: it cannot be read: No such file or directory" in done.err
    assert done.err.endswith("AGENTRAIL_CONFIG says 'conf/lost.yaml'\n")


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


LOUD = "reload: {watch: false}\n"
MORE = """\
profiles:
  - {id: second, model: 'scripted:m', prompt: two, temperature: 0.5}
  - {id: third, model: 'scripted:m'}
providers:
  house: {kind: openai, api_key: canary}
"""


def test_what_came_and_went_is_told_as_a_whole(here: Path) -> None:
    """And what is not there is another thing than a value."""
    write(here, LOUD + "profiles: [{id: second, model: 'scripted:m', prompt: one}]\n")
    with serving(here):
        write(here, LOUD + MORE)
        assert agentrail(here, "config", "reload").status == 0
        history = agentrail(here, "config", "history").out.splitlines()
        there = agentrail(here, "config", "diff", "1", "2").out.splitlines()
        back = agentrail(here, "config", "diff", "2", "1").out.splitlines()

    changed = "profiles.0.prompt, profiles.0.temperature, providers.house, profiles.1"
    assert history[1].endswith(f"  {changed}")
    rows = [line.split(maxsplit=2) for line in there[1:]]
    assert rows[:3] == [
        ["profiles.0.prompt", '"one"', '"two"'],
        ["profiles.0.temperature", "-", "0.5"],
        ["providers.house.kind", "-", '"openai"'],
    ]
    assert [row[0] for row in rows[3:]] == [
        "providers.house.api_key",
        "profiles.1.id",
        "profiles.1.model",
    ]
    assert ["providers.house.kind", '"openai"', "-"] in [each.split() for each in back]


def test_the_state_of_a_host_is_told(here: Path) -> None:
    write(here, LOUD + SETTINGS)
    with serving(here, "--data-dir", "mine") as server:

        def state(*more: str) -> str:
            done = agentrail(here, "config", "state", "--data-dir", "mine", *more)
            assert done.status == 0, done.err
            return done.out

        assert state().startswith("revision 1 is used: start by application, 2")
        assert len(state().splitlines()) == 1
        assert json.loads(state("--json")) == server.client.get("/api/config").json()

        write(here, LOUD + SETTINGS + "sever: {}\n")
        server.client.post("/api/config/reload")
        assert state().splitlines()[1:] == [
            "degraded: the settings as they are now are refused",
            "  agentrail.yaml:9: sever: there is no setting 'sever' here; did you mean 'server'?",
        ]

        write(here, "reload: {watch: false, quiet_seconds: 3}\n" + SETTINGS)
        server.client.post("/api/config/reload")
        assert state().splitlines()[1:] == ["  reload.quiet_seconds counts from the next start on"]
        server.client.post("/api/config/rollback", json={"revision": 1})
        assert state().splitlines()[1:] == ["it counts until the file of settings is changed"]
        assert server.stop() == 0

        left = agentrail(here, "config", "state", "--data-dir", "mine")
        assert left.out.splitlines()[0].startswith("revision 3 was used last: rollback by ")
        assert left.out.splitlines()[1:] == ["it counts until the file of settings is changed"]
        assert left.err == "no host answers here: this is about what is kept in 'mine'\n"


def test_before_a_host_has_run_there_is_no_revision(here: Path) -> None:
    write(here, SETTINGS)

    assert agentrail(here, "config", "state").out == "no revision was used yet\n"
