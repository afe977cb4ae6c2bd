"""The endpoints that every host has: chat, stream, sessions, health."""

from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from agentrail.errors import RequestError
from agentrail.messages import Wire
from agentrail.requests import (
    ChatRequest,
    Host,
    SessionSummary,
    StoredMessage,
)
from agentrail.route._answers import answer_of, decode, read_json, reply
from agentrail.route._attachment import attachment, attachments
from agentrail.route._multipart import FORM, WHOLE, read_form, simple_request
from agentrail.route._route import Route, owner_of, principal_of
from agentrail.route._sse import StreamResponse, until_hang_up
from agentrail.route._turns import artifact, cancel_turn, decide, turn, turn_events

MAX_PAGE: Final = 200
"""The most rows that one page of a listing has."""

MAX_SEQ: Final = 2**63 - 1
"""The greatest number that a store has to take."""


class SessionPage(Wire, omit_defaults=False):
    """What ``GET /sessions`` answers."""

    sessions: tuple[SessionSummary, ...]
    next: float | None = None
    """Pass it as ``before`` to read the next page; None when this is the last one."""


class MessagePage(Wire, omit_defaults=False):
    """What ``GET /sessions/{session_id}/messages`` answers, newest first."""

    messages: tuple[StoredMessage, ...]
    next: int | None = None
    """Pass it as ``before`` to read what is older; None when there is nothing older."""


_chat_request = msgspec.json.Decoder(ChatRequest)


async def chat(request: Request, host: Host) -> Response:
    """Run a turn and answer with its result; hanging up cancels it, unless it may go on."""
    asked = await read_chat_request(request)
    response = await until_hang_up(
        request.receive,
        lambda: host.chat(
            asked,
            principal=principal_of(request),
            transport="http",
            request_id=request.headers.get("x-request-id", ""),
        ),
    )
    return reply(answer_of(response), status=response.status, headers=response.headers)


async def stream(request: Request, host: Host) -> Response:
    """Run a turn and answer with its events; hanging up cancels it, unless it may go on."""
    return StreamResponse(
        host.stream(
            await read_chat_request(request),
            principal=principal_of(request),
            transport="http",
            request_id=request.headers.get("x-request-id", ""),
        )
    )


async def sessions(request: Request, host: Host) -> Response:
    """List the caller's sessions, the one changed last first."""
    limit = _limit(request)
    rows = await host.sessions(
        owner_of(request), before=_number(request, "before"), limit=limit + 1
    )
    page = tuple(rows[:limit])
    return reply(SessionPage(page, page[-1].updated_at if len(rows) > limit else None))


async def session_messages(request: Request, host: Host) -> Response:
    """List a session's messages, newest first."""
    limit, before = _limit(request), _number(request, "before")
    rows = await host.messages(
        owner_of(request),
        request.path_params["session_id"],
        before=None if before is None else max(0, min(MAX_SEQ, int(before))),
        limit=limit + 1,
    )
    page = tuple(rows[:limit])
    return reply(MessagePage(page, page[-1].seq if len(rows) > limit else None))


async def delete_session(request: Request, host: Host) -> Response:
    """Erase a session."""
    await host.delete_session(owner_of(request), request.path_params["session_id"])
    return Response(status_code=204)


async def health(_request: Request, _host: Host) -> Response:
    """Tell that the process answers."""
    return reply({"status": "ok"})


async def ready(_request: Request, host: Host) -> Response:
    """Tell whether the host can serve; the reasons why not are for its log alone."""
    problems = await host.readiness()
    if problems:
        return reply({"status": "not_ready", "failing": sorted(problems)}, status=503)
    return reply({"status": "ready"})


def standard_routes() -> tuple[Route, ...]:
    """Return the routes that a host has when its application names none."""
    return (
        Route(path="/chat", endpoint=chat, methods=["POST"]),
        Route(path="/stream", endpoint=stream, methods=["POST"]),
        Route(path="/sessions", endpoint=sessions),
        Route(path="/sessions/{session_id}/messages", endpoint=session_messages),
        Route(path="/sessions/{session_id}", endpoint=delete_session, methods=["DELETE"]),
        Route(path="/sessions/{session_id}/artifacts/{artifact_id}", endpoint=artifact),
        Route(path="/sessions/{session_id}/attachments", endpoint=attachments),
        Route(path="/sessions/{session_id}/attachments/{sha256}", endpoint=attachment),
        Route(path="/turns/{turn_id}", endpoint=turn),
        Route(path="/turns/{turn_id}/events", endpoint=turn_events),
        Route(path="/turns/{turn_id}/cancel", endpoint=cancel_turn, methods=["POST"]),
        Route(path="/turns/{turn_id}/approvals/{call_id}", endpoint=decide, methods=["POST"]),
        Route(path="/health", endpoint=health, public=True),
        Route(path="/ready", endpoint=ready, public=True),
    )


async def read_chat_request(request: Request) -> ChatRequest:
    """Return the request's body as a chat request, with what its headers say.

    ``Idempotency-Key`` comes before the body's own, ``Accept-Language`` after its ``locale``.  The
    body is JSON, or a form with the files in it.

    Raises:
        InvalidJSON: the body is no JSON, or is nested too deeply.
        RequestError: it has another shape; the message says where and what was expected.
        PayloadTooLarge: it is over a limit of the host's.
    """
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() == FORM:
        asked = await _read_form(request)
    else:
        asked = await read_json(request, _chat_request, "chat request")
    locale = request.headers.get("accept-language")
    if locale is not None and "locale" not in asked.metadata:
        asked = replace(asked, metadata={**asked.metadata, "locale": locale})
    key = request.headers.get("idempotency-key")
    return asked if key is None else replace(asked, idempotency_key=key)


async def _read_form(request: Request) -> ChatRequest:
    """Return a form as a chat request: its field ``request``, or its others, and its files."""
    fields, files = await read_form(request)
    if WHOLE not in fields:
        asked = simple_request(fields)
    elif len(fields) > 1:
        raise RequestError(f"the form has both the field {WHOLE!r} and others: send either")
    else:
        asked = decode(fields[WHOLE], _chat_request, "chat request", f"the field {WHOLE!r}")
    return replace(asked, attachments=(*asked.attachments, *files))


def _limit(request: Request) -> int:
    limit = _number(request, "limit")
    return 50 if limit is None else max(1, min(MAX_PAGE, int(limit)))


def _number(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        number = float(text)
        int(number)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"the query's {name!r} must be a number, not {text[:80]!r}") from error
    return number
