"""JSON in and out."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from agentrail.errors import InvalidJSON, RequestError
from agentrail.messages import StopReason, Usage, Wire
from agentrail.requests import Asked, ChatResponse

T = TypeVar("T")

_json = msgspec.json.Encoder()


class ChatAnswer(Wire, omit_defaults=False):
    """What ``POST /chat`` answers."""

    turn_id: str
    session_id: str
    agent_id: str
    message: str
    stop_reason: StopReason | None
    usage: Usage
    outcome: str
    output: object | UnsetType = UNSET
    """The answer as a value, where the profile has an output type."""
    approvals: tuple[Asked, ...] | UnsetType = UNSET
    """The tool calls that the turn waits for, when it is suspended."""


def answer_of(response: ChatResponse) -> ChatAnswer:
    """Return an answer as it goes over the wire."""
    return ChatAnswer(
        turn_id=response.turn_id,
        session_id=response.session_id or "",
        agent_id=response.agent_id,
        message=response.message,
        stop_reason=response.stop_reason,
        usage=response.usage,
        outcome=response.outcome,
        output=UNSET if response.output is None else response.output,
        approvals=response.approvals or UNSET,
    )


def reply(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``body`` as a JSON response, its Structs in camelCase."""
    return Response(_json.encode(body), status, headers, media_type="application/json")


async def read_json(request: Request, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Return the request's body.

    Raises:
        InvalidJSON: the body is no JSON, or is nested too deeply.
        RequestError: it is JSON of another shape; the message says where and what was expected.
    """
    return decode(await request.body(), decoder, what)


def decode(data: bytes, decoder: msgspec.json.Decoder[T], what: str, where: str = "the body") -> T:
    """Return what the JSON holds; the errors are those of ``read_json``."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise RequestError(f"{where} is no {what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidJSON(f"{where} is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidJSON(f"{where} is nested too deeply to be read") from error
