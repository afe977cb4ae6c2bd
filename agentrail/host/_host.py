"""The host: owns the composition, the session store and the plugins' lives."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from agentrail.errors import (
    ArtifactNotFound,
    AttachmentNotFound,
    ConfigError,
    HostNotRunning,
    SessionNotFound,
)
from agentrail.events import ApprovalDecided
from agentrail.host._admit import Caller
from agentrail.host._begin import answered, begin
from agentrail.host._blocking import watched_loop
from agentrail.host._compose import Composition
from agentrail.host._config import AppConfig
from agentrail.host._configured import Settled, configured, placing
from agentrail.host._control import (
    cancel_turn,
    decide_call,
    run_apart,
    run_here,
    turn_events,
    turn_status,
)
from agentrail.host._core import Core, shielded
from agentrail.host._deleted import delete_session
from agentrail.host._live import Follow
from agentrail.host._owed import announce_owed
from agentrail.host._past import artifact_of
from agentrail.host._retention import keep_retention
from agentrail.host._stream import RunStream
from agentrail.ids import check_id
from agentrail.messages import AttachedFile, Attachment
from agentrail.requests import (
    ChatRequest,
    ChatResponse,
    EventStream,
    Principal,
    Resume,
    SessionSummary,
    StoredMessage,
    TurnStatus,
)
from agentrail.route import Route
from agentrail.session import Owner
from agentrail.settings import SettingsSource

T = TypeVar("T")


class Extension(Protocol):
    """What a host has besides, and starts and stops with itself."""

    @property
    def parts(self) -> Sequence[object]:
        """What the host is asked for by its kind."""
        ...

    @property
    def routes(self) -> Sequence[Route]:
        """More HTTP endpoints."""
        ...

    async def open(self, stack: AsyncExitStack) -> None:
        """Begin before the plugins start, and put what ends it on the stack."""
        ...

    async def start(self, group: TaskGroup) -> None:
        """Go on when the plugins have started, in tasks of the group."""
        ...


@define(slots=True, eq=False)
class AgentHost:
    """A host of agents.

    ``async with host`` starts it, and stops it at the end: plugins start in order, and stop in
    reverse.  Between the two, ``chat`` and ``stream`` may be called from any task of the loop.
    """

    core: Core
    extension: Extension | None = None
    """What not every host has."""
    settled: Settled | None = None
    """The application and the settings that it starts with, where there are any."""
    _stack: AsyncExitStack | None = field(default=None, init=False)

    @classmethod
    def of(cls, config: AppConfig, settings: SettingsSource | None = None) -> "AgentHost":
        """Return the host of an application with settings; nothing is started or opened yet.

        Raises:
            CompositionError: the application's parts do not fit together.
            ConfigRefused: something is wrong with the settings.
        """
        settled, made, core = None, None, None
        if settings is not None:
            settled = Settled.of(config, settings)
            config, made = configured(settled.base, settled.reading, settled.secrets)
            with placing(settled.reading):
                core = Core.of(config, settled.secrets.hidden)
        core = core or Core.of(config)
        if config.packages is None and settled is None:
            return cls(core)
        # Who has neither packages nor settings does not pay for the import.
        from agentrail.host._managed import ManagedHost  # noqa: PLC0415

        return cls(core, ManagedHost.of(core, settled, made), settled)

    def part(self, kind: type[T]) -> T:
        """Return a part that not every host has, as ``host.part(Packages)``.

        Raises:
            ConfigError: this host has none of that kind.
        """
        parts = self.extension.parts if self.extension is not None else ()
        for part in parts:
            if isinstance(part, kind):
                return part
        message = f"this host has no {kind.__name__}: say AppConfig(packages=PackageSettings(...))"
        raise ConfigError(message)

    @property
    def routes(self) -> Sequence[Route]:
        """The HTTP endpoints."""
        more = self.extension.routes if self.extension is not None else ()
        return (*self.composition.routes, *more)

    @property
    def composition(self) -> Composition:
        """The application as it is served at the moment."""
        return self.core.composition

    async def __aenter__(self) -> Self:
        """Start the host; when a part of it fails to start, what had started is stopped again.

        Raises:
            PluginStartError: a plugin failed to start, or took too long.
            StorageError: the session store cannot be opened.
            HostNotRunning: the host is running already.
        """
        if self._stack is not None:
            raise HostNotRunning("the host is running already; a host is started once at a time")
        stack, started = AsyncExitStack(), False
        try:
            await self._start(stack)
            started = True
        finally:
            # Unwound without the error in hand: a task group would wrap it.
            if not started:
                await stack.aclose()
        self._stack = stack
        return self

    async def _start(self, stack: AsyncExitStack) -> None:
        """Start the parts in order, and put what stops each of them on the stack."""
        core = self.core
        core.begin()
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        watch = anyio.CancelScope(shield=True)  # deadlines hold to the end, cancelled or not
        stack.callback(watch.cancel)
        heart = stack.enter_context(watched_loop())
        group.start_soon(_within, watch, core.watchdog.run, heart.run)
        await core.store.start()
        stack.push_async_callback(shielded, core.store.stop)
        stack.push_async_callback(shielded, core.blobs.stop)
        stack.push_async_callback(shielded, core.models.stop)
        await core.models.start(self.composition.references if core.models_at_start else ())
        if self.extension is not None:
            await self.extension.open(stack)
        stack.push_async_callback(core.lives.stop)
        await core.lives.start(self.composition.hooks, group)
        await group.start(core.own_runs)
        stack.push_async_callback(core.drain)
        if self.extension is not None:
            await self.extension.start(group)
        await announce_owed(core)
        core.running = True
        core.spawn(lambda: keep_retention(core), "retention")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the host: no new turns, then the turns under way, the plugins, the store."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(None, None, None)

    async def chat(
        self,
        request: ChatRequest | Resume,
        *,
        principal: Principal | None = None,
        transport: str = "python",
        request_id: str = "",
    ) -> ChatResponse:
        """Run a turn, or let a suspended one go on, and return its answer.

        ``principal`` is who asks, where authentication found out; otherwise the request says.
        Cancelled, the turn is closed in the log and the session can go on; a turn that may go on
        without its caller does.

        Raises:
            AgentrailError: the turn failed; its leaf and code say why.
        """
        caller = Caller("chat", transport, principal, request_id)
        begun = await begin(self.core, request, caller)
        if isinstance(begun, Follow):
            return (await answered(self.core, begun)).answer()
        if request.on_disconnect == "continue":
            return await run_apart(self.core, begun)
        return await run_here(self.core, begun)

    def stream(
        self,
        request: ChatRequest | Resume,
        *,
        principal: Principal | None = None,
        transport: str = "python",
        request_id: str = "",
    ) -> RunStream:
        """Run a turn and read its events, as ``async with host.stream(...) as events``.

        Entering waits for the first event and raises what goes wrong before it; what goes wrong
        later is the terminal event.  Leaving before the terminal event cancels the turn, unless
        the request lets it go on.
        """
        return RunStream(self.core, request, Caller("stream", transport, principal, request_id))

    def events(
        self, principal: Principal, turn_id: str, *, after: int = 0
    ) -> AbstractAsyncContextManager[EventStream]:
        """Read a turn's events with numbers over ``after``, until the turn has ended.

        Entering raises ``TurnNotFound`` when the principal has no such turn.
        """
        return turn_events(self.core, principal, turn_id, after)

    async def turn(self, principal: Principal, turn_id: str) -> TurnStatus:
        """Return where a turn stands.

        Raises:
            TurnNotFound: the principal has no such turn.
        """
        return await turn_status(self.core, principal, turn_id)

    async def cancel(self, principal: Principal, turn_id: str) -> TurnStatus:
        """End a turn that runs or is suspended, and return where it stands then.

        Raises:
            TurnNotFound: the principal has no such turn.
        """
        return await cancel_turn(self.core, principal, turn_id)

    async def decide(
        self,
        principal: Principal,
        turn_id: str,
        call_id: str,
        *,
        approved: bool,
        reason: str = "",
    ) -> TurnStatus:
        """Approve a tool call that waits, or refuse it; it is durable when this returns.

        When no call waits any more, ``chat`` or ``stream`` of a ``Resume`` lets the turn go on.

        Raises:
            TurnNotFound: the principal has no such turn.
            NotPending: the turn does not wait for that call.
        """
        decided = ApprovalDecided(
            call_id=call_id, approved=approved, reason=reason, by=principal.user_id
        )
        return await decide_call(self.core, principal, turn_id, decided)

    async def artifact(self, principal: Principal, session_id: str, artifact_id: str) -> str:
        """Return the whole of a tool's result that the model was shown a part of.

        Raises:
            SessionNotFound: the principal has no such session.
            ArtifactNotFound: the session has no such artifact.
        """
        await self._check_session(principal, session_id)
        text = await artifact_of(self.core.store, session_id, artifact_id)
        if text is None:
            raise ArtifactNotFound(f"there is no artifact {artifact_id!r} in this session")
        return text

    async def attachments(self, principal: Principal, session_id: str) -> Sequence[AttachedFile]:
        """Return the files that came with the messages of the session, each content once.

        Raises:
            SessionNotFound: the principal has no such session.
        """
        owner = await self._check_session(principal, session_id)
        return await self.core.blobs.list(owner.tenant_id, owner.user_id, session_id)

    async def attachment(self, principal: Principal, session_id: str, sha256: str) -> Attachment:
        """Return a file that came with a message of the session.

        Raises:
            SessionNotFound: the principal has no such session.
            AttachmentNotFound: no file with that hash came with a message of it.
        """
        owner = await self._check_session(principal, session_id)
        found = await self.core.blobs.find(owner.tenant_id, owner.user_id, session_id, sha256)
        if found is None:
            raise AttachmentNotFound(f"there is no attachment {sha256[:80]!r} in this session")
        file, data = found
        return Attachment(file.filename, file.mime_type, data)

    async def sessions(
        self, principal: Principal, *, before: float | None = None, limit: int = 50
    ) -> Sequence[SessionSummary]:
        """Return the principal's sessions, the one changed last first."""
        self.core.check()
        check_id(principal.tenant_id, "the tenant id")
        check_id(principal.user_id, "the user id")
        return await self.core.store.sessions(
            principal.tenant_id, principal.user_id, before=before, limit=limit
        )

    async def messages(
        self, principal: Principal, session_id: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[StoredMessage]:
        """Return a session's messages, newest first.

        Raises:
            SessionNotFound: the principal has no such session.
        """
        await self._check_session(principal, session_id)
        return await self.core.store.messages(session_id, before=before, limit=limit)

    async def delete_session(self, principal: Principal, session_id: str) -> None:
        """Erase a session with all that it holds; a turn under way in it fails.

        Files go that no other session of the tenant refers to.  Plugins are told when the session
        is gone; a cancellation that comes meanwhile waits for that.  When the host dies before
        they were, they are told at the next start.

        Raises:
            SessionNotFound: the principal has no such session.
        """
        owner = await self._check_session(principal, session_id)
        await delete_session(self.core, session_id, owner, principal)

    def agents(self) -> Mapping[str, str]:
        """Return the names of the profiles by their ids; the first is the default."""
        return {
            agent_id: served.profile.name or agent_id
            for agent_id, served in self.composition.agents.items()
        }

    async def readiness(self) -> Mapping[str, str]:
        """Return what keeps the host from serving, by part; empty when it is ready."""
        return {} if self.core.running else {"host": "it is starting or stopping"}

    async def _check_session(self, principal: Principal, session_id: str) -> Owner:
        self.core.check()
        owner = await self.core.store.find(check_id(session_id, "the session id"))
        if owner is None or (owner.tenant_id, owner.user_id) != (
            principal.tenant_id,
            principal.user_id,
        ):
            raise SessionNotFound(f"there is no session {session_id!r}")
        return owner


async def _within(
    scope: anyio.CancelScope, *runs: Callable[[], Coroutine[object, object, None]]
) -> None:
    with scope:
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run)
