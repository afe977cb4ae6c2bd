"""What the host does for hooks."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field
from msgspec.structs import replace
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue

from agentrail.errors import AgentrailError
from agentrail.events import Event, SessionReset
from agentrail.hook import Call, apart, calling, chain
from agentrail.host._compose import Composition
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.host._past import artifact_of
from agentrail.messages import Message
from agentrail.model import ModelReference
from agentrail.requests import Delta, ModelReply, ModelRequest, RequestContext
from agentrail.session import Lease, Owner, recorded
from agentrail.telemetry import names

_ALL = 1_000_000_000
"""More tokens than any session has."""

_PAGE = 20
"""Messages that are looked through at a time for those of one turn."""


@define(slots=True)
class RunServices:
    """The services of one run."""

    core: Core
    generation: Generation
    """What the run goes by."""
    session_id: str
    owner: Owner
    turn_id: str
    lease: Lease | None = None
    """The run's own hold on its session, while it has one."""
    existed: bool = False
    """Whether the session is known to have been there: once deleted, it is not made again."""
    context: RequestContext | None = None
    """What the run's hooks are told."""
    span: SpanContext | None = None
    """The run's span, where it is traced."""
    _session: "_Session | None" = field(default=None, init=False)

    @property
    def composition(self) -> Composition:
        """The application as the run sees it."""
        return self.generation.composition

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """What the spans of the run have in common, but those of its hooks."""
        return {
            names.AGENT_ID: self.owner.agent_id,
            names.CONVERSATION_ID: self.session_id,
            "agentrail.tenant.id": self.owner.tenant_id,
        }

    @property
    def session(self) -> "_Session":
        """This request's session."""
        if self._session is None:
            self._session = _Session(self)
        return self._session

    def model(self, reference: str | None = None) -> "_Model":
        """Return the model that ``provider:model`` names; None names the agent's own.

        Its calls go through the application's middleware, and not through the plugins' hooks.

        Raises:
            ModelReferenceError: the reference names no provider of this host.
        """
        if reference is None:
            served = self.composition.agent(self.owner.agent_id)
            return _Model(self, served.agent.model, served.reference)
        composition = self.composition
        call = chain(composition.model_middleware, composition.models.call(reference))
        return _Model(self, call, ModelReference.parse(reference))

    def background(self, task: Callable[[], Awaitable[object]], name: str = "") -> None:
        """Run ``task`` outside the request; the plugin whose hook is running owns it.

        Its spans are a trace of their own, which links to the run's.
        """
        plugin = calling.get()
        attributes = {"agentrail.plugin.name": plugin, **self.attributes}
        traced = partial(apart, self.core.tracer, plugin, task, self.span, attributes)
        self.spawn(plugin, traced, name)

    def spawn(self, plugin: str, task: Callable[[], Awaitable[object]], name: str = "") -> None:
        """Run ``task`` as one of a plugin's own.

        Raises:
            HostNotRunning: the plugin does not run.
        """
        self.core.lives.background(self.composition.hooks.plugin(plugin), task, name)


@define(slots=True)
class _Session:
    _run: RunServices

    async def messages(self, limit: int = 50) -> Sequence[Message]:
        window = await self._run.core.store.window(self._run.session_id, _ALL)
        return window[-limit:]

    async def turn(self) -> Sequence[Message]:
        store, before = self._run.core.store, None
        found: list[Message] = []
        while rows := await store.messages(self._run.session_id, before=before, limit=_PAGE):
            mine = [row.message for row in rows if row.turn_id == self._run.turn_id]
            if found and not mine:
                break
            found.extend(mine)
            before = rows[-1].seq
        return found[::-1]

    async def artifact(self, artifact_id: str) -> str | None:
        return await artifact_of(self._run.core.store, self._run.session_id, artifact_id)

    async def note(self, text: str) -> None:
        await self._append(recorded(Message.system(text)))

    async def reset(self) -> None:
        await self._append(SessionReset())

    async def _append(self, event: Event) -> None:
        """Append in the run's own lease, or in one taken for the purpose."""
        run = self._run
        if run.lease is not None:
            await run.core.store.append(run.lease, [event])
            return
        store, wait = run.core.store, run.core.config.session_wait
        lease = await store.acquire(
            run.session_id, run.owner, events=[event], wait=wait, create=not run.existed
        )
        run.existed = True
        store.release(lease)


@define(slots=True)
class _Model:
    _run: RunServices
    _call: Call[ModelRequest, ModelReply]
    _reference: ModelReference

    async def complete(self, messages: Sequence[Message]) -> Message:
        reply = await self._call(self._request(messages))
        return reply.message

    def stream(self, messages: Sequence[Message]) -> AsyncIterable[str]:
        return _Pieces(self._run, self._call, self._request(messages))

    def _request(self, messages: Sequence[Message]) -> ModelRequest:
        return ModelRequest(
            model=self._reference.model,
            provider=self._reference.provider,
            messages=tuple(messages),
            context=self._run.context,
        )


@define(slots=True)
class _Pieces:
    """A model's answer, piece by piece.

    The model call runs in a background task of the plugin that began to read.  Whoever stops
    reading, by cancellation too, ends it: its next piece finds nobody.
    """

    _run: RunServices
    _call: Call[ModelRequest, ModelReply]
    _request: ModelRequest
    _pieces: MemoryObjectReceiveStream[str] | None = field(default=None, init=False)
    _failure: AgentrailError | None = field(default=None, init=False)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._pieces is None:
            send, self._pieces = anyio.create_memory_object_stream[str](16)
            self._run.spawn(calling.get(), partial(self._pump, send))
        received = False
        try:
            piece = await self._pieces.receive()
            received = True
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from None
            raise StopAsyncIteration from None
        finally:
            if not received:
                self._pieces.close()
        return piece

    async def _pump(self, send: MemoryObjectSendStream[str]) -> None:
        async def emit(delta: Delta) -> None:
            if delta.text:
                await send.send(delta.text)

        with send:
            try:
                await self._call(replace(self._request, emit=emit))
            except AgentrailError as error:
                self._failure = error
            except anyio.BrokenResourceError:
                pass  # nobody reads any more
