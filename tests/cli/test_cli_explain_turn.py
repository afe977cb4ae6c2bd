"""``agentrail explain --turn``: who had which part in a turn, as a person at a terminal reads."""

import re
from pathlib import Path

from tests.cli.command import agentrail, serving

APP = '''
from agentrail import (
    AppConfig, Message, Profile, ScriptedModel, create_app, define_plugin, standard_routes, tool,
)
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
    done = agentrail(here, "explain", "--turn", "turn_of_nobody")

    assert (done.status, done.out) == (2, "")
    assert done.err == "turn_not_found: there is no turn 'turn_of_nobody'\n"


def test_a_turn_that_never_ended_is_told_without_a_record(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + HANGS)
    with (
        serving(tmp_path) as server,
        server.client.stream("POST", "/stream", json={"message": "hang"}) as answer,
    ):
        turn = re.search(r"turn_\w+", next(answer.iter_text()))
        server.process.kill()
    assert turn is not None

    done = agentrail(tmp_path, "explain", "--turn", turn[0])

    assert done.status == 0
    assert "it has no record: it still runs, or its host died" in done.out


HANGS = """
import anyio

async def hang(request):
    await anyio.sleep_forever()

app = create_app(AppConfig(
    profiles=[Profile(id="assistant", model="scripted:m")],
    providers=[ScriptedModel.repeat(hang)],
))
"""
