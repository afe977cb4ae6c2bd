"""The endpoints of single turns: where one stands, its events again, its end, its approvals."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from agentrail.errors import RequestError
from agentrail.messages import Wire
from agentrail.requests import Host, Principal, Resume
from agentrail.route._answers import answer_of, read_json, reply
from agentrail.route._route import owner_of, principal_of
from agentrail.route._sse import StreamResponse, until_hang_up

EVENT_STREAM: Final = "text/event-stream"


class ApprovalDecision(Wire):
    """What somebody says of a tool call that waits."""

    approved: bool
    reason: str = ""
    """For the model, and for whoever reads the turn later."""


_decision = msgspec.json.Decoder(ApprovalDecision)


async def turn(request: Request, host: Host) -> Response:
    """Tell where a turn stands, and what it waits for."""
    return reply(await host.turn(owner_of(request), request.path_params["turn_id"]))


async def turn_events(request: Request, host: Host) -> Response:
    """Answer with a turn's events after ``Last-Event-ID``, until the turn has ended."""
    return StreamResponse(
        host.events(
            owner_of(request), request.path_params["turn_id"], after=_last_event_id(request)
        )
    )


async def cancel_turn(request: Request, host: Host) -> Response:
    """End a turn, and tell where it stands then."""
    return reply(await host.cancel(owner_of(request), request.path_params["turn_id"]))


async def decide(request: Request, host: Host) -> Response:
    """Record a decision; the last one lets the turn go on, and its answer is answered.

    As long as other calls wait, the answer is 202 and where the turn stands.  A client that takes
    an event stream is answered with one.
    """
    decision = await read_json(request, _decision, "decision")
    caller, turn_id = owner_of(request), request.path_params["turn_id"]
    status = await host.decide(
        caller,
        turn_id,
        request.path_params["call_id"],
        approved=decision.approved,
        reason=decision.reason,
    )
    if status.approvals:
        return reply(status, status=202)
    return await _resumed(request, host, caller, Resume(turn_id))


async def artifact(request: Request, host: Host) -> Response:
    """Answer with the whole of a tool's result."""
    text = await host.artifact(
        owner_of(request), request.path_params["session_id"], request.path_params["artifact_id"]
    )
    return Response(
        text.encode(errors="replace"),
        media_type="text/plain; charset=utf-8",
        headers={
            "x-content-type-options": "nosniff"
        },  # a tool may have fetched a page with scripts
    )


async def _resumed(request: Request, host: Host, caller: Principal, resume: Resume) -> Response:
    principal = principal_of(request) or caller
    request_id = request.headers.get("x-request-id", "")
    if EVENT_STREAM in request.headers.get("accept", ""):
        return StreamResponse(
            host.stream(resume, principal=principal, transport="http", request_id=request_id)
        )
    response = await until_hang_up(
        request.receive,
        lambda: host.chat(resume, principal=principal, transport="http", request_id=request_id),
    )
    return reply(answer_of(response))


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "") or request.query_params.get("after", "0")
    if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)):
        return int(text)
    raise RequestError(f"the last event's id must be a number, not {text[:80]!r}")
