"""Files that come as a form: taken as those in JSON are, and no further than the limits."""

import base64
import json
import socket
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from agentrail import MemorySessionStore, RequestLimits, ScriptedModel
from agentrail.attachment import hints
from tests.attachment import files
from tests.cli.command import Serving, serving
from tests.conftest import Serve
from tests.http.wire import app_of, frames, problem

pytestmark = pytest.mark.anyio

MIB = 1 << 20
LIMITS = RequestLimits(body_bytes=100_000, message_chars=1000, attachment_bytes=1000)

DOORS = ("/chat", "/stream")


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel.repeat("Fine.")


@pytest.fixture
async def client(served: Serve, model: ScriptedModel) -> httpx.AsyncClient:
    """A client of a host with small limits."""
    return await served(app_of(model, limits=LIMITS, plugins=[hints()], store=MemorySessionStore()))


def part(disposition: bytes, data: bytes = b"hello", kind: bytes = b"") -> bytes:
    """Return a part of a form, as it goes over the wire."""
    header = b"content-type: %s\r\n" % kind if kind else b""
    return b"--X\r\ncontent-disposition: form-data; %s\r\n%s\r\n%s\r\n" % (
        disposition,
        header,
        data,
    )


MESSAGE = part(b'name="message"', b"look")
END = b"--X--\r\n"
FORM = {"content-type": "multipart/form-data; boundary=X"}


async def check_refused(
    client: httpx.AsyncClient, content: bytes, status: int, code: str, detail: str
) -> None:
    """Assert that both doors refuse a form in the same way, and that nothing has come of it."""
    for path in DOORS:
        response = await client.post(path, content=content, headers=FORM)
        assert problem(response) == (status, code), response.text
        assert detail in response.json()["detail"]
    assert (await client.get("/sessions")).json()["sessions"] == []


@pytest.mark.parametrize("path", DOORS)
async def test_a_form_is_asked_as_json_is(
    client: httpx.AsyncClient, model: ScriptedModel, path: str
) -> None:
    encoded = base64.b64encode(files.PNG).decode()
    attached = [{"filename": "تقرير.png", "mimeType": "text/html", "data": encoded}]
    sent = [("any", ("تقرير.png", files.PNG, "text/html"))]
    plain = {"message": "look", "sessionId": "plain"}
    simple = {"message": "look", "sessionId": "simple", "idempotencyKey": "k"}
    whole = {"message": "look", "sessionId": "whole"}
    blob = ("blob", json.dumps(whole), "application/json")

    for response in (
        await client.post(path, json={**plain, "attachments": attached}),
        await client.post(path, data=simple, files=sent),
        await client.post(path, data={"request": json.dumps(whole)}, files=sent),
        await client.post(path, files=[("request", blob), *sent]),
    ):
        assert response.status_code == 200, response.text

    said = [request.messages[-1].text for request in model.requests]
    assert said == ["Uploaded files: تقرير.png (image/png, 16 bytes)\n\nlook"] * 4
    rows = (await client.get("/sessions")).json()["sessions"]
    assert {row["sessionId"] for row in rows} == {"plain", "simple", "whole"}


async def test_files_in_the_json_of_a_form_come_before_its_own(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    inside = {"filename": "a", "mimeType": "b", "data": ""}
    body = {"request": json.dumps({"message": "x", "attachments": [inside]})}

    await client.post("/chat", data=body, files=[("f", ("b", b"1"))])

    assert model.requests[0].messages[-1].text.startswith("Uploaded files: a (text/plain, 0 bytes)")


async def test_a_form_of_files_alone_is_taken_and_a_file_nobody_chose_is_none(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    unchosen = part(b'name="file"; filename=""', b"", b"application/octet-stream")
    empty = part(b'name="file"; filename="empty.txt"', b"")

    response = await client.post("/chat", content=unchosen + empty + END, headers=FORM)

    assert response.status_code == 200, response.text
    assert model.requests[0].messages[-1].text == (
        "Uploaded files: empty.txt (text/plain, 0 bytes)\n\n"
    )


async def test_a_form_that_comes_byte_by_byte_is_the_same(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    content = MESSAGE + part(b'name="f"; filename="a.txt"', b"\r\n--X\r--Y\r\n") + END

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(len(content)):
            yield content[number : number + 1]

    response = await client.post("/chat", content=pieces(), headers=FORM)

    assert response.status_code == 200, response.text
    assert "a.txt (text/plain, 11 bytes)" in model.requests[0].messages[-1].text


@pytest.mark.parametrize(
    ("disposition", "data", "status", "code", "detail"),
    [
        (b'name="f"; filename="\xd8\xaa\n.txt"', b"x", 422, "invalid_request", "control"),
        (b'name="f"; filename="%D8%AA"; filename="a%0Ab"', b"x", 422, "invalid_request", "control"),
        (b'name="f"; filename="../a"', b"x", 422, "invalid_request", "no path"),
        (b'name="f"; filename="a\\\\b"', b"x", 422, "invalid_request", "no path"),
        (b'name="f"; filename="\xff"', b"x", 422, "invalid_request", "is not in UTF-8"),
        (b'name="f"; filename=""', b"x", 422, "invalid_request", "must be a plain file name"),
        (b'name="f"; filename="a"', b"x" * 1001, 413, "payload_too_large", "more than 1000 bytes"),
        (b'name="attachments"', b"x", 422, "invalid_request", "'attachments' is not known"),
        (b'nome="x"', b"x", 422, "invalid_request", "field '' is not known"),
        (b'name="message"', b"again", 422, "invalid_request", "'message' twice"),
        (b'name="onDisconnect"', b"x", 422, "invalid_request", "`$.onDisconnect`"),
        (b'name="userId"', b"\xff", 422, "invalid_request", "'userId' is not in UTF-8"),
        (b'name="request"', b'{"message": "x"}', 422, "invalid_request", "send either"),
    ],
)
async def test_what_is_wrong_with_a_part_is_told(
    client: httpx.AsyncClient, disposition: bytes, data: bytes, status: int, code: str, detail: str
) -> None:
    content = MESSAGE + part(disposition, data) + END

    await check_refused(client, content, status, code, detail)


@pytest.mark.parametrize(
    ("content", "status", "code", "detail"),
    [
        (b"", 422, "invalid_request", "cut off"),
        (b"hello", 422, "invalid_request", "cannot be read"),
        (MESSAGE, 422, "invalid_request", "cut off"),
        (MESSAGE[:-10], 422, "invalid_request", "cut off"),
        (b"--X--\r\n", 422, "invalid_request", "the message is empty"),
        (b"--X\r\n" + b"a: b\r\n" * 1000, 422, "invalid_request", "cannot be read"),
        (b"--X\r\na: " + b"b" * 50_000, 422, "invalid_request", "cannot be read"),
        (
            part(b'name="request"', b"{") + END,
            400,
            "invalid_json",
            "the field 'request' is no JSON",
        ),
        (
            part(b'name="request"', b'{"message": 5}') + END,
            *(422, "invalid_request", "the field 'request' is no chat request"),
        ),
    ],
)
async def test_what_is_wrong_with_a_form_is_told(
    client: httpx.AsyncClient, content: bytes, status: int, code: str, detail: str
) -> None:
    whole = content + END if code != "invalid_request" or b"request" in content else content

    await check_refused(client, whole, status, code, detail)


async def test_a_form_says_its_boundary(client: httpx.AsyncClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "x" * 500):
        response = await client.post("/chat", content=MESSAGE, headers={"content-type": kind})
        assert problem(response) == (422, "invalid_request")


async def test_more_files_than_are_taken_are_refused(client: httpx.AsyncClient) -> None:
    file = part(b'name="f"; filename="a"', b"")

    response = await client.post("/chat", content=MESSAGE + file * 20 + END, headers=FORM)
    assert response.status_code == 200
    await client.delete("/sessions/" + response.json()["sessionId"])

    unchosen = part(b'name="f"; filename=""', b"")
    for files_of_it in (file * 21, unchosen * 21, file * 20 + unchosen):
        content = MESSAGE + files_of_it + END
        await check_refused(client, content, 413, "payload_too_large", "more than 20")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data; boundary=X", 200),
        ("Multipart/Form-Data ; Boundary=X", 200),
        ("multipart/form-datax; boundary=X", 400),
    ],
)
async def test_a_form_is_what_is_called_one(
    client: httpx.AsyncClient, kind: str, status: int
) -> None:
    response = await client.post("/chat", content=MESSAGE + END, headers={"content-type": kind})

    assert response.status_code == status, response.text


# What comes back.


async def test_a_file_is_given_back_as_nothing_that_a_browser_would_run(
    client: httpx.AsyncClient,
) -> None:
    page = b"<html><script>alert(1)</script>"
    name = 'تقرير "x".html'
    await client.post(
        "/chat", data={"message": "hi", "sessionId": "s"}, files=[("f", (name, page, "text/html"))]
    )

    url = f"/sessions/s/attachments/{sha256(page).hexdigest()}"
    response = await client.get(url)
    listed = await client.get("/sessions/s/attachments")

    assert listed.json() == {
        "attachments": [
            {
                "sha256": url.rpartition("/")[2],
                "filename": name,
                "mimeType": "text/plain",
                "size": 31,
            }
        ]
    }
    assert response.content == page
    assert {name: response.headers[name] for name in SAFE} == SAFE
    assert problem(await client.get(url, params={"userId": "other"})) == (404, "session_not_found")
    assert problem(await client.get(url[:-1])) == (404, "attachment_not_found")
    await client.delete("/sessions/s")
    assert problem(await client.get(url)) == (404, "session_not_found")


SAFE = {
    "content-type": "text/plain",
    "content-length": "31",
    "content-disposition": (
        "attachment; filename*=UTF-8''%D8%AA%D9%82%D8%B1%D9%8A%D8%B1%20%22x%22.html"
    ),
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-store",
    "cross-origin-resource-policy": "same-origin",
}


async def test_a_stream_of_a_form_tells_the_events(client: httpx.AsyncClient) -> None:
    body = {"message": "hi"}
    async with client.stream("POST", "/stream", data=body, files=[("f", ("a", b""))]) as response:
        told = [frame.event async for frame in frames(response)]

    assert told[0] == "turn.start"
    assert told[-1] == "turn.end"


# More than a host takes, over real sockets, to a host in a process of its own.


APP = """
from agentrail import AppConfig, Profile, ScriptedModel, create_app

profile = Profile(id="assistant", model="scripted:m")
app = create_app(AppConfig(profiles=[profile], providers=[ScriptedModel.repeat("Fine.")]))
"""

BEGIN_FILE = b'--X\r\ncontent-disposition: form-data; name="f"; filename="large"\r\n\r\n'


def upload(server: Serving, path: str, pieces: Sequence[bytes]) -> tuple[int, str]:
    """Begin a form that has no end, and return the status and detail that come all the same."""
    address = ("127.0.0.1", server.client.base_url.port)
    with socket.create_connection(address, timeout=50) as connection:
        connection.sendall(
            b"POST %s HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
            b"content-type: multipart/form-data; boundary=X\r\n\r\n" % path.encode()
        )
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body[body.index(b"{") :])["detail"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_too_large_is_refused_before_it_ends_and_in_bounded_memory(
    tmp_path: Path, backend: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    file, piece = BEGIN_FILE, b"x" * MIB
    with serving(tmp_path, "--backend", backend) as server:
        server.client.post("/chat", content=MESSAGE, headers=FORM)  # loads what a form needs
        before = peak(server)
        for path in DOORS:
            one = upload(server, path, [file, *[piece] * 21])
            assert one == (413, f"attachment 'large' has more than {20 * MIB} bytes")
            several = [file, *[piece] * 11, b"\r\n"]
            more = upload(server, path, several * 3)
            assert more == (413, f"the body has more than {32 * MIB} bytes")
            content = file + b"x" * (100 * MIB)
            response = server.client.post(path, content=content, headers=FORM)
            assert problem(response) == (413, "payload_too_large")
            unending = iter([file, *[piece] * 100])
            response = server.client.post(path, content=unending, headers=FORM)
            assert problem(response) == (413, "payload_too_large")
        grown = peak(server) - before
        answer = server.client.post("/chat", content=MESSAGE + END, headers=FORM)
        assert answer.status_code == 200

    assert grown < 80 * MIB


def peak(server: Serving) -> int:
    """Return how much memory the host has had at most, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
