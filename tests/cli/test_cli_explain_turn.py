"""``agentrail explain --turn``: who had which part in a turn, as a person at a terminal reads."""

import re
from pathlib import Path

from tests.cli.command import agentrail, serving

APP = '''
from agentrail import (
    AppConfig, Message, Profile, ScriptedModel, create_app, define_plugin, standard_routes, tool,
)
from agentrail.errors import ModelUnavailable
from agentrail.model import call_tools
from agentrail.tool import ask


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def see(_context):
    pass


def fail(_context):
    raise OSError("lost")


def answer(request, _context):
    from agentrail import ChatResponse

    return ChatResponse("pong", keep=True) if request.text == "/ping" else None


def deny(call, _context):
    from agentrail import ToolResult

    if call.arguments["a"] == 13:
        return ToolResult(call_id=call.id, name=call.name, content="no 13", outcome="denied")
    return None


plugins = [
    define_plugin("first", on_request_start=see, on_request_end=see),
    define_plugin("broken", on_request_start=fail),
    define_plugin("memory", context_providers=[lambda _c, _m: [Message.system("It is May.")]]),
    define_plugin("silent", context_providers=[lambda _c, _m: []]),
    define_plugin("commands", intercept_chat_request=answer),
    define_plugin("guard", before_tool_call=deny),
]


def reply(request):
    said = request.messages[-1]
    if "fail" in said.text:
        raise ModelUnavailable("it is down")
    if said.role == "tool":
        return "done"
    numbers = {"a": 13 if "unlucky" in said.text else 1, "b": 2}
    return call_tools(("add", numbers)) if "add" in said.text else "fine"


app = create_app(AppConfig(
    profiles=[
        Profile(id="assistant", model="scripted:m", tools=[add]),
        Profile(
            id="careful",
            model="scripted:m",
            tools=[add],
            permissions=[ask("add", reason="money")],
        ),
    ],
    providers=[ScriptedModel.repeat(reply)],
    plugins=plugins,
))
'''


def explained(here: Path, *requests: dict[str, str], approve: bool = False) -> list[str]:
    """Asks for turns of a served application and returns what is told of each afterwards."""
    (here / "app.py").write_text(APP)
    turns: list[str] = []
    with serving(here) as server:
        for request in requests:
            answer = server.client.post("/chat", json=request).json()
            turns.append(answer["turnId"])
            if approve:
                (asked,) = answer["approvals"]
                call_id = asked["call"]["id"]
                path = f"/turns/{turns[-1]}/approvals/{call_id}"
                assert server.client.post(path, json={"approved": True}).status_code == 200
        assert server.stop() == 0
    told: list[str] = []
    for turn in turns:
        done = agentrail(here, "explain", "--turn", turn)
        assert (done.status, done.err) == (0, "")
        told.append(re.sub(r"\d+\.\d+ ms", "T", done.out))
    return told


def lines(text: str) -> list[str]:
    return [re.sub(r"  +", " | ", line.strip()) for line in text.splitlines()]


def test_it_tells_who_saw_changed_and_failed_with_the_times(tmp_path: Path) -> None:
    (told,) = explained(tmp_path, {"message": "add", "sessionId": "s"})

    found = lines(told)
    assert found[1:3] == ["session s of default/local", "agent assistant"]
    assert "run 1, generation 1, through http: completed" in found
    assert [line for line in found if " | T | T | " in line] == [
        "on_request_start | first | 1 | T | T | saw it",
        "on_request_start | broken | 1 | T | T | failed (OSError)",
        "intercept_chat_request | commands | 1 | T | T | let it pass",
        "context_providers | memory | 1 | T | T | added 1 message, 7 tokens",
        "context_providers | silent | 1 | T | T | let it pass",
        "before_tool_call | guard | 1 | T | T | let it pass",
    ]
    assert "on_turn_persisted and on_request_end run after the record" in told
    assert [line for line in found if line.startswith("scripted:m")] == [
        "scripted:m | 0 + 0 | T | ok"
    ] * 2
    assert re.fullmatch(r"tool add \(call_\w+\): ok in T", found[-1])


def test_it_tells_who_answered_in_place_of_the_model_or_a_tool(tmp_path: Path) -> None:
    command, denied = explained(
        tmp_path, {"message": "/ping", "sessionId": "a"}, {"message": "add unlucky"}
    )

    assert "through http: intercepted" in command
    assert "| commands | 1 | T | T | answered the request" in "\n".join(lines(command))
    assert "scripted:m" not in command
    found = "\n".join(lines(denied))
    assert "| guard | 1 | T | T | gave the result in the tool's place" in found
    assert "denied in T" in found


def test_each_run_of_a_turn_is_told_with_the_approval_between_them(tmp_path: Path) -> None:
    (told,) = explained(tmp_path, {"message": "add", "agentId": "careful"}, approve=True)

    first, _, second = told.partition("run 2, generation 1, through http: completed")
    assert "run 1, generation 1, through http: suspended" in first
    assert re.search(r"approval of add \(call_\w+\) asked for: money", first)
    assert re.search(r"approval of call_\w+ given by local", first)
    assert "tool add" not in first
    assert re.search(r"tool add \(call_\w+\): ok in T", second)


def test_an_unknown_turn_is_a_sentence(here: Path) -> None:
    assert agentrail(here, "chat", "hi").status == 0

    done = agentrail(here, "explain", "--turn", "turn_of_nobody")

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("turn_not_found: there is no turn 'turn_of_nobody'; what a plugin")


def told_of(here: Path, turn: str) -> list[str]:
    """Returns what is told of a turn, but for its session, agent, beginning and tokens."""
    done = agentrail(here, "explain", "--turn", turn)
    assert (done.status, done.err) == (0, "")
    head, *rest = lines(done.out.replace(turn, "T"))
    return [head, *rest[5:]]


def test_a_turn_without_a_record_says_whether_it_runs_or_its_host_died(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + HANGS)
    asked = {"message": "hang", "sessionId": "s", "onDisconnect": "continue"}
    with (
        serving(tmp_path) as server,
        server.client.stream("POST", "/stream", json=asked) as answer,
    ):
        turn = re.search(r"turn_\w+", next(answer.iter_text()))
        assert turn is not None
        runs = told_of(tmp_path, turn[0])
        server.process.kill()
        server.process.wait(50)
        died = told_of(tmp_path, turn[0])
    with serving(tmp_path) as server:
        answered = server.client.get(f"/turns/{turn[0]}").json()
        closed = told_of(tmp_path, turn[0])

    assert runs == [
        *["turn T: running", "run 1, generation 1: running"],
        "it has no record yet: it is written with its end",
    ]
    assert died == [
        *["turn T: not ended", "run 1, generation 1: not ended"],
        "it has no record: its host died",
    ]
    assert answered["status"] == "failed"
    assert closed[0] == "turn T: failed"
    assert closed[1].startswith("run 1, generation 1: failed, interrupted: the host ended before")
    assert closed[2:] == ["it has no record: its host died"]


def test_a_turn_that_failed_or_was_cancelled_while_it_waited_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with serving(tmp_path) as server:
        asked = {"message": "add", "agentId": "careful", "sessionId": "a"}
        waits = server.client.post("/chat", json=asked).json()["turnId"]
        suspended = told_of(tmp_path, waits)
        assert server.client.post(f"/turns/{waits}/cancel").status_code == 200
        cancelled = told_of(tmp_path, waits)
        asked = {"message": "fail", "agentId": "assistant", "sessionId": "b"}
        assert server.client.post("/chat", json=asked).status_code == 502
        (row,) = server.client.get("/sessions/b/messages").json()["messages"]
        failed = told_of(tmp_path, row["turnId"])

    head = "run 1, generation 1, through http"
    assert suspended[:2] == ["turn T: suspended", f"{head}: suspended"]
    assert cancelled[:2] == ["turn T: cancelled", f"{head}: suspended"]
    assert "cancelled while it waited for approval" in cancelled
    assert "cancelled while it waited for approval" not in suspended
    assert failed[:2] == ["turn T: failed", f"{head}: failed, model_unavailable: it is down"]
    assert [line for line in failed if "no record" in line] == []


HANGS = """
import anyio

async def hang(request):
    await anyio.sleep_forever()

app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:m")],
    providers=[ScriptedModel.repeat(hang)],
))
"""
