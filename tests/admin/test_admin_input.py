"""Whatever is sent, the answer says what is wrong with it, and nothing stays behind."""

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from agentrail.admin._call import ID
from agentrail.admin._upload import LARGEST, _arriving, _Form
from agentrail.errors import RequestError, RequestTimeout
from agentrail.package._manifest import ID as PACKAGE_ID
from tests.admin.site import Site, hello, problem

pytestmark = pytest.mark.anyio

UPLOAD = "/api/plugins/upload"

IDS = [
    *("..", "%2e%2e", "%2e%2e%2fx", "..%2f..%2fetc", "..;", "%252e%252e", "%00", "a%00b", "a%0ab"),
    *("A", "a b", "-a", "a-", "a" * 65, "ä", "%ff", "%ed%a0%80", "a.b", "a@1", "'", '"', "%22"),
]


@pytest.mark.parametrize("name", IDS)
async def test_what_is_no_id_leads_nowhere(site: Site, name: str) -> None:
    """Q07."""
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/toggle"),
        ("POST", "/approve"),
        ("GET", "/logs"),
        ("GET", "/events"),
    ):
        # The client would mend dots; the server must not rely on that.
        url = httpx.URL(str(site.client.base_url)).copy_with(
            raw_path=f"/api/plugins/{name}{path}".encode("ascii", "backslashreplace")
        )
        response = await site.client.request(method, url)
        assert response.status_code in {404, 405, 422}, (method, path, response.text)


@pytest.mark.parametrize("version", ["", "1", "1.0", "../1.0.0", "1.0.0+x", "v1.0.0", "1.0.0\x00"])
async def test_what_is_no_version_is_refused(site: Site, version: str) -> None:
    await site.ready()
    for path in ("approve", "upgrade", "rollback"):
        response = await site.client.post(
            f"/api/plugins/hello_world/{path}", json={"version": version}
        )
        assert problem(response) == (422, "invalid_id")
    gone = await site.client.delete("/api/plugins/hello_world", params={"version": version})
    assert problem(gone) == (422, "invalid_id")

    assert (await site.get("/api/plugins/hello_world"))["state"] == "disabled"


@pytest.mark.parametrize(
    "query",
    [
        "state=running",
        "sate=active",
        "state=active&state=idle",
        "state=",
    ],
)
async def test_a_query_that_means_nothing_is_refused(site: Site, query: str) -> None:
    assert problem(await site.client.get(f"/api/plugins?{query}")) == (422, "invalid_request")


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "9" * 30, "1e400", "nan", ""])
async def test_numbers_out_of_range_are_refused(site: Site, value: str) -> None:
    for path in ("/api/plugins/events?after=", "/api/audit?before=", "/api/audit?limit="):
        response = await site.client.get(f"{path}{value}")
        assert problem(response) == (422, "invalid_request"), path
    stream = await site.client.get(
        "/api/plugins/events",
        headers={"accept": "text/event-stream", "last-event-id": value},
    )
    assert problem(stream) == (422, "invalid_request")


BODIES = [
    *(b"", b" ", b"null", b"[]", b"{", b'"x"', b"\xff", b'{"enabled": 1}', b'{"enabled": "yes"}'),
    *(b'{"enable": true}', b'{"enabled": true} x', b"[" * 30_000, b'{"enabled": "\\ud800"}'),
]


@pytest.mark.parametrize("body", BODIES[1:])
async def test_a_body_that_means_nothing_is_refused(site: Site, body: bytes) -> None:
    await site.ready()
    headers = {"content-type": "application/json"}
    for path in ("hello_world/toggle", "hello_world/approve", "hello_world/upgrade"):
        response = await site.client.post(f"/api/plugins/{path}", content=body, headers=headers)
        assert response.status_code in {400, 422}, (path, response.text)
    status = await site.client.put("/api/plugins/status", content=body, headers=headers)
    assert status.status_code in {400, 404, 422}

    assert await site.get("/api/plugins/status") == {"hello_world": False}


async def test_a_body_of_json_has_its_limit(site: Site) -> None:
    await site.ready()
    body = b'{"enabled": true}' + b" " * 70_000

    response = await site.client.post(
        "/api/plugins/hello_world/toggle",
        content=body,
        headers={"content-type": "application/json"},
    )

    assert problem(response) == (413, "payload_too_large")


def part(disposition: str, content: bytes = b"x", more: str = "") -> bytes:
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n"
    return head.encode() + content + b"\r\n"


FILE = 'name="file"; filename="a.zip"'
END = b"--b--\r\n"

FORMS = {
    "two files": part(FILE) + part(FILE) + END,  # Q10
    "a thousand parts": b"".join(part(f'name="{n}"') for n in range(1_000)) + END,  # Q09
    "another field": part(FILE) + part('name="x"') + END,
    "another name": part('name="package"; filename="a.zip"') + END,
    "no file name": part('name="file"') + END,
    "an empty name": part('name="file"; filename=""') + END,
    "a path": part('name="file"; filename="../a.zip"') + END,
    "a NUL": part('name="file"; filename="a\x00.zip"') + END,
    "no UTF-8": part(FILE).replace(b"a.zip", b"\xff.zip") + END,
    "a long name": part(f'name="file"; filename="{"a" * 300}.zip"') + END,
    "a long header": part(FILE, more=f"X-Y: {'z' * 10_000}\r\n") + END,
    "no end": part(FILE),
    "no part": END,
    "nothing": b"",
    "no form": b"x" * 1_000,
    "no headers": b"--b\r\n\r\nx\r\n--b--\r\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_form_with_anything_but_one_file_is_refused(site: Site, form: bytes) -> None:
    before = sorted(site.directory.glob("packages/**/*"))

    response = await site.client.post(
        UPLOAD, content=form, headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert problem(response) == (422, "invalid_request"), response.text
    assert sorted(site.directory.glob("packages/**/*")) == before


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("multipart/form-data", b"x", 422),
        ("multipart/form-data; boundary=" + "x" * 400, b"x", 422),
        ("application/octet-stream", b"x", 415),
        ("application/json", b"{}", 415),
        ("", b"x", 415),
        ("application/zip", b"", 422),  # Q11
        ("application/zip", b"no archive", 422),
        ("application/zip", b"PK\x05\x06" + b"\0" * 18, 422),
    ],
)
async def test_an_upload_that_is_no_package_is_refused(
    site: Site, kind: str, content: bytes, status: int
) -> None:
    before = sorted(site.directory.glob("packages/**/*"))

    response = await site.client.post(UPLOAD, content=content, headers={"content-type": kind})

    assert problem(response)[0] == status, response.text
    assert sorted(site.directory.glob("packages/**/*")) == before


@pytest.mark.parametrize("form", [True, False])
async def test_an_upload_ends_where_its_limit_is(site: Site, form: bool) -> None:
    """Q08: however much would come."""
    before = sorted(site.directory.glob("packages/**/*"))
    kind = "multipart/form-data; boundary=b" if form else "application/zip"
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    first, piece = part(FILE)[:-3] if form else b"PK", bytes(1 << 20)
    url = site.client.base_url
    heard = b""
    sent = 0

    async with (
        await anyio.connect_tcp(url.host, url.port or 80) as stream,
        anyio.create_task_group() as group,
    ):

        async def send() -> None:
            nonlocal sent
            with suppress(anyio.BrokenResourceError):
                await stream.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                await stream.send(b"%x\r\n%s\r\n" % (len(first), first))
                while sent < 4 * LARGEST:
                    await stream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                    sent += len(piece)

        group.start_soon(send)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while b"\r\n\r\n" not in heard:
                heard += await stream.receive()
        group.cancel_scope.cancel()

    assert heard.startswith(b"HTTP/1.1 413 ")
    assert LARGEST - (2 << 20) < sent < 2 * LARGEST
    assert sorted(site.directory.glob("packages/**/*")) == before


async def test_an_upload_that_says_it_is_too_large_is_not_read(site: Site) -> None:
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
    url = site.client.base_url

    async with await anyio.connect_tcp(url.host, url.port or 80) as stream:
        await stream.send(f"{head}Content-Length: {LARGEST + 1}\r\n\r\n".encode())
        assert (await stream.receive()).startswith(b"HTTP/1.1 413 ")


async def test_an_upload_that_is_cut_off_leaves_nothing(site: Site) -> None:
    before = sorted(site.directory.glob("packages/**/*"))
    half = hello()[:200]

    async def cut_off() -> AsyncIterator[bytes]:
        yield half
        raise anyio.EndOfStream

    with pytest.raises(anyio.EndOfStream):
        await site.client.post(
            UPLOAD, content=cut_off(), headers={"content-type": "application/zip"}
        )
    while sorted(site.directory.glob("packages/**/*")) != before:
        await anyio.lowlevel.checkpoint()
    assert await site.get("/api/plugins") == {"plugins": [], "broken": {}}


async def test_a_slow_upload_ends(site: Site) -> None:
    """Q12."""

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(RequestTimeout):
        async for _ in _arriving(request, seconds=0):
            pass


async def test_the_same_version_with_other_content_is_refused(site: Site) -> None:
    """Q15."""
    await site.upload(hello())

    again = await site.upload(hello())
    other = await site.upload(hello(source="def get_tools(): return []\n"))

    assert again.status_code == 201
    assert problem(other) == (409, "package_state")


def test_an_id_is_what_a_manifest_says_it_is() -> None:
    assert f"^{PACKAGE_ID.pattern}$".replace("(?:", "(") == ID


async def fed(form: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(form), size):
        yield form[start : start + size]


@given(
    data=st.binary(max_size=300),
    size=st.integers(1, 400),
    preamble=st.sampled_from([b"", b"\r\n"]),
)
def test_a_file_arrives_as_it_was_sent_however_it_is_cut(
    data: bytes, size: int, preamble: bytes
) -> None:
    if b"\r\n--b" in data:
        return
    kind = (b"content-type", b"multipart/form-data; boundary=bbbbbbbb")
    head = b'Content-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    form = preamble + b"--bbbbbbbb\r\n" + head + data + b"\r\n--bbbbbbbb--\r\n"

    async def read() -> tuple[str, bytes]:
        request = Request({"type": "http", "headers": [kind]})
        made = await _Form.of(request, fed(form, size))
        return made.filename, b"".join([piece async for piece in made.data()])

    assert anyio.run(read) == ("a.zip", data)


@given(form=st.binary(max_size=300), size=st.integers(1, 50))
def test_no_form_fails_in_another_way(form: bytes, size: int) -> None:
    kind = (b"content-type", b"multipart/form-data; boundary=b")

    async def read() -> None:
        request = Request({"type": "http", "headers": [kind]})
        made = await _Form.of(request, fed(b"--b\r\n" + form, size))
        async for _ in made.data():
            pass

    with suppress(RequestError):
        anyio.run(read)
