"""A scripted upstream: raw HTTP/1.1 over a real socket, so that every fault can be written out."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import Factory, define

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"

Json = dict[str, object]


@define
class Request:
    """What the client sent."""

    line: str
    headers: dict[str, str]
    body: Json


@define(eq=False)
class Upstream:
    """What the server saw, and what it is to answer; the last answer is given again and again."""

    base_url: str = ""
    answers: list["Answer"] = Factory(list["Answer"])
    requests: list[Request] = Factory(list[Request])
    connections: int = 0
    asked: anyio.Event = Factory(anyio.Event)
    """Set when the first request has been read."""
    closed: anyio.Event = Factory(anyio.Event)
    """Set when the client has closed a connection under an answer that waited for it."""
    left: anyio.Event = Factory(anyio.Event)
    """Set when a connection has ended."""

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        async with stream:
            source = BufferedByteReceiveStream(stream)
            try:
                while True:
                    self.requests.append(await _read(source))
                    self.asked.set()
                    answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
                    await answer(self, stream)
            except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.left.set()  # the client has gone, or the answer was to break off


Answer = Callable[[Upstream, SocketStream], Awaitable[None]]


async def _read(source: BufferedByteReceiveStream) -> Request:
    head = (await source.receive_until(b"\r\n\r\n", 65536)).decode()
    line, *fields = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    body = await source.receive_exactly(int(headers.get("content-length", "0")))
    return Request(line, headers, json.loads(body) if body else {})


def port_of(listener: Listener[SocketStream]) -> int:
    """The port that a listener has been given."""
    port: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 (not Django's)
    return port


@asynccontextmanager
async def running(*answers: Answer) -> AsyncGenerator[Upstream]:
    """Serve ``answers``, one a request, until the block ends."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        upstream = Upstream(f"http://127.0.0.1:{port_of(listener)}/v1", list(answers))
        tasks.start_soon(listener.serve, upstream.serve)
        yield upstream
        tasks.cancel_scope.cancel()


def frame(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(chunk: Json | str) -> bytes:
    """One server-sent event."""
    data = chunk if isinstance(chunk, str) else json.dumps(chunk)
    return b"data: " + data.encode() + b"\n\n"


def piece(finish: str | None = None, **delta: object) -> Json:
    """A chat completion chunk."""
    choice: Json = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def usage(prompt: int, completion: int, cached: int | None = None) -> Json:
    """The chunk that tells what was used."""
    details: Json = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    counts: Json = {"prompt_tokens": prompt, "completion_tokens": completion, **details}
    return {"choices": [], "usage": counts}


def streams(*chunks: Json | str, done: bool = True) -> Answer:
    """Answer with an event for each chunk, each in a write of its own."""

    async def answer(_upstream: Upstream, stream: SocketStream) -> None:
        await stream.send(HEAD)
        for chunk in chunks:
            await stream.send(frame(event(chunk)))
        await stream.send((frame(DONE) if done else b"") + END)

    return answer


def says(*words: str) -> Answer:
    """Answer with these pieces of text and a proper end."""
    return streams(*[piece(content=word) for word in words], piece("stop"), usage(5, len(words)))


def refuses(status: int, body: Json | str, **headers: str) -> Answer:
    """Answer with an HTTP error."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Status", *[f"{name}: {value}" for name, value in fields.items()]]

    async def answer(_upstream: Upstream, stream: SocketStream) -> None:
        await stream.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    return answer


def breaks_off(*chunks: Json) -> Answer:
    """Answer with chunks, then close the connection in the middle of the body."""

    async def answer(_upstream: Upstream, stream: SocketStream) -> None:
        await stream.send(HEAD)
        for chunk in chunks:
            await stream.send(frame(event(chunk)))
        await stream.aclose()

    return answer


def waits(*chunks: Json, head: bytes = HEAD) -> Answer:
    """Answer with chunks, then with nothing until the client closes the connection."""

    async def answer(upstream: Upstream, stream: SocketStream) -> None:
        await stream.send(head + b"".join([frame(event(chunk)) for chunk in chunks]))
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            upstream.closed.set()
            raise anyio.BrokenResourceError from None

    return answer


async def hangs_up(_upstream: Upstream, stream: SocketStream) -> None:
    """Close the connection instead of an answer."""
    await stream.aclose()


async def says_nothing(upstream: Upstream, stream: SocketStream) -> None:
    """Answer with nothing at all until the client closes the connection."""
    await waits(head=b"")(upstream, stream)
