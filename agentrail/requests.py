"""What is asked and answered, and what a hook is told about it."""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol

from msgspec import Struct, field

from agentrail.events import Event, TurnOutcome
from agentrail.messages import (
    AttachedFile,
    Attachment,
    Message,
    OutputSpec,
    Part,
    StopReason,
    ToolCall,
    ToolSpec,
    Usage,
    Wire,
)

Kind = Literal["chat", "stream"]
"""Does the caller read a stream?"""

OnDisconnect = Literal["cancel", "continue"]
"""A turn whose caller leaves is ended there, or goes on in the host."""

ANSWER_CHARS: Final = 1_000_000
"""How many characters an interceptor's answer may have."""


class Asked(Wire):
    """A tool call that waits for somebody's approval."""

    call: ToolCall
    reason: str = ""
    """Why it is asked for, where the permission says."""


class ChatRequest(Wire):
    """One message to an agent.

    With an authenticator, tenant and user come from the principal and what stands here is ignored.
    """

    message: str | tuple[Part, ...]
    session_id: str | None = None
    """The session to go on with; None begins a new one, an unknown id begins one with that id."""
    agent_id: str | None = None
    """The profile to ask; None means the session's own, or the first one for a new session."""
    tenant_id: str = "default"
    user_id: str = "local"
    attachments: tuple[Attachment, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    """What plugins and routes are to know; its text ``locale`` becomes the context's."""
    on_disconnect: OnDisconnect = "cancel"
    """What becomes of the turn when whoever asked does not wait for its end."""
    idempotency_key: str = ""
    """Asked again with the same key, the same user gets the first turn's answer, whatever it was.
    It holds for as long as the session is kept; an answer that is not kept is given anew."""

    @property
    def text(self) -> str:
        """The message's text."""
        return self.message if isinstance(self.message, str) else Message.user(self.message).text


class Resume(Wire):
    """A suspended turn that is to go on, all of its approvals being decided."""

    turn_id: str
    on_disconnect: OnDisconnect = "continue"
    """What becomes of the turn when whoever let it go on does not wait for its end."""


class ChatResponse(Struct, frozen=True):
    """An answer.

    An interceptor returns one with nothing but a message; the host fills in the rest.
    """

    message: str = ""
    session_id: str | None = None
    """The turn's session; what an interceptor writes here is not looked at."""
    status: int = 200
    """The HTTP status of the answer to ``/chat``."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    text_stream: AsyncIterable[str] | None = None
    """Instead of ``message``: pieces of text as they come, read once."""
    keep: bool = False
    """Whether an interceptor's answer, and the message it answers, go into the history."""
    turn_id: str = ""
    agent_id: str = ""
    stop_reason: StopReason | None = None
    usage: Usage = Usage()
    outcome: TurnOutcome = "completed"
    output: object = None
    """The answer as a value, where the profile has an output type."""
    approvals: "tuple[Asked, ...]" = ()
    """The tool calls that the turn waits for, when its outcome is ``suspended``."""


class Principal(Struct, frozen=True, kw_only=True):
    """Who is asking, as authentication found out."""

    tenant_id: str = "default"
    user_id: str = "local"
    roles: frozenset[str] = frozenset()


class SessionHandle(Protocol):
    """The request's own session, in a plugin's hands."""

    async def messages(self, limit: int = 50) -> Sequence[Message]:
        """Return the session's newest messages since its last reset, oldest first."""
        ...

    async def turn(self) -> Sequence[Message]:
        """Return the messages of the present turn that are in the log, oldest first."""
        ...

    async def artifact(self, artifact_id: str) -> str | None:
        """Return the whole of a tool's result in this session, or None when there is none."""
        ...

    async def note(self, text: str) -> None:
        """Add a system message that the model sees from now on.

        Raises:
            SessionNotFound: the session was deleted since.
        """
        ...

    async def reset(self) -> None:
        """Let the model's window begin anew; the history stays until the session is deleted.

        Raises:
            SessionNotFound: the session was deleted since.
        """
        ...


class ModelHandle(Protocol):
    """A model, in a plugin's hands."""

    async def complete(self, messages: Sequence[Message]) -> Message:
        """Return the model's answer."""
        ...

    def stream(self, messages: Sequence[Message]) -> AsyncIterable[str]:
        """Return the model's answer piece by piece."""
        ...


class Services(Protocol):
    """What the host does for a hook."""

    @property
    def session(self) -> SessionHandle:
        """This request's session."""
        ...

    def model(self, reference: str | None = None) -> ModelHandle:
        """Return the model that ``provider:model`` names; None: the agent's, and its fallbacks."""
        ...

    def background(self, task: Callable[[], Awaitable[object]], name: str = "") -> None:
        """Run ``task`` outside the request; the calling plugin owns it, its stop cancels it."""
        ...


class RequestContext(Struct, kw_only=True):
    """What every hook of one request is told.  It is small on purpose."""

    kind: Kind
    transport: str
    """The door that the request came through: ``http``, ``python``, ``recovery`` and so on."""
    tenant_id: str
    user_id: str
    session_id: str
    turn_id: str
    agent_id: str
    request_id: str
    services: Services
    roles: frozenset[str] = frozenset()
    locale: str = ""
    """The languages that the caller reads, as in ``Accept-Language``: ``de-AT, en;q=0.5``."""
    state: dict[str, object] = field(default_factory=dict[str, object])
    """Room for plugins to leave things to each other; private to this request."""


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of a model's answer, as it arrives."""

    text: str = ""
    reasoning: str = ""


async def ignore_delta(_delta: Delta) -> None:
    """Take no notice of a piece; the default of ``ModelRequest.emit``."""


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One call to a model.

    Whoever answers it calls ``emit`` for each piece of text as it arrives and returns the whole
    reply at the end.  A middleware that changes the pieces passes a request with another ``emit``.
    """

    model: str
    """The model's name at its provider, without the provider."""
    messages: tuple[Message, ...]
    provider: str = ""
    """The provider's name; a middleware sees the first model's, whichever stands in for it."""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    max_tokens: int | None = None
    temperature: float | None = None
    output: OutputSpec | None = None
    """What the answer must be, where it is to be more than text."""
    context: RequestContext | None = None
    """The request that the call is made for; None for a call of the host's own."""
    emit: Callable[[Delta], Awaitable[None]] = ignore_delta
    on_sent: "Callable[[ModelRequest], None] | None" = None
    """Is told, for the call's span, what goes to the model once all middleware had its turn."""


class ModelReply(Struct, frozen=True, kw_only=True):
    """A model's whole answer."""

    message: Message
    stop_reason: StopReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    """The model that answered, as ``provider:model``; the host fills it in, and it is empty where
    none was asked."""


class ToolRequest(Struct, frozen=True, kw_only=True):
    """One call of a tool, on its way through the tool middleware."""

    call: ToolCall
    context: RequestContext
    permitted: ToolCall | None = None
    """The call as it was permitted; what a middleware makes of it is judged again."""
    origin: str = ""
    """The package that the tool is of, as ``id@version sha256:…``; the application's have none."""


class EventStream(Protocol):
    """The events of one run, in order; the last one is terminal."""

    @property
    def status(self) -> int:
        """The HTTP status that an interceptor asked for, or 200."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP headers that an interceptor asked for."""
        ...

    def __aiter__(self) -> "EventStream":
        """Return the stream itself."""
        ...

    async def __anext__(self) -> Event:
        """Return the next event, or end after the terminal one."""
        ...


class SessionSummary(Wire, omit_defaults=False):
    """A session, as a list shows it; times are seconds since 1970."""

    session_id: str
    agent_id: str
    created_at: float
    updated_at: float
    turns: int = 0


class StoredMessage(Wire, omit_defaults=False):
    """A message in a session's history."""

    seq: int
    """Its number in the session's log; pass it as ``before`` to read what is older."""
    turn_id: str
    message: Message


class TurnStatus(Wire, omit_defaults=False):
    """Where a turn stands; times are seconds since 1970."""

    turn_id: str
    session_id: str
    agent_id: str
    status: str
    """``running``, an outcome of ``turn.end``, or ``failed``."""
    usage: Usage
    started_at: float
    ended_at: float | None
    approvals: tuple[Asked, ...] = ()
    """The tool calls that it waits for."""


class Host(Protocol):
    """What routes, transports and the terminal see of a running host."""

    async def chat(
        self,
        request: ChatRequest | Resume,
        *,
        principal: Principal | None = None,
        transport: str = "python",
        request_id: str = "",
    ) -> ChatResponse:
        """Run a turn, or let a suspended one go on, and return its answer."""
        ...

    def stream(
        self,
        request: ChatRequest | Resume,
        *,
        principal: Principal | None = None,
        transport: str = "python",
        request_id: str = "",
    ) -> AbstractAsyncContextManager[EventStream]:
        """Run a turn and read its events; leaving early cancels the turn, unless it may go on."""
        ...

    def events(
        self, principal: Principal, turn_id: str, *, after: int = 0
    ) -> AbstractAsyncContextManager[EventStream]:
        """Read a turn's events with numbers over ``after``: those that were and those to come."""
        ...

    async def turn(self, principal: Principal, turn_id: str) -> TurnStatus:
        """Return where a turn stands."""
        ...

    async def cancel(self, principal: Principal, turn_id: str) -> TurnStatus:
        """End a turn that runs or is suspended, and return where it stands then."""
        ...

    async def decide(
        self,
        principal: Principal,
        turn_id: str,
        call_id: str,
        *,
        approved: bool,
        reason: str = "",
    ) -> TurnStatus:
        """Approve a tool call that waits, or refuse it; ``Resume`` then lets the turn go on."""
        ...

    async def artifact(self, principal: Principal, session_id: str, artifact_id: str) -> str:
        """Return the whole of a tool's result that the model was shown a part of."""
        ...

    async def attachments(self, principal: Principal, session_id: str) -> Sequence[AttachedFile]:
        """Return the files that came with the messages of the session, by name."""
        ...

    async def attachment(self, principal: Principal, session_id: str, sha256: str) -> Attachment:
        """Return a file that came with a message of the session."""
        ...

    async def sessions(
        self, principal: Principal, *, before: float | None = None, limit: int = 50
    ) -> Sequence[SessionSummary]:
        """Return the principal's sessions, the one changed last first."""
        ...

    async def messages(
        self, principal: Principal, session_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[StoredMessage]:
        """Return a session's messages, newest first."""
        ...

    async def delete_session(self, principal: Principal, session_id: str) -> None:
        """Erase a session with all that it holds."""
        ...

    def agents(self) -> Mapping[str, str]:
        """Return the names of the profiles by their ids; the first is the default."""
        ...

    async def readiness(self) -> Mapping[str, str]:
        """Return what keeps the host from serving, by part; empty when it is ready."""
        ...
