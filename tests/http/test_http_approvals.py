"""Approval over HTTP: a stream that ends suspended, decisions one by one, and how it goes on."""

from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest
from attrs import define, field

from agentrail import (
    AgentApp,
    BearerTokens,
    MemorySessionStore,
    Principal,
    Profile,
    ScriptedModel,
    SessionStore,
    SQLiteSessionStore,
    Tool,
    tool,
)
from agentrail.model import call_tools
from agentrail.model.scripted import Scripted
from agentrail.tool import ask as needs_approval
from tests.conftest import Serve
from tests.http.wire import Frame, Json, app_of, ask, frames, problem, stream

pytestmark = pytest.mark.anyio

REASON = "letters cannot be called back"
EVENTS = {"accept": "text/event-stream"}


@define
class Office:
    """What was done, and the tool that did it."""

    done: list[str] = field(factory=list[str])

    @property
    def tools(self) -> Sequence[Tool]:
        @tool
        def send(to: str) -> str:
            """Send a letter."""
            self.done.append(to)
            return f"the letter to {to} is sent"

        return [send]

    def app(self, *script: Scripted, **config: Any) -> AgentApp:  # noqa: ANN401 - see AppConfig
        """An application whose letters need approval."""
        profile = Profile(
            id="assistant",
            model="scripted:m",
            tools=self.tools,
            permissions=[needs_approval("send", reason=REASON)],
        )
        return app_of(ScriptedModel(script), profiles=[profile], **config)


def writing(*to: str) -> Scripted:
    """Return the reply that wants letters to be sent."""
    return call_tools(*[("send", {"to": name}) for name in to])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: object) -> SessionStore:
    if request.param == "memory":
        return MemorySessionStore()
    return SQLiteSessionStore(f"{tmp_path}/sessions.db")


async def decide(
    client: httpx.AsyncClient,
    turn_id: str,
    call_id: str,
    *,
    approved: bool = True,
    **more: Any,  # noqa: ANN401
) -> httpx.Response:
    """Send a decision."""
    body = {"approved": approved, **{k: v for k, v in more.items() if k == "reason"}}
    headers = more.get("headers", {})
    query = more.get("query", "")
    path = f"/turns/{turn_id}/approvals/{call_id}{query}"
    return await client.post(path, json=body, headers=headers)


def calls_of(answer: Json) -> list[str]:
    """Return the ids of the calls that wait."""
    return [asked["call"]["id"] for asked in answer["approvals"]]


async def result_of(client: httpx.AsyncClient, session_id: str) -> list[tuple[str, str]]:
    """Return outcome and text of the session's tool results, oldest first."""
    rows = (await client.get(f"/sessions/{session_id}/messages")).json()["messages"]
    parts = [part for row in reversed(rows) for part in row["message"]["parts"]]
    return [
        (part.get("outcome", "ok"), part["content"])
        for part in parts
        if part["type"] == "tool_result"
    ]


async def test_a_suspended_stream_ends_with_the_calls_that_wait(
    served: Serve, store: SessionStore
) -> None:
    client = await served(Office().app(writing("ada", "bob"), store=store))
    sent = await stream(client, message="write", sessionId="s")
    first, second, end = sent[-3:]
    assert [frame.event for frame in (first, second, end)] == [
        "approval.required", "approval.required", "turn.end",
    ]  # fmt: skip
    assert (first.data["name"], first.data["arguments"]) == ("send", {"to": "ada"})
    assert first.data["reason"] == REASON
    assert (end.data["outcome"], end.data["stopReason"]) == ("suspended", "tool_calls")
    status = (await client.get(f"/turns/{end.data['turnId']}")).json()
    assert status["status"] == "suspended"
    assert calls_of(status) == [first.data["callId"], second.data["callId"]]


async def test_a_suspended_chat_answers_with_the_calls_that_wait(
    served: Serve, store: SessionStore
) -> None:
    client = await served(Office().app(writing("ada"), store=store))
    answer = await ask(client, "write")
    (asked,) = answer["approvals"]
    call = {"type": "tool_call", "id": calls_of(answer)[0], "name": "send"}
    assert asked["call"] == {**call, "arguments": {"to": "ada"}}
    assert asked["reason"] == REASON
    assert (answer["outcome"], answer["stopReason"]) == ("suspended", "tool_calls")


async def test_an_approved_call_is_made_and_the_turns_answer_answered(
    served: Serve, store: SessionStore
) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "It is on its way.", store=store))
    asked = await ask(client, "write", sessionId="s")
    response = await decide(client, asked["turnId"], calls_of(asked)[0])
    answer = response.json()
    assert response.status_code == 200
    assert (answer["turnId"], answer["sessionId"]) == (asked["turnId"], "s")
    assert (answer["message"], answer["outcome"]) == ("It is on its way.", "completed")
    assert "approvals" not in answer
    assert office.done == ["ada"]
    assert await result_of(client, "s") == [("ok", "the letter to ada is sent")]


async def test_who_takes_an_event_stream_gets_the_second_run_as_one(
    served: Serve, store: SessionStore
) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "It is on its way.", store=store))
    first = await stream(client, message="write")
    turn_id, call_id = first[-1].data["turnId"], first[-2].data["callId"]
    path = f"/turns/{turn_id}/approvals/{call_id}"
    async with client.stream("POST", path, json={"approved": True}, headers=EVENTS) as response:
        second = [frame async for frame in frames(response)]
    async with client.stream("GET", f"/turns/{turn_id}/events") as response:
        whole = [frame async for frame in frames(response)]

    assert (second[0].event, second[-1].data["outcome"]) == ("turn.start", "completed")
    decided = [frame for frame in whole if frame.event == "approval.decided"]
    assert whole == [*first, *decided, *second]
    assert [(d.data["callId"], d.data["approved"], d.data["by"]) for d in decided] == [
        (call_id, True, "local")
    ]
    numbers = [frame.id for frame in whole]
    assert numbers == sorted(set(numbers))
    assert office.done == ["ada"]


@pytest.mark.parametrize("reason", ["", "ask grace first"])
async def test_a_call_that_is_denied_is_not_made_and_the_model_told_why(
    served: Serve, store: SessionStore, reason: str
) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "As you wish.", store=store))
    asked = await ask(client, "write", sessionId="s")
    more = {"reason": reason} if reason else {}
    response = await decide(client, asked["turnId"], calls_of(asked)[0], approved=False, **more)
    assert (response.status_code, response.json()["message"]) == (200, "As you wish.")
    ((outcome, told),) = await result_of(client, "s")
    assert outcome == "denied"
    assert reason in told
    assert office.done == []


async def test_several_calls_are_decided_one_by_one_in_any_order(
    served: Serve, store: SessionStore
) -> None:
    office = Office()
    client = await served(office.app(writing("ada", "bob", "cem"), "Done.", store=store))
    asked = await ask(client, "write", sessionId="s")
    ada, bob, cem = calls_of(asked)

    response = await decide(client, asked["turnId"], cem)
    assert (response.status_code, calls_of(response.json())) == (202, [ada, bob])
    response = await decide(client, asked["turnId"], ada, approved=False, headers=EVENTS)
    assert (response.status_code, calls_of(response.json())) == (202, [bob])
    assert response.json()["status"] == "suspended"
    assert office.done == []
    response = await decide(client, asked["turnId"], bob)

    assert (response.status_code, response.json()["message"]) == (200, "Done.")
    assert office.done == ["bob", "cem"]
    assert [outcome for outcome, _ in await result_of(client, "s")] == ["denied", "ok", "ok"]


async def test_a_turn_may_ask_again(served: Serve, store: SessionStore) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), writing("bob"), "Done.", store=store))
    first = await ask(client, "write")
    second = (await decide(client, first["turnId"], calls_of(first)[0])).json()
    assert (second["outcome"], second["turnId"]) == ("suspended", first["turnId"])
    third = (await decide(client, first["turnId"], calls_of(second)[0])).json()
    assert (third["outcome"], third["message"]) == ("completed", "Done.")
    assert office.done == ["ada", "bob"]


async def test_a_call_that_does_not_wait_is_not_decided(served: Serve, store: SessionStore) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "Done.", store=store))
    asked = await ask(client, "write")
    wrong = await decide(client, asked["turnId"], "call_nobodys")
    assert problem(wrong) == (409, "not_pending")
    nobodys = await decide(client, "turn_nobodys", calls_of(asked)[0])
    assert problem(nobodys) == (404, "turn_not_found")
    assert office.done == []


async def test_what_was_decided_stays_decided(served: Serve, store: SessionStore) -> None:
    office = Office()
    client = await served(office.app(writing("ada", "bob"), "Done.", store=store))
    asked = await ask(client, "write", sessionId="s")
    ada, bob = calls_of(asked)
    turn_id = asked["turnId"]
    first = await decide(client, turn_id, ada)
    same = await decide(client, turn_id, ada)
    assert (same.status_code, same.json()) == (202, first.json())
    assert problem(await decide(client, turn_id, ada, approved=False)) == (409, "not_pending")
    assert (await decide(client, turn_id, bob, approved=False)).status_code == 200

    before = (await client.get(f"/turns/{turn_id}/events")).content
    for call_id, approved in ((ada, True), (ada, False), (bob, False), (bob, True)):
        late = await decide(client, turn_id, call_id, approved=approved)
        assert problem(late) == (409, "not_pending")
    assert (await client.get(f"/turns/{turn_id}/events")).content == before
    assert office.done == ["ada"]


async def test_the_same_approval_sent_many_times_at_once_makes_the_call_once(
    served: Serve, store: SessionStore
) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "Done.", store=store))
    asked = await ask(client, "write")
    answers: list[httpx.Response] = []

    async def approve() -> None:
        answers.append(await decide(client, asked["turnId"], calls_of(asked)[0]))

    async with anyio.create_task_group() as people:
        for _ in range(8):
            people.start_soon(approve)
    assert office.done == ["ada"]
    told = {(each.status_code, each.json().get("message")) for each in answers}
    # Those who come when the turn has ended are told that nothing waits.
    assert told <= {(200, "Done."), (409, None)}
    assert (200, "Done.") in told


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"approved": "yes"}', b'{"approved": 1}', b'{"approved": null}'],
)
async def test_a_decision_that_is_none_changes_nothing(served: Serve, body: bytes) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "Done."))
    asked = await ask(client, "write")
    path = f"/turns/{asked['turnId']}/approvals/{calls_of(asked)[0]}"
    status, code = problem(await client.post(path, content=body))
    assert (status, code) in {(400, "invalid_json"), (422, "invalid_request")}
    assert (await client.get(f"/turns/{asked['turnId']}")).json()["status"] == "suspended"
    assert office.done == []


async def test_somebody_else_cannot_decide(served: Serve) -> None:
    """Another user of the tenant, the same name in another tenant, nobody."""
    office = Office()
    tokens = {
        "ada": Principal(tenant_id="acme", user_id="ada"),
        "bob": Principal(tenant_id="acme", user_id="bob"),
        "eve": Principal(tenant_id="evil", user_id="ada"),
    }
    app = office.app(writing("ada"), "Done.", authenticator=BearerTokens(tokens))
    client = await served(app)

    def who(name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {name}"}

    response = await client.post("/chat", json={"message": "write"}, headers=who("ada"))
    asked = response.json()
    turn_id, call_id = asked["turnId"], calls_of(asked)[0]
    for name in ("bob", "eve"):
        foreign = await decide(
            client, turn_id, call_id, headers=who(name), query="?tenantId=acme&userId=ada"
        )
        assert problem(foreign) == (404, "turn_not_found")
    assert problem(await decide(client, turn_id, call_id)) == (401, "unauthenticated")
    assert office.done == []

    mine = await decide(client, turn_id, call_id, headers=who("ada"))
    assert mine.json()["message"] == "Done."
    path = f"/turns/{turn_id}/events"
    async with client.stream("GET", path, headers=who("ada")) as response:
        whole: list[Frame] = [frame async for frame in frames(response)]
    assert [f.data["by"] for f in whole if f.event == "approval.decided"] == ["ada"]


async def test_who_approved_may_hang_up_and_the_turn_goes_on(
    served: Serve, store: SessionStore
) -> None:
    office = Office()
    begun, go_on = anyio.Event(), anyio.Event()

    async def slowly(_request: object) -> str:
        begun.set()
        await go_on.wait()
        return "Done."

    client = await served(office.app(writing("ada"), slowly, "Hello.", store=store))
    asked = await ask(client, "write", sessionId="s")
    async with anyio.create_task_group() as people:
        people.start_soon(decide, client, asked["turnId"], calls_of(asked)[0])
        await begun.wait()
        people.cancel_scope.cancel()
    go_on.set()
    assert (await ask(client, "hi", sessionId="s"))["message"] == "Hello."
    status = (await client.get(f"/turns/{asked['turnId']}")).json()
    assert status["status"] == "completed"
    assert office.done == ["ada"]


async def test_a_new_message_overtakes_what_waits(served: Serve, store: SessionStore) -> None:
    office = Office()
    client = await served(office.app(writing("ada"), "Something else, then.", store=store))
    asked = await ask(client, "write", sessionId="s")
    await ask(client, "never mind", sessionId="s")
    late = await decide(client, asked["turnId"], calls_of(asked)[0])
    assert problem(late) == (409, "not_pending")
    assert (await client.get(f"/turns/{asked['turnId']}")).json()["status"] == "cancelled"
    assert office.done == []


async def test_the_last_decision_can_be_repeated_when_the_host_failed_before_it_went_on(
    served: Serve, tmp_path: object
) -> None:
    """A second host on the same file, as after a restart: the decision is there, the run is not."""
    office = Office()
    path = f"{tmp_path}/sessions.db"
    first_app = office.app(writing("ada"), store=SQLiteSessionStore(path))
    client = await served(first_app)
    asked = await ask(client, "write")
    turn_id, call_id = asked["turnId"], calls_of(asked)[0]
    await first_app.host.decide(Principal(), turn_id, call_id, approved=True)

    other = await served(office.app("Done.", store=SQLiteSessionStore(path)))
    assert (await other.get(f"/turns/{turn_id}")).json()["status"] == "suspended"
    assert (await decide(other, turn_id, call_id)).json()["message"] == "Done."
    assert office.done == ["ada"]
