"""What goes wrong upstream, in each of the three wire formats."""

import anyio
import pytest

from agentrail.errors import (
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
from agentrail.requests import Delta, ModelRequest
from tests.model import upstream as wire
from tests.model.upstream import Answer, Json, refuses
from tests.model.wires import FORMATS, KEY, Format, asking, frames, sends

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(model="m", messages=(Message.user("hi"),))


@pytest.fixture(params=FORMATS, ids=lambda spoken: str(spoken.name))
def spoken(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


async def failure(spoken: Format, *answers: Answer, emitted: str = "") -> ModelError:
    """Return the error of a call; the provider answers the next call all the same."""
    seen: list[str] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta.text)

    asked = ModelRequest(model="m", messages=REQUEST.messages, emit=emit)
    async with asking(spoken, *answers, spoken.says("ok")) as (provider, _):
        with pytest.raises(ModelError) as caught:
            await provider.complete(asked)
        assert (await provider.complete(REQUEST)).message.text == "ok"
    assert KEY not in str(caught.value)
    assert "".join(seen) == emitted
    return caught.value


async def test_a_rate_limit_says_when_to_come_back(spoken: Format) -> None:
    body: Json = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}

    caught = await failure(spoken, refuses(429, body, retry_after="7"))

    assert (type(caught), caught.retry_after) == (RateLimited, 7.0)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (529, "overloaded_error", Overloaded),
        (500, "api_error", Overloaded),
        (504, "timeout_error", Overloaded),
        (408, "", Overloaded),
        (401, "authentication_error", ModelUnauthorized),
        (403, "permission_error", ModelUnauthorized),
        (402, "billing_error", QuotaExhausted),
        (413, "request_too_large", ContextTooLong),
        (404, "not_found_error", ModelNotFound),
        (400, "invalid_request_error", ModelError),
    ],
)
async def test_a_status_is_its_error(
    spoken: Format, status: int, kind: str, expected: type[ModelError]
) -> None:
    body: Json = {"type": "error", "error": {"type": kind, "message": f"no, {KEY}"}}

    assert type(await failure(spoken, refuses(status, body))) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", ContextTooLong),
        ("input length and `max_tokens` exceed context limit", ContextTooLong),
        ("This model's maximum prompt length is 131072", ContextTooLong),
        ("The input token count exceeds the maximum number of tokens allowed", ContextTooLong),
        ("Input is too long for requested model.", ContextTooLong),
        ("Your credit balance is too low to access the API.", QuotaExhausted),
        ("Output blocked by content filtering policy", ModelRefused),
        ("Your prompt was flagged as potentially violating our usage policy.", ModelRefused),
    ],
)
async def test_an_error_without_a_code_of_its_own_is_known_by_its_words(
    spoken: Format, said: str, expected: type[ModelError]
) -> None:
    body: Json = {"type": "error", "error": {"type": "invalid_request_error", "message": said}}

    assert type(await failure(spoken, refuses(400, body))) is expected


@pytest.mark.parametrize(
    "error",
    [
        {"code": "insufficient_quota", "type": "insufficient_quota", "message": "check your plan"},
        {
            "type": "rate_limit_error",
            "message": "over your tier",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    ],
)
async def test_an_empty_account_is_no_rate_limit(spoken: Format, error: Json) -> None:
    caught = await failure(spoken, refuses(429, {"error": error}))

    assert (type(caught), caught.retryable) == (QuotaExhausted, False)


async def test_an_answer_that_breaks_off_is_an_error(spoken: Format) -> None:
    answer = sends(*spoken.text(["half an", " ans"]), end=b"")

    assert type(await failure(spoken, answer, emitted="half an ans")) is ModelUnavailable


async def test_an_answer_that_is_silently_cut_short_is_an_error(spoken: Format) -> None:
    answer = sends(*spoken.text(["half an", " ans"]))

    assert type(await failure(spoken, answer, emitted="half an ans")) is ModelUnavailable


@pytest.mark.parametrize("missing", [1, 2])
async def test_a_call_that_is_silently_cut_short_is_an_error(spoken: Format, missing: int) -> None:
    events = spoken.call("get_weather", ['{"city": ', '"Paris"}'])

    assert type(await failure(spoken, sends(*events[:-missing]))) is ModelUnavailable


async def test_an_end_without_a_beginning_is_an_empty_answer(spoken: Format) -> None:
    async with asking(spoken, sends(*spoken.end)) as (provider, _):
        reply = await provider.complete(REQUEST)

    assert (reply.message.parts, reply.stop_reason) == ((), "stop")


@pytest.mark.parametrize("data", ["{", "nonsense", "[]", '{"type": 1, "choices": 1}', '"x"'])
async def test_a_malformed_chunk_is_an_error(spoken: Format, data: str) -> None:
    broken = b"data: " + data.encode() + b"\n\n"
    answer = sends(*spoken.text(["x"]), broken, *spoken.end)

    assert type(await failure(spoken, answer, emitted="x")) is ModelProtocolError


async def test_a_chunk_cut_in_half_is_an_error(spoken: Format) -> None:
    *begun, last = frames(spoken.text(["x", "y"]))
    answer = sends(*begun, last[: len(last) // 2] + b"\n\n", *spoken.end)

    assert type(await failure(spoken, answer, emitted="x")) is ModelProtocolError


async def test_an_event_that_nobody_knows_is_read_over(spoken: Format) -> None:
    strange = b'event: a.new.one\ndata: {"type": "a.new.one", "novel": [1, {}]}\n\n: comment\n\n'
    async with asking(spoken, sends(*spoken.text(["x"]), strange, *spoken.end)) as (provider, _):
        assert (await provider.complete(REQUEST)).message.text == "x"


@pytest.mark.parametrize("written", ['{"x": ', "[1]", "nonsense", '{"x": NaN}'])
async def test_malformed_arguments_are_shown_to_the_model(spoken: Format, written: str) -> None:
    async with asking(spoken, spoken.calls("add", written[:2], written[2:])) as (provider, _):
        reply = await provider.complete(REQUEST)

    (call,) = reply.message.tool_calls
    assert (call.name, call.arguments, reply.stop_reason) == ("add", {}, "tool_calls")
    assert written in call.invalid


async def test_no_arguments_are_none(spoken: Format) -> None:
    async with asking(spoken, spoken.calls("now")) as (provider, _):
        reply = await provider.complete(REQUEST)

    (call,) = reply.message.tool_calls
    assert (call.name, call.arguments, call.invalid) == ("now", {}, "")


async def test_a_failure_in_the_middle_of_a_stream_is_its_error(spoken: Format) -> None:
    answer = sends(*spoken.text(["x"]), ("error", spoken.failed), *spoken.end)

    caught = await failure(spoken, answer, emitted="x")

    assert type(caught) is Overloaded
    assert caught.detail.endswith("in the middle of a stream: too busy")


async def test_a_failure_is_known_without_its_events_name(spoken: Format) -> None:
    answer = sends(("", spoken.failed), *spoken.end)

    assert type(await failure(spoken, answer)) is Overloaded


async def test_a_cancelled_call_closes_its_connection(spoken: Format) -> None:
    emitted = anyio.Event()

    async def emit(_delta: Delta) -> None:
        emitted.set()

    async def answer(upstream: wire.Upstream, stream: anyio.abc.SocketStream) -> None:
        head = wire.HEAD + b"".join([wire.frame(f) for f in frames(spoken.text(["x"]))])
        await wire.waits(head=head)(upstream, stream)

    asked = ModelRequest(model="m", messages=REQUEST.messages, emit=emit)
    async with asking(spoken, answer) as (provider, upstream), anyio.create_task_group() as tasks:
        tasks.start_soon(provider.complete, asked)
        await emitted.wait()
        tasks.cancel_scope.cancel()

        with anyio.CancelScope(shield=True):
            await upstream.closed.wait()


async def test_one_connection_serves_one_call_after_another(spoken: Format) -> None:
    async with asking(spoken, spoken.says("x")) as (provider, upstream):
        for _ in range(3):
            await provider.complete(REQUEST)

    assert (upstream.connections, len(upstream.requests)) == (1, 3)


async def test_the_request_goes_where_the_api_is(spoken: Format) -> None:
    async with asking(spoken, spoken.says("x"), headers={"X-Team": "red"}) as (provider, upstream):
        await provider.complete(REQUEST)

    (got,) = upstream.requests
    assert got.line == f"POST {spoken.path} HTTP/1.1"
    assert got.headers["x-team"] == "red"
    assert (got.body["model"], got.body["stream"]) == ("m", True)


async def test_a_provider_that_is_not_started_says_so(spoken: Format) -> None:
    with pytest.raises(ModelError, match="'x' is not started"):
        await spoken.make("x", "http://127.0.0.1:1").complete(REQUEST)


def test_the_repr_shows_the_name_and_no_secret(spoken: Format) -> None:
    provider = spoken.make("x", "http://u:p@host/v1", KEY, headers={"x-key": KEY})

    assert repr(provider) == f"{type(provider).__name__}(name='x')"
