"""An upstream that repeats what it is sent, as some do in their errors, and notes it all."""

import json
from base64 import b64encode
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from attrs import define, field

SAYS: Sequence[Mapping[str, object]] = (
    {"index": 0, "delta": {"role": "assistant", "content": "fine"}, "finish_reason": None},
    {"index": 0, "delta": {}, "finish_reason": "stop"},
)


@define(eq=False)
class Echo:
    """What it was sent, and whether it answers or refuses."""

    port: int = 0
    refuses: bool = False
    authorizations: list[str] = field(factory=list[str])
    """Of the requests to a model, the first one first."""
    exported: list[bytes] = field(factory=list[bytes])
    """Spans and measurements."""

    @property
    def url(self) -> str:
        """Where it is, as an upstream."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def collector(self) -> str:
        """Where it is, as a collector of spans."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def echoing() -> Generator[Echo]:
    """Serve for the length of the block."""
    echo = Echo()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path in {"/v1/traces", "/v1/metrics"}:
                echo.exported.append(body)
                self._answer(200, "application/x-protobuf", b"")
                return
            echo.authorizations.append(self.headers.get("authorization", ""))
            if echo.refuses:
                self._answer(401, "application/json", self._repeated())
            else:
                self._answer(200, "text/event-stream", _stream())

        def _repeated(self) -> bytes:
            given = self.headers.get("authorization", "")
            encoded = b64encode(given.partition(" ")[2].encode()).decode()
            said = f"refused: {given} or {encoded} or {json.dumps(given)} at {self.path}"
            return json.dumps({"error": {"message": said}}).encode()

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        echo.port = server.server_port
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield echo
        finally:
            server.shutdown()
            thread.join()


def _stream() -> bytes:
    chunks: Sequence[object] = [
        {"id": "1", "object": "chat.completion.chunk", "choices": [choice]} for choice in SAYS
    ]
    return (
        b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in chunks) + b"data: [DONE]\n\n"
    )
