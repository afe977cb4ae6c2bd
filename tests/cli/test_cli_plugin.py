"""``agentrail plugin``, ``audit`` and ``token``: by the host that runs, or on what it has left."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.cli.command import Serving, agentrail, environment, serving, terminal
from tests.cli.packages import APP, SOURCE, package, plugin, seen
from tests.forks import Done

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application that takes packages."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def tools(server: Serving, **more: str) -> str:
    """Return the tools that the model has in the next turn."""
    answer = server.client.post("/chat", json={"message": "hi"}, headers=more)
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["message"]
    return said


@BACKENDS
def test_what_is_installed_without_a_host_runs_with_the_next(here: Path, backend: str) -> None:
    done = plugin(here, "install", str(package(here)), "--yes")

    assert done.out == "hello 1.0.0: disabled, enabled\n"
    assert "hello 1.0.0, sha256:" in done.err
    assert "no host runs here" in done.err
    assert "_package" not in done.err
    assert seen(here)["enabled"] is True
    with serving(here, "--backend", backend) as server:
        assert tools(server) == "hello__greet"
        assert seen(here)["state"] == "active"
        assert server.stop() == 0
    assert (seen(here)["state"], seen(here)["enabled"]) == ("disabled", True)


def test_none_of_the_code_runs_without_a_host(here: Path) -> None:
    directory = package(here)
    (directory / "greeter.py").write_text("raise SystemExit('it ran')")

    plugin(here, "install", str(directory), "--yes")
    plugin(here, "disable", "hello")

    assert plugin(here, "enable", "hello").out == "hello 1.0.0: disabled, enabled\n"
    kinds = [each["type"] for each in json.loads(plugin(here, "events", "--json").out)]
    assert kinds == ["upload", "promote"]


@BACKENDS
def test_a_running_host_does_what_a_command_says(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        assert tools(server) == "nothing"

        done = plugin(here, "install", str(package(here)), "--yes")
        assert done.out == "hello 1.0.0: active, enabled\n"
        assert tools(server) == "hello__greet"

        plugin(here, "disable", "hello")
        assert tools(server) == "nothing"
        plugin(here, "enable", "hello")
        assert tools(server) == "hello__greet"

        done = plugin(here, "install", str(package(here, "1.1.0")), "--yes")
        assert done.out == "hello 1.1.0: active, enabled\n"
        assert plugin(here, "rollback", "hello").out == "hello 1.0.0: active, enabled\n"
        assert plugin(here, "upgrade", "hello").out == "hello 1.1.0: active, enabled\n"
        assert seen(here)["previous"] == "1.0.0"
        assert "it begins" in plugin(here, "logs", "hello").out
        assert " upload " in plugin(here, "events", "hello").out

        assert plugin(here, "remove", "hello", "--yes").out == (
            "removed hello with all that it kept\n"
        )
        assert tools(server) == "nothing"
        assert server.stop() == 0
    assert not any("Traceback" in line for line in server.log)
    told = json.loads(agentrail(here, "audit", "list", "package:hello@", "--json").out)
    assert {each["actor"] for each in told} == {"local"}
    assert [told[0]["action"], told[-1]["action"]] == ["package.upload", "package.delete"]


def test_the_packages_are_listed(here: Path) -> None:
    assert plugin(here, "list").out.split() == [
        *("plugin", "version", "state", "switch", "type", "description")
    ]
    plugin(here, "install", str(package(here, more='description = "Says [b] hello."')), "--yes")
    plugin(here, "install", str(package(here, name="other")), "--yes")

    _, hello, other = plugin(here, "list").out.splitlines()
    assert re.split("  +", hello) == [
        *("hello", "1.0.0", "disabled", "on, set", "tool", "Says [b] hello.")
    ]
    assert other.startswith("other")
    assert len(plugin(here, "list", "SAYS").out.splitlines()) == 2
    assert len(json.loads(plugin(here, "list", "--state", "disabled", "--json").out)) == 2
    assert json.loads(plugin(here, "list", "--state", "active", "--json").out) == []
    assert agentrail(here, "plugin", "list", "--state", "happy").status == 2


def test_the_list_says_why_one_is_off(here: Path) -> None:
    with serving(here):
        plugin(here, "install", str(package(here)), "--yes")
        plugin(here, "install", str(package(here, name="other")), "--yes")
        plugin(here, "disable", "hello")

        assert plugin(here, "list").err == "hello: it is off: an administrator said so\n"
        assert "it is off: an administrator said so" in plugin(here, "inspect", "hello").out
        assert "it is off" not in plugin(here, "inspect", "other").out
    (here / "agentrail.yaml").write_text("plugins: {entries: [{name: other, enabled: false}]}\n")
    left = plugin(here, "list").err.splitlines()
    assert left[:2] == [
        "hello: it is off: an administrator said so",
        "other: it is off: the settings say so",
    ]


@BACKENDS
def test_a_guarded_host_lets_commands_of_its_user_in(here: Path, backend: str) -> None:
    with serving(here, "app:guarded", "--backend", backend) as server:
        guarded = ("--app", "app:guarded")
        assert plugin(here, "install", str(package(here)), "--yes", *guarded).out == (
            "hello 1.0.0: active, enabled\n"
        )
        assert tools(server, authorization="Bearer secret") == "hello__greet"

        (note,) = (here / "data" / "host.db-users").iterdir()
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        token = json.loads(note.read_bytes())["token"]
        mine = {"authorization": f"Bearer {token}"}
        assert server.client.get("/api/plugins").status_code == 401
        assert server.client.get("/api/plugins", headers=mine).status_code == 200
        assert server.client.get("/sessions", headers=mine).status_code == 401
        assert server.stop() == 0
    assert list((here / "data" / "host.db-users").iterdir()) == []
    told = json.loads(agentrail(here, "audit", "list", "--json").out)
    assert {each["actor"] for each in told} == {"local"}


def test_a_token_of_ones_own_comes_first(here: Path) -> None:
    with serving(here, "app:guarded") as server:
        url = ("--url", str(server.client.base_url))
        nobody = agentrail(here, "plugin", "list", *url)
        ada = agentrail(here, "plugin", "list", "--app", "app:guarded", AGENTRAIL_TOKEN="secret")

    assert (nobody.status, ada.status) == (2, 2)
    assert nobody.err.startswith("unauthenticated: send a valid token")
    assert "set AGENTRAIL_TOKEN" in nobody.err
    assert "'agentrail token create me --role admin' makes one beside" in nobody.err
    assert ada.err.startswith("forbidden: none of your roles lets you read here")


def test_tokens_open_a_host_that_is_reached_from_elsewhere(here: Path) -> None:
    with serving(here, "--host", "0.0.0.0") as server:  # noqa: S104 - what is tested
        url = str(server.client.base_url).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        made = agentrail(here, "token", "create", "ada", "--role", "viewer", "--role", "publisher")
        token = made.out.strip()
        rows = json.loads(agentrail(here, "token", "list", "--json").out)
        (ada,) = [each for each in rows if each["user"] == "ada"]
        assert (ada["roles"], token.startswith(ada["prefix"])) == (["publisher", "viewer"], True)

        # The token of this machine is not sent to a proxy.
        assert agentrail(here, "plugin", "list", HTTP_PROXY="http://127.0.0.1:9").status == 0
        asked = ("plugin", "list", "--url", url)
        assert agentrail(here, *asked).status == 2
        assert agentrail(here, *asked, AGENTRAIL_TOKEN=token).status == 0
        assert agentrail(here, "token", "revoke", ada["id"]).out == f"revoked {ada['id']}\n"
        assert agentrail(here, *asked, AGENTRAIL_TOKEN=token).status == 2


def test_a_token_that_cannot_be_made_or_revoked_is_told_how_it_is_named(here: Path) -> None:
    agentrail(here, "token", "create", "ada", "--role", "viewer")

    gone = agentrail(here, "token", "revoke", "ada")
    near = agentrail(here, "token", "create", "ada", "--role", "operater")
    king = agentrail(here, "token", "create", "ada", "--role", "viewer", "--role", "king")

    how = "name it by its id, as 'agentrail token list' prints it"
    assert gone.status == 2
    assert last_line(gone) == f"token_not_found: there is no token 'ada': {how}"
    roles = "viewer, operator, publisher, admin, auditor"
    told = "invalid_request: there is no role"
    assert last_line(near) == f"{told} 'operater': use {roles}; did you mean 'operator'?"
    assert last_line(king) == f"{told} 'king': use {roles}"
    assert (near.status, king.status) == (2, 2)
    assert len(json.loads(agentrail(here, "token", "list", "--json").out)) == 1


def last_line(done: Done) -> str:
    """Return what is said after the place that a command is about."""
    return done.err.splitlines()[-1]


@BACKENDS
def test_after_a_kill_commands_work_on_what_is_left(here: Path, backend: str) -> None:
    with serving(here, "--backend", backend) as server:
        plugin(here, "install", str(package(here)), "--yes")
        server.stop(SIGKILL)

        assert (seen(here)["state"], seen(here)["enabled"]) == ("disabled", True)
        assert plugin(here, "disable", "hello").out == "hello 1.0.0: disabled, not enabled\n"
    with serving(here, "--backend", backend) as server:
        assert tools(server) == "nothing"
    assert agentrail(here, "audit", "verify").status == 0


OTHER = """
import sys
import anyio
from app import app

async def main():
    async with app.host:
        print("open", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


def test_nothing_is_changed_under_a_host_that_cannot_be_asked(here: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        done = agentrail(here, "plugin", "install", str(package(here)), "--yes")
        records = agentrail(here, "audit", "verify")
        process.communicate()

    assert (done.status, done.err.partition(":")[0]) == (2, "storage_failed")
    assert "another process has the packages in 'data' open" in done.err
    assert "name it with --url" in done.err
    assert records.status == 0
    assert plugin(here, "list", "--json").out == "[]\n"


def test_somebody_who_is_there_is_asked(here: Path) -> None:
    directory = package(here, more='permissions.network = ["https://api.example.com"]')
    with terminal(here, "plugin", "install", str(directory)) as screen:
        os.write(screen.screen, b"y\n")  # before anything is asked
        screen.answer("run in the host's process? [y/N]", "n\n")
        status, shown = screen.end()
    assert status == 1
    assert "network: https://api.example.com" in shown
    assert "agentrail plugin approve hello --version 1.0.0 --promote" in shown
    assert seen(here)["state"] == "received"

    with terminal(here, "plugin", "install", str(directory)) as screen:
        screen.answer("[y/N]", "y\n")
        status, shown = screen.end()
    assert (status, "hello 1.0.0: disabled, enabled" in shown) == (0, True)

    with terminal(here, "plugin", "remove", "hello") as screen:
        screen.answer("Remove hello with all that it kept? [y/N]", "\n")
        assert screen.end()[0] == 1
    assert seen(here)["granted"] == {"network": ["https://api.example.com"]}


def test_without_anybody_to_ask_a_package_waits(here: Path) -> None:
    done = agentrail(here, "plugin", "install", str(package(here)), stdin="y\n")

    assert (done.status, done.out) == (1, "")
    assert "it waits for approval: agentrail plugin approve hello" in done.err
    wrong = agentrail(here, "plugin", "approve", "hello", "--digest", "sha256:00")
    assert (wrong.status, wrong.err.partition(":")[0]) == (2, "package_state")
    digest = seen(here)["digest"]
    granted = plugin(here, "approve", "hello", "--digest", digest)
    assert granted.out == f"hello 1.0.0: approved, {digest}\n"
    assert granted.err.startswith(f"hello 1.0.0, {digest}\n  it asks for nothing\n")
    early = agentrail(here, "plugin", "enable", "hello")
    assert (early.status, "promote its digest first" in early.err) == (2, True)
    assert plugin(here, "approve", "hello", "--promote").out.startswith("hello 1.0.0: disabled")
    assert plugin(here, "enable", "hello").status == 0


def test_a_version_is_named_where_several_wait(here: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        agentrail(here, "plugin", "install", str(package(here, version)))

    unnamed = agentrail(here, "plugin", "approve", "hello", "--promote")
    assert (unnamed.status, unnamed.err.partition(":")[0]) == (2, "package_state")
    assert "name one with --version: 1.0.0 (sha256:" in unnamed.err
    named = plugin(here, "approve", "hello", "--version", "1.0.0", "--promote")
    assert named.out.startswith("hello 1.0.0: disabled, sha256:")
    assert len(named.out.splitlines()) == 1
    left = plugin(here, "approve", "hello", "--promote")
    assert left.out.startswith("hello 1.1.0: disabled, sha256:")
    assert left.err.startswith(left.out.replace(": disabled", ""))
    again = agentrail(here, "plugin", "approve", "hello", "--version", "1.1.0")
    assert (again.status, again.err.rpartition(": ")[2]) == (
        2,
        "it is approved and promoted already\n",
    )


def test_what_a_publisher_uploads_is_told_to_wait(here: Path) -> None:
    with serving(here, "--host", "0.0.0.0") as server:  # noqa: S104 - what is tested
        url = str(server.client.base_url).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        made = agentrail(here, "token", "create", "ada", "--role", "publisher")
        asked = ("plugin", "install", str(package(here)), "--yes", "--url", url)
        done = agentrail(here, *asked, AGENTRAIL_TOKEN=made.out.strip())

    assert (done.status, done.out) == (1, "")
    refused, told = done.err.splitlines()[-2:]
    assert refused == "forbidden: none of your roles lets you administer here: publisher"
    command = "agentrail plugin approve hello --version 1.0.0 --promote"
    assert told == f"an administrator has to approve it: {command}"
    assert plugin(here, *command.split()[2:]).out.startswith("hello 1.0.0: disabled")


def test_a_package_that_is_like_the_one_that_was_named_is_told(here: Path) -> None:
    plugin(here, "install", str(package(here)), "--yes")

    near = agentrail(here, "plugin", "enable", "helo")
    version = agentrail(here, "plugin", "upgrade", "hello", "--version", "2.0.0")

    expected = "package_not_found: there is no package 'helo'; did you mean 'hello'?\n"
    assert (near.status, near.err) == (2, expected)
    assert version.err == "package_not_found: package 'hello' has no version '2.0.0'\n"


DENIED = SOURCE.replace(
    "    def start(self):\n",
    """\
    def start(self):
        for name in ("one", "two", "three"):
            try:
                self.context.secret(name)
            except Exception:
                pass
""",
)


def test_events_tell_what_was_denied_and_are_there_after_the_package(here: Path) -> None:
    directory = package(here)
    (directory / "greeter.py").write_text(DENIED)
    with serving(here):
        plugin(here, "install", str(directory), "--yes")
        plugin(here, "remove", "hello", "--yes")
        denied = [
            line for line in plugin(here, "events", "hello").out.splitlines() if "denied" in line
        ]

    assert [line.partition("  denied  ")[2].strip() for line in denied] == [
        f"it was not granted secrets: {name}" for name in ("one", "two", "three")
    ]


def test_the_first_version_comes_after_none(here: Path) -> None:
    plugin(here, "install", str(package(here)), "--yes")
    for version in ("1.1.0", "1.2.0"):
        agentrail(here, "plugin", "install", str(package(here, version)))
    plugin(here, "remove", "hello", "--version", "1.0.0", "--yes")
    for version in ("1.1.0", "1.2.0"):
        plugin(here, "approve", "hello", "--version", version, "--promote")
        plugin(here, "upgrade", "hello", "--version", version)

    told = [re.split("  +", line) for line in plugin(here, "events", "hello").out.splitlines()]
    upgrades = [line[2:] for line in told if line[3] == "upgrade"]
    assert upgrades == [["1.1.0", "upgrade"], ["1.2.0", "upgrade", "from 1.1.0"]]


def test_why_a_package_does_not_run_is_on_one_line(here: Path) -> None:
    plugin(here, "install", str(package(here)), "--yes")
    (kept,) = (here / "data" / "packages").iterdir()
    (kept / "greeter.py").chmod(0o644)

    done = plugin(here, "list")

    (told,) = [line for line in done.err.splitlines() if line.startswith("hello: ")]
    assert told.startswith("hello: the package is refused: - ")
    assert "\N{REPLACEMENT CHARACTER}" not in done.err


@BACKENDS
def test_a_bad_package_leaves_nothing(here: Path, backend: str) -> None:
    directory = package(here, more="license = 3\nunknown = 1")
    (here / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    with serving(here, "--backend", backend):
        for path in (directory, here / "bad.zip", here / "missing.zip"):
            done = agentrail(here, "plugin", "install", str(path), "--yes")
            assert done.status == 2
            assert path is directory or f"\n  - {path}" in done.err
            assert "Traceback" not in done.err
        assert plugin(here, "list", "--json").out == "[]\n"
    assert list((here / "data" / "packages").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:9", "host_not_running"),
        ("127.0.0.1:8642", "config_invalid"),
        ("ftp://127.0.0.1", "config_invalid"),
    ],
)
def test_an_address_without_a_host_is_told(here: Path, url: str, code: str) -> None:
    done = agentrail(here, "plugin", "list", "--url", url)

    assert (done.status, done.err.partition(":")[0]) == (2, code)


def test_an_application_without_packages_says_what_to_do(here: Path) -> None:
    (here / "app.py").write_text(APP.replace("packages=PackageSettings(),", ""))

    done = agentrail(here, "plugin", "list")

    assert done.status == 2
    assert "AppConfig(packages=PackageSettings(...))" in done.err
    with serving(here) as server:
        asked = agentrail(here, "plugin", "list", "--url", str(server.client.base_url))
    assert (asked.status, asked.err.partition(":")[0]) == (2, "not_found")
    assert "AppConfig(packages=PackageSettings(...))" in asked.err


@pytest.mark.parametrize(
    "verb",
    [
        *("inspect", "approve", "enable", "disable", "upgrade"),
        *("rollback", "release", "remove", "logs", "events"),
    ],
)
def test_a_package_that_is_not_there_is_told(here: Path, verb: str) -> None:
    done = agentrail(here, "plugin", verb, "nothing")

    told = "there is no package 'nothing'; 'agentrail plugin list' prints those that are there"
    assert (done.status, done.err) == (2, f"package_not_found: {told}\n")


def test_an_audit_log_that_was_changed_is_found(here: Path) -> None:
    plugin(here, "install", str(package(here)), "--yes")
    whole = agentrail(here, "audit", "verify")
    head = whole.out.rpartition(" ")[2].strip()
    plugin(here, "disable", "hello")
    assert (whole.status, whole.out.startswith("the log is whole: 3 entries")) == (0, True)
    assert agentrail(here, "audit", "verify", "--head", head).status == 0
    assert agentrail(here, "audit", "verify", "--head", f"2:{'0' * 64}").status == 1
    assert agentrail(here, "audit", "verify", "--head", "nonsense").status == 2

    with closing(sqlite3.connect(here / "data" / "host.db")) as database, database:
        database.execute("drop trigger audit_is_not_changed")
        database.execute("update audit set actor = 'nobody' where seq = 2")
    database.close()

    done = agentrail(here, "audit", "verify")
    assert done.status == 1
    assert "entry 2: it is not what was written" in done.out


def test_help_imports_no_packages(here: Path) -> None:
    code = (
        "import sys, agentrail.cli\n"
        "print(sorted(m for m in sys.modules if m.startswith(('agentrail.registry',"
        " 'agentrail.package', 'agentrail.admin'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here
    )

    assert done.stdout == "[]\n"
