"""What happens to packages, as history and as a feed."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.admin.site import Json, Site, problem

pytestmark = pytest.mark.anyio


async def frames(response: httpx.Response) -> AsyncGenerator[tuple[str, str, Json]]:
    """Yield id, type and data of each event, and an empty one where a comment says it is open."""
    frame: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line == ": open":
            yield "", "open", {}
        elif line:
            key, _, value = line.partition(": ")
            frame[key] = value
        elif "data" in frame:
            yield frame["id"], frame["event"], json.loads(frame["data"])
            frame = {}


@asynccontextmanager
async def reading(
    site: Site, path: str, **headers: str
) -> AsyncGenerator[AsyncGenerator[tuple[str, str, Json]]]:
    """Yield the frames of a feed that is open."""
    async with (
        site.client.stream(
            "GET", path, headers={"accept": "text/event-stream", **headers}
        ) as response,
        aclosing(frames(response)) as feed,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert (await anext(feed))[1] == "open"
        yield feed
        # Its end, since the client's own generators are not closed where they are left.
        for each in site.packages.events._feeds:
            each.close()
        assert [frame async for frame in feed] == []


async def happened(site: Site, query: str = "") -> list[tuple[str, str]]:
    events = (await site.get(f"/api/plugins/events{query}"))["events"]
    return [(event["plugin"], event["type"]) for event in events]


async def flushed(site: Site) -> None:
    """Return when all that has happened so far is written."""
    async with site.packages.events.feed() as feed:
        site.packages.events.emit("custom", "mark")
        while (await feed.receive()).plugin != "mark":
            pass


async def test_the_history_is_filtered(site: Site) -> None:
    for package, kind in (("one", "load"), ("two", "load"), ("one", "enable")):
        site.packages.events.emit(kind, package, "1.0.0")
    await flushed(site)

    assert await happened(site) == [
        ("one", "load"),
        ("two", "load"),
        ("one", "enable"),
        ("mark", "custom"),
    ]
    assert await happened(site, "?plugin=two") == [("two", "load")]
    assert await happened(site, "?type=enable") == [("one", "enable")]
    assert await happened(site, "?after=1&limit=2") == [("one", "enable"), ("mark", "custom")]
    of_one = (await site.get("/api/plugins/one/events?type=load"))["events"]
    assert [(event["plugin"], event["version"], event["success"]) for event in of_one] == [
        ("one", "1.0.0", True)
    ]
    assert (await site.get("/api/plugins/none/events"))["events"] == []
    other = await site.client.get("/api/plugins/one/events?plugin=two")
    assert problem(other) == (422, "invalid_request")


async def test_the_feed_tells_what_happens_from_now_on(site: Site) -> None:
    await site.ready()
    await flushed(site)

    async with reading(site, "/api/plugins/events") as feed:
        await site.post("hello_world/toggle")
        seen = [await anext(feed)]
        while seen[-1][1] != "enable":
            seen.append(await anext(feed))

    assert [data["type"] for _, _, data in seen] == [kind for _, kind, _ in seen]
    assert [str(data["seq"]) for _, _, data in seen] == [id_ for id_, _, _ in seen]


async def test_a_feed_goes_on_where_its_reader_was(site: Site) -> None:
    await site.ready()
    await site.post("hello_world/toggle")
    await flushed(site)
    events = (await site.get("/api/plugins/events"))["events"]
    first = str(events[0]["seq"])

    for path, headers in (
        ("/api/plugins/events", {"last-event-id": first}),
        (f"/api/plugins/events?after={first}", {}),
    ):
        async with reading(site, path, **headers) as feed:
            missed = [await anext(feed) for _ in events[1:]]
            assert [data for _, _, data in missed] == events[1:]
            site.packages.events.emit("custom", "later")
            assert (await anext(feed))[2]["plugin"] == "later"
        events = (await site.get("/api/plugins/events"))["events"]


@pytest.mark.parametrize(
    "path", ["/api/plugins/one/events?after=0", "/api/plugins/events?after=0&plugin=one"]
)
async def test_a_feed_is_filtered_as_the_history_is(site: Site, path: str) -> None:
    for plugin in ("two", "one"):
        site.packages.events.emit("custom", plugin, message="old")
    await flushed(site)

    async with reading(site, path) as feed:
        for told in ("old", "new"):
            found = (await anext(feed))[2]
            assert (found["plugin"], found["message"]) == ("one", told)
            for plugin in ("two", "one"):
                site.packages.events.emit("custom", plugin, message="new")
        assert (await anext(feed))[2]["plugin"] == "one"


async def test_a_feed_that_nobody_reads_any_more_is_let_go(site: Site) -> None:
    url = site.client.base_url
    ask = "GET /api/plugins/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"

    async with await anyio.connect_tcp(url.host, url.port or 80) as stream:
        await stream.send(ask.encode())
        heard = b""
        while b": open" not in heard:
            heard += await stream.receive()
        assert len(site.packages.events._feeds) == 1

    while site.packages.events._feeds:
        await anyio.lowlevel.checkpoint()


async def test_a_reader_who_is_far_behind_comes_again(site: Site) -> None:
    async with site.packages.events.feed() as feed:
        for _ in range(150):
            site.packages.events.emit("custom", "busy")
        while len(await happened(site, "?limit=1000")) < 150:
            await anyio.lowlevel.checkpoint()
        behind = [event.seq async for event in feed]

    assert len(behind) == 100
    response = await site.client.get(f"/api/plugins/events?after={behind[-1]}&limit=1000")
    assert response.json()["events"][0]["seq"] == behind[-1] + 1
