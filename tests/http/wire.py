"""What the tests of HTTP share: an application to serve, models that wait, and frames read back."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import httpx
from attrs import define, field

from agentrail import (
    AgentApp,
    AppConfig,
    Delta,
    MemorySessionStore,
    Message,
    ModelProvider,
    ModelReply,
    ModelRequest,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.profile import Prompt

Json = dict[str, Any]


def app_of(
    model: ModelProvider | None = None,
    *,
    prompt: Prompt = "Be kind.",
    **config: Any,  # noqa: ANN401 (see AppConfig)
) -> AgentApp:
    """An application of one agent, whose sessions are in memory unless ``config`` says."""
    model = model or ScriptedModel.repeat("Hello there, how are you today?")
    profile = Profile(id="assistant", name="Assistant", model=f"{model.name}:m", prompt=prompt)
    config = {"profiles": [profile], "store": MemorySessionStore(), **config}
    return create_app(AppConfig(providers=[model], **config))


@define
class Paced:
    """A model that emits ``pieces`` and then waits before it ends; it tells how it fared."""

    pieces: Sequence[str] = ("Once upon", " a time")
    name: str = "paced"
    go_on: anyio.Event = field(factory=anyio.Event)
    """Lets the present call, and all later ones, end."""
    waiting: anyio.Event = field(factory=anyio.Event)
    """Set when all pieces are emitted."""
    cancelled: anyio.Event = field(factory=anyio.Event)
    requests: list[ModelRequest] = field(factory=list[ModelRequest])

    async def start(self) -> None:
        """Open nothing."""

    async def stop(self) -> None:
        """Close nothing."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        for piece in self.pieces:
            await request.emit(Delta(text=piece))
        self.waiting.set()
        try:
            await self.go_on.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return ModelReply(message=Message.assistant("".join(self.pieces)))


@define(frozen=True)
class Frame:
    """One server-sent event, or a comment."""

    id: int
    event: str
    data: Json
    comment: str = ""


def parse(text: str) -> Frame:
    """Return a frame, given without the empty line after it; its fields come in their order."""
    if text.startswith(":"):
        return Frame(0, "", {}, text[1:].strip())
    lines = [line.partition(": ") for line in text.split("\n")]
    assert [name for name, _, _ in lines] == ["id", "event", "data"]
    number, event, data = [value for _, _, value in lines]
    return Frame(int(number), event, json.loads(data))


async def frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """Yield the frames of a stream as they come."""
    rest = ""
    async for text in response.aiter_text():
        *whole, rest = (rest + text).split("\n\n")
        for each in whole:
            yield parse(each)
    assert rest == ""


async def stream(client: httpx.AsyncClient, **body: object) -> list[Frame]:
    """Return all frames of a streamed turn."""
    async with client.stream("POST", "/stream", json=body) as response:
        assert response.status_code == 200
        return [frame async for frame in frames(response)]


async def ask(client: httpx.AsyncClient, message: str = "hi", **body: object) -> Json:
    """Return the answer of ``/chat``."""
    response = await client.post("/chat", json={"message": message, **body})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return a problem document's status and code, having checked its shape."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.keys() - {"traceId"} == {
        "type", "title", "status", "code", "detail", "retryable",
    }  # fmt: skip
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"]
    assert isinstance(body["retryable"], bool)
    return response.status_code, body["code"]
