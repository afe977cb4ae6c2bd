"""The chat completions API over a real socket: every way in which it fails."""

import gzip
from collections.abc import Mapping

import anyio
import httpx
import pytest

from agentrail.errors import (
    ConfigError,
    ContextTooLong,
    ModelError,
    ModelNotFound,
    ModelProtocolError,
    ModelRefused,
    ModelUnauthorized,
    ModelUnavailable,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from agentrail.messages import Message
from agentrail.model import ModelProvider
from agentrail.model.openai import OPENAI, OpenAICompatible
from agentrail.requests import Delta, ModelRequest
from tests.model import upstream as wire
from tests.model.upstream import Answer, piece, refuses, streams

pytestmark = pytest.mark.anyio

KEY = "sk-secret-of-the-test"
REQUEST = ModelRequest(model="m", messages=(Message.user("hi"),))


async def failure(
    *answers: Answer, request: ModelRequest = REQUEST, read_seconds: float = 30.0
) -> ModelError:
    """Return the error of a call; the provider answers the next call all the same."""
    async with wire.running(*answers, wire.says("ok")) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY, read_seconds=read_seconds)
        await provider.start()
        try:
            with pytest.raises(ModelError) as caught:
                await provider.complete(request)
            assert (await provider.complete(REQUEST)).message.text == "ok"
        finally:
            await provider.stop()
    assert KEY not in str(caught.value)
    return caught.value


def error(message: str = "no", **fields: object) -> wire.Json:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (401, {}, ModelUnauthorized),
        (403, {}, ModelUnauthorized),
        (429, {}, RateLimited),
        (429, {"code": "insufficient_quota"}, QuotaExhausted),
        (500, {}, Overloaded),
        (503, {}, Overloaded),
        (529, {}, Overloaded),
        (400, {"code": "context_length_exceeded"}, ContextTooLong),
        (400, {"code": 400, "type": "exceed_context_size_error"}, ContextTooLong),
        (413, {"type": "exceed_context_size_error"}, ContextTooLong),
        (400, {"code": "content_filter"}, ModelRefused),
        (400, {}, ModelError),
        (404, {"code": "model_not_found"}, ModelNotFound),
        (404, {}, ModelNotFound),
        (413, {}, ContextTooLong),
        (302, {}, ModelError),
    ],
)
async def test_a_status_is_its_error(
    status: int, fields: dict[str, object], expected: type[ModelError]
) -> None:
    caught = await failure(refuses(status, error("the reason", **fields)))

    assert type(caught) is expected
    assert f"'test' answered {status}: the reason" in caught.detail


async def test_a_context_error_without_a_code_is_known_by_its_words() -> None:
    said: wire.Json = {"object": "error", "code": 400, "type": "BadRequestError",
            "message": "This model's maximum context length is 4096 tokens."}  # fmt: skip

    assert type(await failure(refuses(400, said))) is ContextTooLong


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("upstream connect error", "upstream connect error"),
        ({"error": "no such model"}, "no such model"),
        ({"detail": "Not Found"}, '{"detail": "Not Found"}'),
        ("", "nothing"),
        ("[1]", "[1]"),
    ],
)
async def test_an_explanation_in_any_shape_is_passed_on(body: wire.Json | str, shown: str) -> None:
    assert (await failure(refuses(404, body))).detail.endswith(f"answered 404: {shown}")


async def test_an_explanation_is_bounded_and_never_holds_the_key() -> None:
    caught = await failure(refuses(401, error(f"wrong key {KEY} " + "x" * 1_000_000)))

    assert "wrong key ***" in caught.detail
    assert len(caught.detail) < 600


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        (
            {
                "retry_after": "Sat, 21 Nov 2026 10:00:09 GMT",
                "date": "Sat, 21 Nov 2026 10:00:00 GMT",
            },
            9.0,
        ),
        ({"retry_after": "Sat, 21 Nov 2026 10:00:09 GMT"}, None),
        ({"retry_after": "1", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": "2", "retry_after_ms": "soon"}, 2.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "nan"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read_in_all_its_forms(
    headers: Mapping[str, str], seconds: float | None
) -> None:
    caught = await failure(refuses(429, error(), **headers))

    assert caught.retry_after == seconds


@pytest.mark.parametrize("done", [True, False])
async def test_an_answer_without_a_finish_reason_is_an_error(done: bool) -> None:
    caught = await failure(streams(piece(content="half an ans"), done=done))

    assert type(caught) is ModelUnavailable


@pytest.mark.parametrize("data", ["{", "nonsense", "[]", '{"choices": 1}', '{"choices": [1]}'])
async def test_a_malformed_chunk_is_an_error(data: str) -> None:
    caught = await failure(streams(piece(content="x"), data, piece("stop")))

    assert type(caught) is ModelProtocolError


async def test_an_event_without_end_is_an_error() -> None:
    caught = await failure(streams(piece(content="x" * (5 << 20))))

    assert type(caught) is ModelProtocolError


async def test_an_answer_that_is_no_stream_is_an_error() -> None:
    caught = await failure(refuses(200, "<html>", content_type="text/html"))

    assert type(caught) is ModelProtocolError
    assert "text/html" in caught.detail


async def test_an_encoding_that_nobody_asked_for_is_an_error() -> None:
    async def answer(_upstream: wire.Upstream, stream: anyio.abc.SocketStream) -> None:
        head = wire.HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
        await stream.send(head + wire.frame(gzip.compress(wire.DONE)) + wire.END)

    caught = await failure(answer)

    assert (type(caught), "gzip" in caught.detail) == (ModelProtocolError, True)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (error("slow down", code=429), RateLimited),
        (error("broken", type="server_error"), Overloaded),
        (error("broken", code=502), Overloaded),
        (error("too long", code="context_length_exceeded"), ContextTooLong),
        (error("what?"), ModelError),
        ({"error": "broken"}, ModelError),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(
    chunk: wire.Json, expected: type[ModelError]
) -> None:
    assert type(await failure(streams(piece(content="x"), chunk, piece("stop")))) is expected


async def test_an_error_event_is_an_error() -> None:
    async def answer(_upstream: wire.Upstream, stream: anyio.abc.SocketStream) -> None:
        body = b"event: error\n" + wire.event({"message": "broken", "type": "server_error"})
        await stream.send(wire.HEAD + wire.frame(body) + wire.END)

    caught = await failure(answer)

    assert (type(caught), "broken" in caught.detail) == (Overloaded, True)


async def test_an_error_instead_of_the_stream_is_an_error() -> None:
    assert type(await failure(refuses(200, error("slow down", code=429)))) is RateLimited


async def test_a_content_filter_is_a_refusal() -> None:
    caught = await failure(streams(piece(content="well"), piece("content_filter")))

    assert type(caught) is ModelRefused


async def test_an_upstream_that_falls_silent_is_unavailable() -> None:
    caught = await failure(wire.waits(piece(content="x")), read_seconds=0.05)

    assert (type(caught), caught.retryable) == (ModelUnavailable, True)


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async with wire.running(wire.says("a"), wire.hangs_up, wire.says("b")) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY)
        await provider.start()
        replies = [await provider.complete(REQUEST) for _ in range(2)]
        await provider.stop()

    assert [reply.message.text for reply in replies] == ["a", "b"]
    assert (upstream.connections, len(upstream.requests)) == (2, 3)


async def test_an_upstream_that_hangs_up_twice_is_unavailable() -> None:
    assert type(await failure(wire.hangs_up, wire.hangs_up)) is ModelUnavailable


async def test_an_upstream_that_is_not_there_is_unavailable() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = wire.port_of(listener)
    provider = OpenAICompatible("test", f"http://127.0.0.1:{port}/v1", KEY)
    await provider.start()

    with pytest.raises(ModelUnavailable, match="'test' cannot be reached"):
        await provider.complete(REQUEST)

    await provider.stop()


@pytest.mark.parametrize("answer", [wire.says_nothing, wire.waits(piece(content="x"))])
async def test_a_cancelled_call_closes_its_connection(answer: Answer) -> None:
    emitted = anyio.Event()

    async def emit(_delta: Delta) -> None:
        emitted.set()

    asked = ModelRequest(model="m", messages=REQUEST.messages, emit=emit)
    async with wire.running(answer) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY)
        await provider.start()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.complete, asked)
            if answer is not wire.says_nothing:
                await emitted.wait()
            await upstream.asked.wait()
            tasks.cancel_scope.cancel()

        await upstream.closed.wait()
        await provider.stop()


async def test_what_a_reader_raises_is_never_taken_for_the_upstreams_fault() -> None:
    async def emit(_delta: Delta) -> None:
        raise httpx.ReadError("of the reader's own")

    async with wire.running(wire.says("a", "b")) as upstream:
        provider = OpenAICompatible("test", upstream.base_url, KEY)
        await provider.start()
        with pytest.raises(httpx.ReadError):
            await provider.complete(ModelRequest(model="m", messages=(), emit=emit))
        await provider.stop()


async def test_the_key_is_read_from_the_environment_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with wire.running(wire.says("ok")) as upstream:
        provider = OpenAICompatible()
        monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
        await provider.start()
        await provider.complete(REQUEST)
        await provider.stop()

    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(provider)


async def test_the_environments_key_goes_to_no_other_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with wire.running(wire.says("ok")) as upstream:
        provider = OpenAICompatible("other", upstream.base_url)
        await provider.start()
        await provider.complete(REQUEST)
        await provider.stop()

    assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (OpenAICompatible(), "set OPENAI_API_KEY"),
        (OpenAICompatible(base_url=OPENAI), "set OPENAI_API_KEY"),
        (OpenAICompatible(base_url=f"{OPENAI}/"), "set OPENAI_API_KEY"),
        (OpenAICompatible(api_key="k\u00e9y"), "not printable ASCII"),
        (OpenAICompatible(api_key="a\nb"), "not printable ASCII"),
        (OpenAICompatible(base_url="localhost:1"), "not http:// or https://"),
        (OpenAICompatible(base_url="http://[::"), "cannot be set up"),
        (OpenAICompatible(base_url="http://localhost:x"), "cannot be set up"),
    ],
)
async def test_a_provider_that_cannot_work_does_not_start(
    provider: ModelProvider, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ConfigError, match=said):
        await provider.start()
