"""The commands of the pages on approval and on reconnecting do what the pages say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks
from tests.docs.test_commands import commands, run, served

pytestmark = pytest.mark.timeout(120)

HOST = "http://127.0.0.1:8642"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with the application of the page on approval."""
    source = ROOT / "docs/snippets/approval.py"
    (tmp_path / "app.py").write_text(source.read_text("utf-8"), "utf-8")
    return tmp_path


def asked(page: str) -> list[str]:
    """Returns a page's commands, which all ask the host."""
    found = commands(ROOT / "docs/how-to" / page)
    assert all(command.startswith("curl ") and HOST in command for command in found)
    return found


def told(command: str, address: str, cwd: Path, **variables: object) -> str:
    """Returns what a command prints, the page's variables being set before."""
    wanted = command.replace(HOST, address)
    settings = "".join(f"{name}={value}; " for name, value in variables.items())
    return run(f"{settings}{wanted} --silent --show-error --fail-with-body", cwd)


def frames(text: str) -> list[dict[str, Any]]:
    """Returns the data of a stream's frames."""
    return [json.loads(data) for data in re.findall(r"^data: (.*)$", text, re.MULTILINE)]


def test_the_commands_on_approval_work(here: Path) -> None:
    with served(here) as address:
        ask, look, approve, refuse = asked("approve.md")

        answer = json.loads(told(ask, address, here))
        ada, bob = [each["call"] for each in answer["approvals"]]
        assert (answer["outcome"], ada["arguments"]) == ("suspended", {"to": "ada"})
        ids = {"TURN": answer["turnId"], "ADA": ada["id"], "BOB": bob["id"]}

        status = json.loads(told(look, address, here, **ids))
        assert status["approvals"] == answer["approvals"]
        status = json.loads(told(approve, address, here, **ids))
        assert [each["call"]["id"] for each in status["approvals"]] == [bob["id"]]
        answer = json.loads(told(refuse, address, here, **ids))
        assert (answer["outcome"], answer["message"]) == ("completed", "That is done.")


def test_the_commands_on_reconnecting_work(here: Path) -> None:
    with served(here) as address:
        begin, take_up, first, second, cancel = asked("reconnect.md")

        sent = told(begin, address, here)
        whole = frames(sent)
        assert whole[-1]["outcome"] == "suspended"
        turn_id = whole[0]["turnId"]
        for place, frame in enumerate(whole, 1):
            rest = told(take_up, address, here, TURN=turn_id, LAST=frame["id"])
            assert frames(rest) == whole[place:]
            assert sent.endswith(rest)

        one = told(first, address, here)
        assert told(second, address, here) == one

        status = json.loads(told(cancel, address, here, TURN=turn_id))
        assert status["status"] == "cancelled"
        assert told(cancel, address, here, TURN=turn_id)


def test_the_pages_have_no_other_commands() -> None:
    for page in ("approve.md", "reconnect.md"):
        path = ROOT / "docs/how-to" / page
        assert {block.language for block in blocks(path)} <= {"sh", "python"}
