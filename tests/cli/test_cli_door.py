"""Which host commands are about, and what of it they need: the least that there is."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import AGENTRAIL, agentrail, environment, serving, without
from tests.forks import Done

APP = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.plugin import PackageSettings

app = create_app(
    AppConfig(
        profiles=[Profile(id="own", model="scripted:m")],
        providers=[ScriptedModel.repeat("Hello.")],
        packages=PackageSettings(),
    )
)
"""

PARTS = """
from pathlib import Path

from agentrail import define_plugin


def part(**config):
    with Path("made").open("a") as file:
        file.write("once ")
    return define_plugin("part")
"""

LOUD = "reload: {watch: false}\n"
PART = "plugins: {entries: [{name: part, object: 'parts:part', config: {key: 'secret:KEY'}}]}\n"

COMMANDS = (
    ("config", "state"),
    ("config", "history"),
    ("config", "revision", "1"),
    ("config", "diff", "1", "1"),
    ("secret", "list"),
    ("secret", "set", "OTHER"),
    ("audit", "verify"),
    ("audit", "list"),
    ("token", "create", "ada", "--role", "viewer"),
    ("token", "list"),
)
"""Commands that need nothing of what settings declare."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application, and a part that notes when it is made."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "parts.py").write_text(PARTS)
    return tmp_path


def write(here: Path, *parts: str, name: str = "agentrail.yaml") -> Path:
    """Write a file of settings."""
    file = here / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(parts))
    return file


def told(here: Path, *arguments: str, **variables: str) -> Done:
    """Return what a command says that does what it is asked for."""
    done = agentrail(here, *arguments, stdin="a value", **variables)
    assert done.status == 0, (arguments, done)
    return done


def made(here: Path) -> int:
    """Return how often the part was made."""
    return len((here / "made").read_text().split()) if (here / "made").exists() else 0


@pytest.mark.parametrize(
    "now",
    [
        "profiles: [{id: own, model: 'scripted:m'}]\n",
        "profiles: [{id: lost, model: 'nowhere:m'}]\n",
        "sever: {}\n",
        "providers: {house: {kind: openai, api_key: 'secret:NOBODY'}}\n",
        "middlewares: [{name: object, object: 'nowhere:at_all'}]\n",
    ],
    ids=["clash", "not composed", "refused", "no secret", "no object"],
)
def test_a_running_host_is_asked_whatever_its_file_says_now(here: Path, now: str) -> None:
    write(here, LOUD, "data_dir: kept\n", PART)
    told(here, "secret", "set", "KEY")
    with serving(here):
        write(here, LOUD, "data_dir: kept\n", PART, now)

        for command in (*COMMANDS, ("plugin", "list")):
            assert "no host" not in told(here, *command).err
        assert agentrail(here, "config", "reload").status == 2
        assert "degraded: " in told(here, "config", "state").out
        assert told(here, "config", "rollback", "1").out == "revision 1 is used\n"
        assert "it counts until" in told(here, "config", "state").out
    assert made(here) == 1


@pytest.mark.parametrize("now", [None, "profiles: [\n"], ids=["gone", "unreadable"])
def test_a_running_host_is_asked_when_its_file_tells_nothing(here: Path, now: str | None) -> None:
    file = write(here, LOUD)
    with serving(here):
        file.unlink() if now is None else file.write_text(now)

        for command in (*COMMANDS, ("plugin", "list")):
            assert "no host" not in told(here, *command).err


def test_a_running_host_is_asked_when_its_file_is_elsewhere(here: Path) -> None:
    file = write(here, LOUD, "data_dir: kept\n", name="conf/other.yaml")
    with serving(here, "--config", str(file)):
        lost = agentrail(here, "config", "history")
        assert lost.status == 2
        assert lost.err.startswith("no host answers in 'data': name one with --data-dir or --url\n")
        assert "AGENTRAIL_CONFIG" in lost.err
        for found in (
            told(here, "config", "state", "--data-dir", "kept"),
            told(here, "config", "state", AGENTRAIL_CONFIG=str(file)),
        ):
            assert found.out.startswith("revision 1 is used: ")
            assert found.err == ""


def test_a_running_host_is_asked_when_the_file_that_its_program_names_is_refused(
    here: Path,
) -> None:
    program = "SettingsSource(Path(__file__).with_name('own.yaml'))"
    text = APP.replace("    )\n)\n", f"    ),\n    settings={program},\n)\n")
    (here / "app.py").write_text(
        f"from pathlib import Path\n\nfrom agentrail.host import SettingsSource\n{text}"
    )
    write(here, LOUD, name="own.yaml")
    with serving(here):
        write(here, LOUD, "sever: {}\n", name="own.yaml")

        assert told(here, "config", "state").out.startswith("revision 1 is used: ")
        refused = agentrail(here, "config", "check", "own.yaml")
        assert (refused.status, refused.out) == (2, "")


def test_an_application_that_cannot_be_loaded_any_more_is_not_needed(here: Path) -> None:
    with serving(here):
        (here / "app.py").write_text("raise OSError('no license')")

        assert told(here, "plugin", "list").err == ""
        assert told(here, "audit", "verify").out.startswith("the log is whole")


def test_a_host_that_has_its_data_elsewhere_than_the_file_says_now_is_told(here: Path) -> None:
    file = write(here, LOUD)
    with serving(here):
        write(here, LOUD, "data_dir: kept\n")

        done = told(here, "config", "state")
        assert done.out.startswith("revision 1 is used: ")
        assert done.err == "the host that answers has its data in 'data', and not in 'kept'\n"
        lost = told(here, "config", "state", "--data-dir", "kept")
        assert lost.err == "no host answers here: this is about what is kept in 'kept'\n"
        file.unlink()


@pytest.mark.parametrize(
    "now",
    [
        "providers: {house: {kind: openai, api_key: 'secret:NOBODY'}}\n",
        "middlewares: [{name: object, object: 'nowhere:at_all'}]\n",
        "profiles: [{id: lost, model: 'nowhere:m'}]\n",
        "sever: {}\n",
    ],
    ids=["no secret", "no object", "not composed", "refused"],
)
def test_what_is_kept_is_told_when_a_host_could_not_start(here: Path, now: str) -> None:
    write(here, LOUD, "data_dir: kept\n", PART)
    told(here, "secret", "set", "KEY")
    with serving(here) as server:
        assert server.stop() == 0
    write(here, LOUD, "data_dir: kept\n", PART, now)
    place = "no host answers here: this is about what is kept in 'kept'\n"

    for command in COMMANDS:
        assert told(here, *command).err.startswith(place)
    refused = agentrail(here, "plugin", "list")
    assert refused.status == 2
    assert refused.err.startswith("no host answers in 'kept' and 'data': name one with ")
    assert "agentrail.yaml:4: " in refused.err

    back = told(here, "config", "rollback", "1")
    assert back.out == "revision 2 is used from the next start on\n"
    assert not (here / "data").exists()
    before = made(here)
    with serving(here) as server:
        assert told(here, "config", "state").out.splitlines()[1].startswith("it counts until")
        assert server.stop() == 0
    assert made(here) == before + 1


@pytest.mark.parametrize("now", [None, "data_dir: kept\nprofiles: [\n"], ids=["gone", "unreadable"])
def test_nothing_is_made_elsewhere_when_the_file_cannot_tell_where(
    here: Path, now: str | None
) -> None:
    file = here / "agentrail.yaml"
    if now is not None:
        file.write_text(now)

    done = agentrail(here, "token", "create", "ada", "--role", "viewer", AGENTRAIL_CONFIG=str(file))

    assert done.status == 2
    assert done.err.startswith("no host answers in 'data': name one with --data-dir or --url\n")
    assert done.err.endswith(f"AGENTRAIL_CONFIG says {str(file)!r}\n")
    assert not (here / "data").exists()
    there = "--data-dir", "kept"
    assert told(here, "token", "create", "ada", "--role", "viewer", *there).out


LOST = "data_dir: ${STATE}/agent\n"
"""Where the data is, told by a variable that the host has and a command has not."""


def test_a_command_that_cannot_tell_where_the_data_is_goes_nowhere_else(here: Path) -> None:
    write(here, LOUD, LOST)
    with serving(here, variables={"STATE": "state"}) as server:
        for command in (*COMMANDS, ("plugin", "list")):
            done = agentrail(here, *command, stdin="a value")
            assert (done.status, done.out) == (2, "")
            assert done.err.startswith("it cannot be told where the data is: name it with --data-")
            assert "data_dir: " in done.err
            assert "STATE" in done.err

        there = "--data-dir", "state/agent"
        assert told(here, "config", "state", *there).out.startswith("revision 1 is used: ")
        assert server.stop() == 0
    assert not (here / "data").exists()
    assert told(here, "config", "state", *there).out.startswith("revision 1 was used last: ")
    assert told(here, "secret", "list", AGENTRAIL_DATA_DIR="state/agent").out
    assert not (here / "data").exists()


def test_keys_are_where_a_refused_file_says_also_when_the_data_is_given(here: Path) -> None:
    there = "--data-dir", "kept"
    write(here, LOUD, LOST, "secrets: {key_file: ring/key}\n")

    told(here, "secret", "set", "KEY", *there)
    assert (here / "ring" / "key").exists()
    assert not (here / "kept" / "secret.key").exists()

    write(here, LOUD, LOST, "secrets: {key_file: '${RING}/key'}\n")
    refused = agentrail(here, "secret", "set", "KEY", *there, stdin="another")
    assert refused.status == 2
    assert "secrets.key_file: " in refused.err
    assert not (here / "kept" / "secret.key").exists()


def test_of_several_hosts_the_one_is_asked_that_may_change_what_is_kept(here: Path) -> None:
    write(here, LOUD)
    with serving(here) as leads:
        users = here / "data" / "host.db-users"
        (user,) = users.iterdir()
        user.rename(users / "last")  # a lock goes by its file, whatever that is called
        with serving(here):
            assert [each.name for each in sorted(users.iterdir())].index("last") == 1
            assert told(here, "config", "reload").out == "revision 1 is used\n"
            told(here, "secret", "set", "KEY")
        found = leads.client.get("/api/audit?object=secret:KEY").json()["entries"]

    assert [each["action"] for each in found] == ["secret.set"]


@pytest.mark.parametrize("given", [True, False])
def test_a_data_directory_of_another_user_is_told(here: Path, *, given: bool) -> None:
    write(here, LOUD, "data_dir: kept\n")
    with serving(here) as server:
        assert server.stop() == 0
    (here / "kept").chmod(0)
    try:
        done = subprocess.run(
            [*without("dac_override", "dac_read_search"), AGENTRAIL, "token", "list"],
            cwd=here,
            env=environment() | ({"AGENTRAIL_DATA_DIR": "kept"} if given else {}),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    finally:
        (here / "kept").chmod(0o700)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "config_invalid: the data directory 'kept' cannot be read (Permission denied): "
        "only the user that its host runs as may; be that one, or name the host with --url\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8642",
        "http://[::1",
        "http://h:abc",
        "http://h:99999",
        "http://ü..x",
        "http://xn--a",
        "http://a\tb",
        "http://h/\x7f",
        "http://h/\udcff",
    ],
)
def test_what_is_no_address_of_a_host_is_told(here: Path, url: str) -> None:
    done = agentrail(here, "plugin", "list", "--url", url)

    assert (done.status, done.out) == (2, "")
    assert done.err == (
        f"config_invalid: {url!r} is no address of a host: write it as http://127.0.0.1:8642\n"
    )


@pytest.mark.parametrize("name", ["", "..", "a/events", "a\nb", "a#b", "\udcff", "x" * 70_000])
def test_an_argument_reaches_no_more_than_what_it_names(here: Path, name: str) -> None:
    write(here, LOUD)
    for command in (("token", "revoke"), ("plugin", "logs"), ("plugin", "remove", "--yes")):
        done = agentrail(here, *command, name)

        assert (done.status, done.out) == (2, ""), command
        *_, last = done.err.splitlines()
        code = last.partition(": ")[0]
        assert code in {"token_not_found", "invalid_id", "invalid_request"}, last


def test_tokens_are_made_beside_a_host_also_with_a_token_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        APP.replace("packages=", "authenticator=BearerTokens({}), packages=").replace(
            "import AppConfig", "import AppConfig, BearerTokens"
        )
    )
    with serving(tmp_path):
        refused = agentrail(tmp_path, "plugin", "list", AGENTRAIL_TOKEN="useless")
        told(tmp_path, "token", "create", "ada", "--role", "admin", AGENTRAIL_TOKEN="useless")

        assert (refused.status, refused.err.partition(":")[0]) == (2, "unauthenticated")
        (entry,) = json.loads(told(tmp_path, "audit", "list", "token:", "--json").out)
        assert (entry["action"], entry["actor"]) == ("token.create", "local")


@pytest.mark.parametrize(
    "command",
    ["config history", "config state --json", "plugin list", "audit list", "secret list --json"],
)
@pytest.mark.parametrize("runs", [True, False])
def test_whoever_reads_may_go(here: Path, command: str, *, runs: bool) -> None:
    write(here, LOUD)
    with serving(here) as server:
        if not runs:
            assert server.stop() == 0
        reads, writes = os.pipe()
        os.close(reads)
        with os.fdopen(writes, "wb") as gone:
            done = subprocess.run(
                [AGENTRAIL, *command.split()],
                cwd=here,
                env=environment(),
                stdout=gone,
                stderr=subprocess.PIPE,
                text=True,
                timeout=50,
                check=False,
            )

    assert done.returncode in {0, 1}
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(told(here, "config", "history", "--json").out)
