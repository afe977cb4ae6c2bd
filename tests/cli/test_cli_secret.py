"""``agentrail secret``: values go in, are used, and never come out again."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canaries import leaks
from tests.cli.command import AGENTRAIL, agentrail, environment, serving, terminal
from tests.echo import Echo, echoing
from tests.forks import Done

VALUES = {"first": "canary/one+two==", "second": 'a second "canäry" of it'}

ALONE = "no host answers here: this is about what is kept in 'data'\n"

SETTINGS = """\
providers: {house: {kind: openai, base_url: "%s", api_key: "secret:HOUSE"}}
profiles: [{id: alone, model: "house:m"}]
reload: {watch: false}
"""


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    """An upstream that settings here are about; its key is a secret."""
    with echoing() as echo:
        (tmp_path / "agentrail.yaml").write_text(SETTINGS % echo.url)
        yield echo


def secret(here: Path, *arguments: str, stdin: str = "", status: int = 0) -> Done:
    done = agentrail(here, "secret", *arguments, stdin=stdin)
    assert done.status == status, done.err
    assert leaks(VALUES, {"out": done.out, "err": done.err}) == []
    return done


def test_without_a_host_a_value_is_sealed_and_used_by_the_next_one(
    tmp_path: Path, echo: Echo
) -> None:
    """The settings name it before anybody has it."""
    done = secret(tmp_path, "set", "HOUSE", stdin=VALUES["first"] + "\n")

    assert done.out == "sealed HOUSE\n"
    listed = json.loads(secret(tmp_path, "list", "--json").out)
    assert [(each["name"], each["changedBy"]) for each in listed] == [("HOUSE", "local")]
    assert listed[0].keys() == {"name", "changedAt", "changedBy", "key"}
    with serving(tmp_path) as host:
        assert host.client.post("/chat", json={"message": "hi"}).status_code == 200
    assert echo.authorizations == [f"Bearer {VALUES['first']}"]
    found = [each for each in (tmp_path / "data").iterdir() if each.is_file()]
    files = {each.name: each.read_bytes() for each in found}
    assert "host.db" in files
    assert leaks(VALUES, files) == []


def test_a_running_host_goes_by_a_value_at_once(tmp_path: Path, echo: Echo) -> None:
    secret(tmp_path, "set", "HOUSE", stdin=VALUES["first"])
    with serving(tmp_path) as host:
        host.client.post("/chat", json={"message": "hi"})
        secret(tmp_path, "set", "HOUSE", stdin="another-value")
        host.client.post("/chat", json={"message": "hi"})
        found = host.client.get("/api/audit?object=secret:HOUSE").json()["entries"]

    assert echo.authorizations == [f"Bearer {VALUES['first']}", "Bearer another-value"]
    assert [(each["action"], each["actor"]) for each in found] == [("secret.set", "local")] * 2


def test_a_secret_that_is_needed_is_deleted_and_the_host_goes_on(
    tmp_path: Path, echo: Echo
) -> None:
    secret(tmp_path, "set", "HOUSE", stdin=VALUES["first"])
    with serving(tmp_path) as host:
        deleted = secret(tmp_path, "delete", "HOUSE")
        assert deleted.out == "deleted HOUSE\n"
        told = "the host is degraded: agentrail.yaml:1: providers.house.api_key: nobody has "
        assert deleted.err.startswith(told)
        state = host.client.get("/api/config").json()
        assert host.client.post("/chat", json={"message": "hi"}).status_code == 200

    assert state["state"] == "degraded"
    assert "nobody has the secret 'HOUSE'" in state["faults"][0]["message"]
    assert echo.authorizations == [f"Bearer {VALUES['first']}"]
    gone = secret(tmp_path, "delete", "HOUSE", status=2)
    assert "\nsecret_not_found: " in gone.err


@pytest.mark.parametrize("runs", [True, False])
def test_what_is_sealed_is_sealed_anew_and_the_old_key_is_gone(
    tmp_path: Path, echo: Echo, *, runs: bool
) -> None:
    secret(tmp_path, "set", "HOUSE", stdin=VALUES["first"])
    secret(tmp_path, "set", "OTHER", stdin=VALUES["second"])
    file = tmp_path / "data" / "secret.key"
    before = file.read_text()

    rotated = list[Done]()
    with serving(tmp_path) as host:
        host.client.post("/chat", json={"message": "hi"})
        if runs:
            rotated.append(secret(tmp_path, "rotate"))
    if not runs:
        rotated.append(secret(tmp_path, "rotate"))

    assert rotated[0].out == "sealed 2 anew, with a new key\n"
    assert len(file.read_text().split()) == 1
    assert file.read_text() != before
    with serving(tmp_path) as host:
        host.client.post("/chat", json={"message": "hi"})
        back = host.client.post("/api/config/rollback", json={"revision": 1})
        assert back.status_code == 200, back.text  # what it was then was sealed anew too
    assert echo.authorizations == [f"Bearer {VALUES['first']}"] * 2


def test_a_person_types_a_value_and_does_not_see_it(tmp_path: Path, echo: Echo) -> None:
    with terminal(tmp_path, "secret", "set", "HOUSE") as typing:
        typing.answer("value of HOUSE: ", VALUES["first"] + "\n")
        status, shown = typing.end()

    assert (status, shown.splitlines()[-1]) == (0, "sealed HOUSE")
    assert leaks(VALUES, {"screen": shown}) == []
    with serving(tmp_path) as host:
        host.client.post("/chat", json={"message": "hi"})
    assert echo.authorizations == [f"Bearer {VALUES['first']}"]


def test_a_value_is_not_taken_from_the_command_line(tmp_path: Path, echo: Echo) -> None:
    """Where the list of processes and the shell's history would have it."""
    assert echo.port
    refused = agentrail(tmp_path, "secret", "set", "HOUSE", VALUES["first"])

    assert refused.status == 2
    assert "sealed" not in refused.out
    assert json.loads(secret(tmp_path, "list", "--json").out) == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("HOUSE", "", "invalid_request"),
        ("HOUSE", "\n", "invalid_request"),
        ("1HOUSE", "canary/one+two==", "invalid_id"),
        ("MY-KEY", "canary/one+two==", "invalid_id"),
        ("rotate", "canary/one+two==", ""),
    ],
)
def test_what_is_no_secret_is_refused(
    tmp_path: Path, echo: Echo, name: str, value: str, code: str
) -> None:
    assert echo.port
    done = secret(tmp_path, "set", name, stdin=value, status=2 if code else 0)

    assert f"{code}: " in done.err if code else done.err == ALONE


@pytest.mark.parametrize("verb", ["set", "delete"])
@pytest.mark.parametrize(
    "name",
    ["HOUSE#canary", "HOUSE?a=1", "../tokens/x", "..", "a\nb", "\udcff", "", "HOUSE\n", "H" * 129],
)
def test_what_is_no_name_reaches_nothing_and_is_not_told(
    tmp_path: Path, echo: Echo, verb: str, name: str
) -> None:
    assert echo.port
    done = secret(tmp_path, verb, "--", name, stdin="another-value", status=2)

    assert done.out == ""
    assert done.err == (
        "invalid_id: the name of a secret has 1 to 128 ASCII letters, digits and _, "
        "and no digit first\n"
    )
    assert not (tmp_path / "data").exists()


def test_what_is_not_utf_8_is_refused_in_a_sentence(tmp_path: Path, echo: Echo) -> None:
    assert echo.port
    done = subprocess.run(
        [AGENTRAIL, "secret", "set", "HOUSE"],
        cwd=tmp_path,
        env=environment(),
        input=b"can\xffary",
        capture_output=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(b"invalid_request: standard input is not UTF-8")
    assert b"ary" not in done.stdout + done.stderr


def test_one_line_s_end_is_no_part_of_a_value(tmp_path: Path, echo: Echo) -> None:
    secret(tmp_path, "set", "HOUSE", stdin=VALUES["first"] + "\r\n")
    with serving(tmp_path) as host:
        host.client.post("/chat", json={"message": "hi"})

    assert echo.authorizations == [f"Bearer {VALUES['first']}"]


def test_what_counts_before_a_seal_is_told(tmp_path: Path, echo: Echo) -> None:
    file = tmp_path / "agentrail.yaml"
    file.write_text(SETTINGS % echo.url + "secrets: {directory: files}\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "HOUSE").write_text("another-value")

    done = agentrail(
        tmp_path, "secret", "set", "HOUSE", stdin="value", AGENTRAIL_SECRET_HOUSE="a-third-value"
    )

    assert (done.status, done.out) == (0, "sealed HOUSE\n")
    assert done.err.splitlines()[1:] == [
        "the variable AGENTRAIL_SECRET_HOUSE is there too: a host that has it goes by that",
        "the file 'files/HOUSE' is there too: a host that has it goes by that",
    ]
    assert secret(tmp_path, "set", "OTHER", stdin="value").err == ALONE
