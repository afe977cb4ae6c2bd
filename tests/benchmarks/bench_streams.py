"""What an open stream costs while nothing happens on it: 1,000 of them in one process.

The floor is a bare ASGI application on the same server that sends one frame and waits.
"""

import contextlib
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import anyio
import uvicorn
from anyio.abc import SocketStream
from starlette.types import ASGIApp, Receive, Scope, Send

from agentrail import AppConfig, ModelReply, ModelRequest, Profile, create_app

STREAMS = 1_000
FIRST = 100
"""Streams that are opened before the first look, so that what all share does not count."""


class Silent:
    """A model that never answers."""

    name = "silent"

    async def start(self) -> None:
        """Open nothing."""

    async def stop(self) -> None:
        """Close nothing."""

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Wait for ever."""
        await anyio.sleep_forever()
        raise AssertionError(request)


async def bare(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer every request with one frame, and no end."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    frame = b'id: 1\nevent: turn.start\ndata: {"type":"turn.start"}\n\n'
    await send({"type": "http.response.body", "body": frame, "more_body": True})
    await anyio.sleep_forever()


def serve(kind: str, port: int, directory: Path) -> None:
    """Serve one of the two, in this process."""
    app: ASGIApp = bare
    if kind == "agentrail":
        profile = Profile(id="a", model="silent:m")
        app = create_app(
            AppConfig(profiles=[profile], providers=[Silent()], data_dir=directory, stop_grace=0)
        )
    uvicorn.run(app, port=port, log_level="error", timeout_graceful_shutdown=1)


@contextlib.contextmanager
def server(kind: str, directory: str) -> Generator[tuple[int, int]]:
    """Yield the port and the process id of a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, __file__, kind, str(port), directory]
    with subprocess.Popen(command) as process:
        try:
            yield port, process.pid
        finally:
            process.kill()


async def opened(port: int, number: int) -> SocketStream:
    """Return a connection on which a turn has begun."""
    body = b'{"message": "hello", "sessionId": "s%d"}' % number
    head = (
        f"POST /stream HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    stream = await anyio.connect_tcp("127.0.0.1", port)
    await stream.send(head.encode() + body)
    seen = b""
    while b"turn.start" not in seen:
        seen += await stream.receive()
    return stream


async def listening(port: int) -> None:
    """Wait until the server takes connections."""
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                return
        except OSError:
            await anyio.sleep(0.05)


def memory_of(process: int) -> float:
    """Return the resident memory of a process in KiB."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1])


def processor_of(process: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(kind: str, show: Callable[[float, float], None]) -> None:
    """Open the streams, one after the other, and tell what each of them takes."""
    with tempfile.TemporaryDirectory() as directory, server(kind, directory) as (port, process):
        await listening(port)
        streams = [await opened(port, number) for number in range(FIRST)]
        before = memory_of(process)
        streams += [await opened(port, number) for number in range(FIRST, STREAMS)]
        after, used = memory_of(process), processor_of(process)
        began = time.perf_counter()
        await anyio.sleep(5)
        idle = (processor_of(process) - used) / (time.perf_counter() - began)
        show((after - before) / (STREAMS - FIRST), idle)
        for stream in streams:
            await stream.aclose()


async def main() -> None:
    """Measure both."""
    per_stream: dict[str, float] = {}
    print(f"\nAn idle stream, {STREAMS} of them in one process")
    for kind in ("bare", "agentrail"):

        def show(memory: float, idle: float, kind: str = kind) -> None:
            per_stream[kind] = memory
            ratio = memory / per_stream["bare"]
            print(f"  {kind:34} {memory:9.1f} KiB  {ratio:6.2f}x  processor {idle:.1%}")

        await measure(kind, show)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * STREAMS)), hard))
    if len(sys.argv) > 1:
        serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        anyio.run(main)
