"""A turn, from its first hook to its last.  Read it from top to bottom.

``run`` is the only way through: chat and stream, every transport and every agent come by here.
What it promises: the user's message is durable before the model is called; the run ends in one
terminal event, sent after the commit; ``on_turn_persisted`` runs only after a commit, and
``on_request_end`` whenever ``on_request_start`` ran.
"""

import logging
from collections.abc import Awaitable
from typing import Final

import anyio
from attrs import define, field
from msgspec.structs import replace
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from agentrail.agent import Journal, Reader, Run, run_loop
from agentrail.errors import (
    AgentrailError,
    DeadlineExceeded,
    HookTypeError,
    HostNotRunning,
    RequestRefused,
    SessionError,
)
from agentrail.events import (
    AttachmentsAdded,
    ContextAdded,
    MessageEnd,
    MessageStart,
    TurnEnd,
    TurnStart,
)
from agentrail.hook import Funnel, Guard, Hook, calling, span
from agentrail.host._admit import Admitted
from agentrail.host._compose import Served
from agentrail.host._core import Core
from agentrail.host._problems import turn_error
from agentrail.host._seams import agent_of
from agentrail.messages import Message, as_messages, estimate_tokens
from agentrail.profile import Profile
from agentrail.requests import ChatResponse, Delta, RequestContext
from agentrail.session import with_attachments
from agentrail.telemetry import names

_log = logging.getLogger("agentrail.host")

INTERCEPT_SECONDS: Final = 600.0
"""How long an interceptor's own text may take to come."""


@define(slots=True, eq=False)
class Turn:
    """One run of one turn."""

    core: Core
    admitted: Admitted
    reader: Reader | None = None
    response: ChatResponse | None = None
    """The interceptor's answer, as soon as there is one: a stream takes its status from it."""
    context: RequestContext = field(init=False)
    journal: Journal = field(init=False)
    funnel: Funnel = field(init=False)
    guard: Guard | None = field(default=None, init=False)
    stopped: bool = field(default=False, init=False)
    """Whether the host ends the run because it stops itself."""
    completed: bool = False
    """Whether the turn got to its commit; a turn that did and is written is persisted."""

    def __attrs_post_init__(self) -> None:
        """Take what the run needs from its composition."""
        self.context = self.admitted.context
        self.funnel = self.core.funnel
        self.journal = Journal(
            self.context.turn_id, self.context.session_id, self.core.config.clock, self.reader
        )

    def stop(self) -> None:
        """End the run with ``host_not_running``, wherever it is."""
        self.stopped = True
        if self.guard is not None:
            self.guard.dismiss()

    async def run(self) -> ChatResponse:
        """Run the turn and return its answer.

        Raises:
            AgentrailError: the turn failed; what it had done is durable.
        """
        tracer = self.funnel.tracer
        if tracer is None:
            return await self._run()
        with span(tracer, f"invoke_agent {self.context.agent_id}", self._attributes()) as current:
            try:
                return await self._run()
            except AgentrailError as error:
                current.set_attribute(names.ERROR_TYPE, error.code)
                current.set_status(Status(StatusCode.ERROR, error.detail))
                raise

    async def _run(self) -> ChatResponse:
        hooks = self.admitted.composition.hooks
        try:
            await self.funnel.observe(hooks["on_request_start"], self.context)
            return await self._answer()
        finally:
            # Cancelled or not: what was begun is brought to its end, each hook by its deadline.
            persisted = hooks["on_turn_persisted"] if self.completed else ()
            ending = (*persisted, *hooks["on_request_end"])
            await self.funnel.observe(ending, self.context, shield=True)
            if self.completed:
                await self.core.store.announced(self.context.turn_id)

    async def _answer(self) -> ChatResponse:
        """Let an interceptor answer, or else the profile."""
        composition, context = self.admitted.composition, self.context
        taken = await self.funnel.first(
            composition.hooks["intercept_chat_request"],
            ChatResponse,
            self.admitted.request,
            context,
        )
        with self.core.watchdog.guard() as guard:
            self.guard = guard
            if self.stopped:
                guard.dismiss()
            if taken is not None:
                guard.arm(f"turn {context.turn_id}", INTERCEPT_SECONDS)
                return await self._settled(self._intercepted(*taken), guard)
            served = composition.agent(context.agent_id)
            guard.arm(f"turn {context.turn_id}", served.profile.limits.seconds)
            return await self._settled(self._converse(served), guard)
        raise self._ended(guard)

    async def _settled(self, work: Awaitable[ChatResponse], guard: Guard) -> ChatResponse:
        """Do the work; whatever happens to it, leave a log that ends and a session that is free."""
        failure: AgentrailError | None = None
        try:
            return await work
        except AgentrailError as error:
            failure = error
            raise
        except Exception as error:  # boundary: ASGI edge - prompts and middleware are the app's
            _log.exception("turn %s failed", self.context.turn_id)
            # Its text stays in the log: it may hold what a client must not see.
            kind = type(error).__name__
            failure = AgentrailError(f"the turn failed: {kind}; see the host's log")
            raise failure from error
        finally:
            if not self.journal.ended:
                self.completed = False
                with anyio.CancelScope(shield=True):
                    ended = self._ended(guard) if guard.expired or self.stopped else failure
                    await self._break_off(ended)
            self._release()

    # The profile's answer.

    async def _converse(self, served: Served) -> ChatResponse:
        """Have the profile's model answer, in the session."""
        user = Message.user(self.admitted.request.message)
        await self._open(user, served.profile.history_tokens(estimate_tokens(user)))
        messages = await self._prepare(served, user)
        run = Run(self.context, self.journal, self.core.config.clock, self.funnel.tracer)
        hooks = self.admitted.composition.hooks
        agent = agent_of(served, hooks, self.funnel, self.context)
        answer = await run_loop(agent, run, messages)
        text, stop_reason = answer.message.text, answer.stop_reason
        self.journal.add(TurnEnd(message=text, stop_reason=stop_reason, usage=self.journal.usage))
        await self._commit()
        return self._response(ChatResponse(text, stop_reason=stop_reason))

    async def _open(self, user: Message, window: int) -> None:
        """Take the session; the user's message is durable when this returns."""
        services, journal = self.admitted.services, self.journal
        journal.add(self._start())
        journal.record(replace(user, id=f"{self.context.turn_id}.0"))
        lease = await self.core.store.acquire(
            self.context.session_id,
            services.owner,
            events=journal.take(),
            window=window,
            wait=self.core.config.session_wait,
        )
        services.lease = lease
        await journal.open(self.core.store, lease)

    async def _prepare(self, served: Served, user: Message) -> list[Message]:
        """Return what the model is shown: what seldom changes first, what is new last."""
        user = await self._with_attachments(user)
        history = self.admitted.services.lease.history if self.admitted.services.lease else ()
        added = await self.funnel.gather(served.providers, object, self.context, (*history, user))
        volatile: list[Message] = []
        for hook, result in added:
            messages = as_messages(result)
            if messages is None:
                wrong = HookTypeError(f"{hook} returned {type(result).__name__}, not messages")
                await self.funnel.report(hook, wrong)
            elif messages:
                volatile.extend(messages)
                self.journal.add(ContextAdded(source=hook.plugin, messages=messages))
        prompt = await self._prompt(served.profile)
        return [*prompt, *history, *volatile, user]

    async def _with_attachments(self, user: Message) -> Message:
        """Put what the attachment handlers say before the user's message."""
        attachments = self.admitted.request.attachments
        if not attachments:
            return user
        handlers = self.admitted.composition.hooks["attachment_handler"]
        texts = await self.funnel.collect(handlers, str, attachments, self.context)
        text = "\n\n".join(text.strip() for _, text in texts if text.strip())
        if not text:
            return user
        tokens = estimate_tokens(Message.user(text))
        self.journal.add(AttachmentsAdded(text=text, tokens=tokens))
        return with_attachments(user, text)

    async def _prompt(self, profile: Profile) -> list[Message]:
        prompt = profile.prompt
        if not isinstance(prompt, str):
            made = prompt(self.context)
            prompt = made if isinstance(made, str) else await made
        return [Message.system(prompt)] if prompt else []

    # An interceptor's answer.

    async def _intercepted(self, response: ChatResponse, hook: Hook) -> ChatResponse:
        """Show an interceptor's answer, and keep it when it asks for that."""
        self.response = response
        if response.keep:
            self.admitted.composition.agent(self.context.agent_id)
            await self._open(Message.user(self.admitted.request.message), window=0)
        else:
            self.journal.add(self._start())
        message_id = f"{self.context.turn_id}.1"
        self.journal.begin_message(message_id)
        self.journal.add(MessageStart(message_id=message_id))
        text = await self._text_of(response, hook)
        if response.keep:
            parts = Message.assistant(text).parts
            self.journal.record(
                Message(role="assistant", parts=parts, id=message_id, stop_reason="stop")
            )
        self.journal.add(MessageEnd(message_id=message_id, stop_reason="stop"))
        self.journal.add(TurnEnd(outcome="intercepted", message=text, stop_reason="stop"))
        await self._commit(durable=response.keep)
        return self._response(replace(response, message=text, outcome="intercepted"))

    async def _text_of(self, response: ChatResponse, hook: Hook) -> str:
        if response.text_stream is None:
            await self.journal.delta(Delta(text=response.message))
            return response.message
        pieces = [response.message] if response.message else []
        calling.set(hook.plugin)
        try:
            async for piece in response.text_stream:
                pieces.append(piece)
                await self.journal.delta(Delta(text=piece))
        except Exception as error:  # boundary: plugin
            await self.funnel.report(hook, error)
            message = f"plugin {hook.plugin!r} failed while it answered: {error}"
            raise RequestRefused(message) from error
        return "".join(pieces)

    def _start(self) -> TurnStart:
        generation = self.admitted.composition.generation
        return TurnStart(agent_id=self.context.agent_id, generation=generation)

    # The end.

    async def _commit(self, *, durable: bool = True) -> None:
        """Make the turn's end durable, then tell the reader."""
        self.completed = durable
        await self.journal.flush()

    async def _break_off(self, failure: AgentrailError | None) -> None:
        """End a run that did not get to its commit; no failure means that it was cancelled."""
        journal = self.journal
        if journal.is_blank:
            return
        journal.mend(stop_reason="error" if failure else "cancelled")
        if failure is None:
            journal.add(TurnEnd(outcome="cancelled", stop_reason="cancelled", usage=journal.usage))
        else:
            journal.add(turn_error(failure, journal.usage))
        try:
            await journal.flush()
        except SessionError as error:
            # The log is out of reach; the reader is told all the same.
            _log.error("turn %s could not be closed in its log: %s", self.context.turn_id, error)
            await journal.show_unwritten()

    def _ended(self, guard: Guard) -> AgentrailError:
        """Return why the run was ended from outside."""
        if guard.expired:
            return DeadlineExceeded("the turn took longer than its agent's limit allows")
        return HostNotRunning("the host stopped before the turn had ended; ask again")

    def _release(self) -> None:
        services = self.admitted.services
        if services.lease is not None:
            self.core.store.release(services.lease)
            services.lease = None

    def _response(self, response: ChatResponse) -> ChatResponse:
        return replace(
            response,
            session_id=response.session_id or self.context.session_id,
            turn_id=self.context.turn_id,
            agent_id=self.context.agent_id,
            stop_reason=response.stop_reason or "stop",
            usage=self.journal.usage,
            text_stream=None,
        )

    def _attributes(self) -> dict[str, AttributeValue]:
        context = self.context
        return {
            names.OPERATION_NAME: "invoke_agent",
            names.AGENT_ID: context.agent_id,
            names.CONVERSATION_ID: context.session_id,
            "agentrail.turn.id": context.turn_id,
            "agentrail.tenant.id": context.tenant_id,
            "agentrail.transport": context.transport,
            "agentrail.generation": self.admitted.composition.generation,
        }
