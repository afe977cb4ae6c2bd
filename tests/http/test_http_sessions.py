"""A user's sessions and their messages over HTTP: listed in pages, and erased."""

from itertools import product
from pathlib import Path

import httpx
import pytest

from agentrail import MemorySessionStore, ScriptedModel, SessionStore, SQLiteSessionStore
from tests.conftest import Serve
from tests.http.wire import Json, Paced, app_of, ask, problem, stream

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
async def client(
    request: pytest.FixtureRequest, served: Serve, tmp_path: Path
) -> httpx.AsyncClient:
    """A client of a host whose model counts its answers."""
    store: SessionStore = MemorySessionStore()
    if request.param == "sqlite":
        store = SQLiteSessionStore(tmp_path / "sessions.db")
    answers = [f"Answer {number}." for number in range(1, 20)]
    return await served(app_of(ScriptedModel(answers), store=store))


async def pages(client: httpx.AsyncClient, path: str, rows: str, limit: int) -> list[list[Json]]:
    """Return all pages of a listing, each got by the ``next`` of the one before."""
    found: list[list[Json]] = []
    query: dict[str, object] = {"limit": limit}
    while True:
        page = (await client.get(path, params=query)).json()  # type: ignore[arg-type]
        assert page.keys() == {rows, "next"}
        found.append(page[rows])
        if page["next"] is None:
            return found
        query["before"] = page["next"]


async def test_messages_come_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    for number in range(1, 4):
        await ask(client, f"Question {number}?", sessionId="s")

    found = await pages(client, "/sessions/s/messages", "messages", 4)

    assert [len(page) for page in found] == [4, 2]
    rows = [row for page in found for row in page]
    assert [row["message"]["parts"][0]["text"] for row in rows] == [
        "Answer 3.",
        "Question 3?",
        "Answer 2.",
        "Question 2?",
        "Answer 1.",
        "Question 1?",
    ]
    assert [row["seq"] for row in rows] == sorted((row["seq"] for row in rows), reverse=True)
    assert rows[0].keys() == {"seq", "turnId", "message"}
    assert len({row["turnId"] for row in rows}) == 3


async def test_a_page_that_is_just_full_is_the_last_one(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="s")

    found = await pages(client, "/sessions/s/messages", "messages", 2)

    assert [len(page) for page in found] == [2]


async def test_sessions_come_in_pages_the_one_changed_last_first(client: httpx.AsyncClient) -> None:
    for name in ("one", "two", "three"):
        await ask(client, sessionId=name)
    await stream(client, message="again", sessionId="one")

    found = await pages(client, "/sessions", "sessions", 2)

    rows = [row for page in found for row in page]
    assert [row["sessionId"] for row in rows] == ["one", "three", "two"]
    assert [row["turns"] for row in rows] == [2, 1, 1]
    assert rows[0].keys() == {"sessionId", "agentId", "createdAt", "updatedAt", "turns"}
    assert rows[0]["createdAt"] < rows[0]["updatedAt"]


async def test_a_session_is_listed_for_its_user_alone(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="mine")
    await ask(client, sessionId="hers", userId="ada")
    await ask(client, sessionId="theirs", tenantId="acme")

    for query, expected in [
        ("", "mine"),
        ("?userId=ada", "hers"),
        ("?tenantId=acme&userId=local", "theirs"),
    ]:
        rows = (await client.get(f"/sessions{query}")).json()["sessions"]
        assert [row["sessionId"] for row in rows] == [expected]


async def test_an_erased_session_is_gone(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="s")

    erased = await client.delete("/sessions/s")

    assert (erased.status_code, erased.content) == (204, b"")
    assert problem(await client.delete("/sessions/s")) == (404, "session_not_found")
    assert problem(await client.get("/sessions/s/messages")) == (404, "session_not_found")
    assert (await client.get("/sessions")).json() == {"sessions": [], "next": None}


async def test_an_erased_session_begins_anew(client: httpx.AsyncClient) -> None:
    await ask(client, "old", sessionId="s")
    await client.delete("/sessions/s")

    await ask(client, "new", sessionId="s", userId="ada")

    rows = (await client.get("/sessions/s/messages?userId=ada")).json()["messages"]
    assert [row["message"]["parts"][0]["text"] for row in rows] == ["Answer 2.", "new"]


async def test_a_session_erased_under_a_turn_ends_the_turn(served: Serve) -> None:
    model = Paced()
    client = await served(app_of(model))

    async with client.stream("POST", "/stream", json={"message": "hi", "sessionId": "s"}) as reply:
        await model.waiting.wait()
        assert (await client.delete("/sessions/s")).status_code == 204
        model.go_on.set()
        text = "".join([piece async for piece in reply.aiter_text()])

    assert text.count("event: turn.e") == 1
    last = text.strip().split("\n\n")[-1]
    assert "event: turn.error" in last
    assert '"code":"lease_lost"' in last
    assert problem(await client.get("/sessions/s/messages")) == (404, "session_not_found")


async def test_a_page_has_at_least_one_row(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="s")

    for limit in ("0", "-5", "1", "-1e300"):
        page = (await client.get(f"/sessions/s/messages?limit={limit}")).json()
        assert len(page["messages"]) == 1


BAD_NUMBERS = ["limit=abc", "limit=", "limit=nan", "before=NaN", "before=inf", "before=x"]
BIG_NUMBERS = ["limit=1e300", "before=1e300", "before=-1e300", "before=99999999999999999999"]


async def test_a_query_that_is_no_number_is_refused(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="s")

    for path, query in product(("/sessions", "/sessions/s/messages"), BAD_NUMBERS):
        response = await client.get(f"{path}?{query}")
        assert problem(response) == (422, "invalid_request"), query
        assert repr(query.partition("=")[0]) in response.json()["detail"]


async def test_a_number_beyond_all_rows_is_no_error(client: httpx.AsyncClient) -> None:
    await ask(client, sessionId="s")

    for path, query in product(("/sessions", "/sessions/s/messages"), BIG_NUMBERS):
        response = await client.get(f"{path}?{query}")
        assert response.status_code == 200, query
        rows = next(iter(response.json().values()))
        assert bool(rows) == ("-" not in query)


async def test_what_is_no_id_names_no_session(client: httpx.AsyncClient) -> None:
    for session_id in ("%00", "a%2F..%2Fb", "%2e%2e", "%20", "x" * 129, "%F0%9F", "%0d%0aX: y"):
        listed = await client.get(f"/sessions/{session_id}/messages")
        erased = await client.delete(f"/sessions/{session_id}")

        assert problem(listed)[0] in {404, 422}, session_id
        assert problem(erased)[0] in {404, 405, 422}, session_id


async def test_what_is_no_id_is_no_user(client: httpx.AsyncClient) -> None:
    for query in ("tenantId=../x", "userId=%00", "userId=", f"userId={'x' * 200}"):
        assert problem(await client.get(f"/sessions?{query}")) == (422, "invalid_id"), query
