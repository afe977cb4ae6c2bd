"""The first step of every turn: is the request whole, and who is it from?"""

from attrs import define, frozen

from agentrail.errors import PayloadTooLarge, RequestError
from agentrail.events import MessageRecorded, TurnStart
from agentrail.host._attach import admit_attachments, check_attachments
from agentrail.host._compose import Composition
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.host._past import Past
from agentrail.host._services import RunServices
from agentrail.ids import check_id, new_id
from agentrail.messages import AttachedFile, Image, Part, Text
from agentrail.requests import ChatRequest, Kind, Principal, RequestContext
from agentrail.route import RequestLimits
from agentrail.session import Owner, check_owner


@define(slots=True)
class Admitted:
    """A request that may go on."""

    request: ChatRequest
    context: RequestContext
    services: RunServices
    generation: Generation
    """What it goes by."""
    past: Past | None = None
    """What the turn has done before, where it goes on."""
    fingerprint: str = ""
    """What was asked, where the request has an idempotency key."""
    files: tuple[AttachedFile, ...] = ()
    """What came with it."""

    @property
    def composition(self) -> Composition:
        """The application as the request sees it."""
        return self.generation.composition


@frozen(slots=True)
class Caller:
    """Who asks, and through which door."""

    kind: Kind
    transport: str
    principal: Principal | None = None
    request_id: str = ""


async def admit(
    core: Core,
    generation: Generation,
    request: ChatRequest,
    caller: Caller,
    turn_id: str,
    fingerprint: str = "",
) -> Admitted:
    """Return the request with all its ids, and what it goes by.

    Raises:
        RequestError: the request is not whole, over a limit, or names what the caller has not.
    """
    check_request(request, core.config.limits)
    principal = principal_of(request, caller)
    agent_id = request.agent_id
    session_id, existed = request.session_id, False
    if session_id is None:
        session_id = new_id("ses")
    else:
        check_id(session_id, "the session id")
        owner = await core.store.find(session_id)
        existed = owner is not None
        if owner is not None:
            agent_id = agent_id or owner.agent_id
            check_owner(session_id, owner, Owner(principal.tenant_id, principal.user_id, agent_id))
    if agent_id is None:
        agent_id = generation.composition.default_agent
    else:
        check_id(agent_id, "the agent id")
    owner = Owner(principal.tenant_id, principal.user_id, agent_id)
    files: tuple[AttachedFile, ...] = ()
    if request.attachments:
        request, files = await admit_attachments(core, request, owner.tenant_id)
    services = RunServices(core, generation, session_id, owner, turn_id, existed=existed)
    locale = request.metadata.get("locale")
    context = _context(services, caller, principal.roles, locale if isinstance(locale, str) else "")
    return Admitted(request, context, services, generation, None, fingerprint, files)


def admit_again(core: Core, generation: Generation, past: Past, caller: Caller) -> Admitted:
    """Return what a suspended turn goes on with."""
    record = past.record
    services = RunServices(
        core, generation, record.session_id, record.owner, record.turn_id, existed=True
    )
    asked = next(e.message.parts for e in past.events if isinstance(e, MessageRecorded))
    request = ChatRequest(
        asked,
        session_id=record.session_id,
        agent_id=record.owner.agent_id,
        tenant_id=record.owner.tenant_id,
        user_id=record.owner.user_id,
    )
    roles = caller.principal.roles if caller.principal else frozenset[str]()
    context = _context(services, caller, roles)
    key = next(e.fingerprint for e in past.events if isinstance(e, TurnStart))
    return Admitted(request, context, services, generation, past, key)


def principal_of(request: ChatRequest, caller: Caller) -> Principal:
    """Return who asks: as authentication found out, or else as the request says.

    Raises:
        InvalidId: tenant or user is no identifier.
    """
    principal = caller.principal
    if principal is None:
        principal = Principal(tenant_id=request.tenant_id, user_id=request.user_id)
    check_id(principal.tenant_id, "the tenant id")
    check_id(principal.user_id, "the user id")
    return principal


def _context(
    services: RunServices, caller: Caller, roles: frozenset[str], locale: str = ""
) -> RequestContext:
    request_id = caller.request_id
    services.context = RequestContext(
        kind=caller.kind,
        transport=caller.transport,
        tenant_id=services.owner.tenant_id,
        user_id=services.owner.user_id,
        roles=roles,
        locale=locale,
        session_id=services.session_id,
        turn_id=services.turn_id,
        agent_id=services.owner.agent_id,
        request_id=check_id(request_id, "the request id") if request_id else services.turn_id,
        services=services,
    )
    return services.context


def check_request(request: ChatRequest, limits: RequestLimits) -> None:
    """Return when the request says something and is within the limits.

    Raises:
        RequestError: it says nothing, holds parts that are not the user's to send, or an
            attachment has no plain name.
        PayloadTooLarge: it is over a limit.
    """
    length = len(request.text)
    if length > limits.message_chars:
        message = f"the message has {length} characters; at most {limits.message_chars} are taken"
        raise PayloadTooLarge(message)
    if not _says_something(request.message) and not request.attachments:
        message = "the message is empty: say something, or attach a file"
        raise RequestError(message)
    if request.attachments:
        check_attachments(request.attachments, limits)


def _says_something(message: str | tuple[Part, ...]) -> bool:
    if isinstance(message, str):
        return bool(message.strip())
    said = False
    for part in message:
        if isinstance(part, Text):
            said = said or bool(part.text.strip())
        elif isinstance(part, Image):
            if part.sha256:  # only the host knows who has which file
                wrong = "an image in a request has its bytes; its sha256 is the host's to set"
                raise RequestError(wrong)
            said = True
        else:
            wrong = f"a user's message may hold text and images, not a {type(part).__name__}"
            raise RequestError(wrong)
    return said
