"""A payment that somebody has to approve, and a host that is killed while it waits.

The program serves itself in a process of its own, with its sessions in a file.  An agent reserves
a room, which it may, and wants to pay, which it has to ask for.  The host is killed with SIGKILL,
started again, and told to go on.  In the end the room is reserved once and paid once.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from agentrail import (
    AppConfig,
    Message,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.model import call_tools
from agentrail.tool import ask

LEDGER = Path(os.environ.get("LEDGER", "ledger.txt"))
"""What was done, a line each."""


@tool
def reserve(room: str) -> str:
    """Reserve a room."""
    return enter(f"reserved {room}")


@tool
def pay(euros: int) -> str:
    """Pay for a room."""
    return enter(f"paid {euros} euros")


def enter(line: str) -> str:
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"{line}\n")
    return line


def say(request: ModelRequest) -> ModelReply:
    """Stand in for a model: it wants two things done, and then tells what became of them."""
    last = request.messages[-1]
    if last.role == "user":
        return call_tools(("reserve", {"room": "sea view"}), ("pay", {"euros": 120}))
    return ModelReply(message=Message.assistant("The room is yours, and it is paid."))


clerk = Profile(
    id="clerk",
    model="scripted:any",
    tools=[reserve, pay],
    permissions=[ask("pay", reason="it is your money")],
)

app = create_app(AppConfig(profiles=[clerk], providers=[ScriptedModel.repeat(say)]))


@contextmanager
def serving(directory: Path) -> Generator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Serve this file's ``app`` in a process of its own, and yield it with a client."""
    here = Path(__file__)
    process = subprocess.Popen(  # noqa: S603 - this very file
        [Path(sys.executable).with_name("agentrail"), "serve", here.stem, "--port", "0"],
        cwd=here.parent,
        env=os.environ
        | {"AGENTRAIL_DATA_DIR": str(directory), "LEDGER": str(directory / "ledger.txt")},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            address = ""
            for line in process.stderr:
                if " at http://" in line:
                    address = line.partition(" at ")[2].partition(";")[0]
                    break
            assert address, "the host did not start"
            with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def done(directory: Path) -> list[str]:
    """Return what was done so far."""
    return (directory / "ledger.txt").read_text(encoding="utf-8").splitlines()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)

        with serving(directory) as (process, client):
            asked = client.post("/chat", json={"message": "Book me the room."}).json()
            assert asked["outcome"] == "suspended"
            turn_id = asked["turnId"]
            (waiting,) = asked["approvals"]
            call = waiting["call"]
            print(f"The agent asks for {call['name']} {call['arguments']}: {waiting['reason']}.")
            assert done(directory) == ["reserved sea view"]
            process.kill()
            process.wait()
            print("The host was killed while the turn waited.")

        with serving(directory) as (process, client):
            status = client.get(f"/turns/{turn_id}").json()
            assert status["status"] == "suspended"
            assert status["approvals"] == asked["approvals"]
            print("A new host knows what the turn waits for.")

            path = f"/turns/{turn_id}/approvals/{call['id']}"
            answer = client.post(path, json={"approved": True}).json()
            assert answer["outcome"] == "completed"
            print(f"It was approved, and the agent says: {answer['message']}")

            again = client.post(path, json={"approved": True})
            assert again.status_code == 409
            print(f"Approved once more, nothing happens: {again.json()['detail']}.")

            process.terminate()
            assert process.wait() == 0

        assert done(directory) == ["reserved sea view", "paid 120 euros"]
        print(f"What was done, each of it once: {', '.join(done(directory))}.")


if __name__ == "__main__":
    main()
