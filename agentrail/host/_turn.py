"""A turn, from its first hook to its last.  Read it from top to bottom.

``run`` is the only way through: chat and stream, every transport and every agent come by here.
What it promises: the user's message is durable before the model is called; the run ends in one
terminal event, sent after the commit; ``on_turn_persisted`` runs only after a commit, and
``on_request_end`` whenever ``on_request_start`` ran.
"""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, Literal

import anyio
from attrs import define, field
from msgspec.structs import replace

from agentrail.agent import Agent, Journal, Reader, Run, run_loop
from agentrail.errors import (
    AgentrailError,
    DeadlineExceeded,
    HookTypeError,
    HostNotRunning,
)
from agentrail.events import (
    AttachmentsAdded,
    AttachmentsKept,
    ContextAdded,
    Event,
    MessageEnd,
    MessageStart,
    TurnEnd,
    TurnOutcome,
    TurnStart,
)
from agentrail.hook import Account, Funnel, Guard, Hook, apart, as_failure, thrown
from agentrail.host._admit import Admitted
from agentrail.host._attach import asked, keep_attachments
from agentrail.host._break_off import break_off, close_later
from agentrail.host._compact import Compaction
from agentrail.host._compose import Served
from agentrail.host._core import Core
from agentrail.host._intercept import answer_text
from agentrail.host._live import LiveTurn
from agentrail.host._observed import held, observed
from agentrail.host._past import Past
from agentrail.host._problems import final, unexpected
from agentrail.host._resume import check_resumable, history_before, take_up, write_on
from agentrail.host._seams import agent_of
from agentrail.messages import AttachedFile, Message, as_messages, estimate_tokens
from agentrail.profile import Profile
from agentrail.requests import ChatResponse, RequestContext
from agentrail.session import with_attachments

INTERCEPT_SECONDS: Final = 600.0
"""How long an interceptor's own text may take to come."""


@define(slots=True, eq=False)
class Turn:
    """One run of one turn; ``close`` it when it has run, or was never run."""

    core: Core
    admitted: Admitted
    live: LiveTurn
    reader: Reader | None = None
    response: ChatResponse | None = None
    """The interceptor's answer, as soon as there is one: a stream takes its status from it."""
    context: RequestContext = field(init=False)
    journal: Journal = field(init=False)
    account: Account = field(init=False)
    funnel: Funnel = field(init=False)
    guard: Guard | None = field(default=None, init=False)
    ending: Literal["", "stopped", "cancelled"] = field(default="", init=False)
    """Whether the run is ended from outside: by the host, which stops, or on somebody's wish."""
    completed: bool = False
    """Whether the turn got to its commit; a turn that did and is written is persisted."""

    def __attrs_post_init__(self) -> None:
        """Take what the run needs from its composition."""
        self.context = self.admitted.context
        self.account = Account(self.context.transport, self.core.watchdog.monotonic())
        funnel = self.admitted.generation.funnel
        self.funnel = funnel.of_run(self.account) if self.admitted.composition.hooked else funnel
        self.journal = Journal(
            self.context.turn_id,
            self.context.session_id,
            self.core.config.clock,
            self.reader,
            on_written=self.live.tell,
            account=self.account,
        )
        self.live.begin(self)

    def stop(self) -> None:
        """End the run with ``host_not_running``, wherever it is; a stream is left to its task."""
        if self.context.kind == "chat":
            self._end_by("stopped")

    def cancel(self) -> None:
        """End the run as cancelled, wherever it is."""
        self._end_by("cancelled")

    def close(self) -> None:
        """Be over, for the host and for those who follow the turn."""
        self.core.turns.end(self.live)
        self.core.leave(self.admitted.generation)

    def _end_by(self, ending: Literal["stopped", "cancelled"]) -> None:
        self.ending = self.ending or ending
        if self.guard is not None:
            self.guard.dismiss()

    async def run(self) -> ChatResponse:
        """Run the turn and return its answer.

        Raises:
            AgentrailError: the turn failed; what it had done is durable.
        """
        try:
            if self.core.watched:
                return await observed(self.core, self.admitted, self.account, self._run)
            return await self._run()
        except AgentrailError as error:
            if (told := self._told(error)) is error:
                raise
            raise told from error

    def _told(self, error: AgentrailError) -> AgentrailError:
        """Return an error as the reader is told; in the log it is the answer to the key."""
        in_log = self.admitted.fingerprint and self.journal.lease is not None
        return final(error) if in_log else error

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
        """Let an interceptor answer, or else the profile; what is resumed was let pass before."""
        composition, context = self.admitted.composition, self.context
        interceptors = composition.hooks["intercept_chat_request"] if not self.admitted.past else ()
        taken = await self.funnel.first(interceptors, ChatResponse, self.admitted.request, context)
        with self.core.watchdog.guard() as guard:
            self.guard = guard
            if self.ending:
                guard.dismiss()
            if taken is not None:
                guard.arm(f"turn {context.turn_id}", INTERCEPT_SECONDS)
                return await self._settled(self._intercepted(*taken), guard)
            served = composition.agent(context.agent_id)
            guard.arm(f"turn {context.turn_id}", served.profile.limits.seconds)
            return await self._settled(self._converse(served), guard)
        if self.ending == "cancelled":
            return self._response(ChatResponse(stop_reason="cancelled", outcome="cancelled"))
        raise self._ended(guard)

    async def _settled(self, work: Awaitable[ChatResponse], guard: Guard) -> ChatResponse:
        """Do the work; whatever happens to it, leave a log that ends and a session that is free."""
        failure: AgentrailError | None = None
        try:
            return await work
        except AgentrailError as error:
            failure = error
            raise
        except thrown() as error:  # boundary: ASGI edge - prompts and middleware are the app's
            raised = await as_failure("the turn", error)
            failure = unexpected(raised, self.context.turn_id)
            raise failure from raised
        finally:
            closed = True
            try:
                if not self.journal.ended:
                    self.completed = False
                    if self.ending == "stopped" or guard.expired:
                        failure = self._ended(guard)
                    with anyio.CancelScope(shield=True):
                        cancelled = self.ending == "cancelled"
                        told = None if cancelled or failure is None else self._told(failure)
                        closed = await break_off(self.journal, told, self.core.hide)
            finally:
                self._release()
                if not closed and self.core.running:
                    close = partial(close_later, self.core, self.admitted.services)
                    self.core.spawn(close, f"end of {self.context.turn_id}")

    # The profile's answer.

    async def _converse(self, served: Served) -> ChatResponse:
        """Have the profile's model answer, in the session."""
        clock, traced = self.core.config.clock, self.core.tracer
        content, attributes = self.core.content, self.account.attributes
        run = Run(self.context, self.journal, clock, traced, attributes, content)
        if self.admitted.past is None:
            images = served.profile.images
            user = asked(self.admitted.request, self.admitted.files, images=images)
            await self._open(user, served)
            messages = await self._prepare(served, user)
        else:
            messages = await self._take_up(served, self.admitted.past, run)
        hooks = self.admitted.composition.hooks
        agent = agent_of(served, hooks, self.funnel, self.context)
        compaction = self._compaction(served, agent)
        run.compact = None if compaction is None else compaction.at_once
        answer = await run_loop(agent, run, messages)
        text, stop_reason = answer.message.text, answer.stop_reason
        outcome: TurnOutcome = "suspended" if answer.asked else "completed"
        self.journal.end(
            TurnEnd(
                outcome=outcome,
                message=text,
                stop_reason=stop_reason,
                usage=self.journal.usage,
                output=answer.output,
            )
        )
        await self._commit(durable=not answer.asked)
        if compaction and not answer.asked and compaction.claim(self.journal.tokens):
            services = self.admitted.services
            later = partial(apart, self.core.tracer, "summary", compaction.later)
            later = partial(later, services.span, services.attributes)
            self.core.spawn(later, f"summary of {self.context.session_id}")
        return self._response(
            ChatResponse(
                text,
                stop_reason=stop_reason,
                outcome=outcome,
                output=answer.output,
                approvals=answer.asked,
            )
        )

    def _compaction(self, served: Served, agent: Agent) -> Compaction | None:
        lease = self.admitted.services.lease
        if lease is None or not served.profile.compact:
            return None
        core, generation, room = self.core, self.admitted.generation, served.history_tokens(0)
        return Compaction(core, generation, agent, self.context, room, lease, self.journal)

    async def _open(self, user: Message, served: Served | None = None) -> None:
        """Take the session, with a history for who is to answer.

        The user's message is durable when this returns.
        """
        services, journal = self.admitted.services, self.journal
        journal.add(self._start())
        tokens = journal.record(replace(user, id=f"{self.context.turn_id}.0"))
        taking = self.core.store.acquire(
            self.context.session_id,
            services.owner,
            events=journal.take(),
            window=0 if served is None else served.history_tokens(tokens),
            wait=self.core.config.session_wait,
        )
        lease = await held(self.core, self.account, taking)
        services.lease = lease
        await journal.open(self.core.store, lease)
        if self.admitted.files:
            await self._keep(self.admitted.files)

    async def _keep(self, files: Sequence[AttachedFile]) -> None:
        """Keep the files that came with the message, and say so in the log."""
        request, services = self.admitted.request, self.admitted.services
        await keep_attachments(self.core, request, files, services.owner, services.session_id)
        self.journal.add(AttachmentsKept(files=tuple(files)))

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

    async def _take_up(self, served: Served, past: Past, run: Run) -> list[Message]:
        """Return what the model is shown of a turn that goes on."""
        left, services, journal = take_up(past), self.admitted.services, self.journal
        # The history begins where it began before: what the turn has said since is on top.
        window = served.history_tokens(left.asked) + left.tokens

        def beginning(past: Past) -> Sequence[Event]:
            check_resumable(past)  # it may have ended since, or gone on in another process
            journal.take_up(past.events)
            journal.add(self._start())
            return journal.take()

        taking = write_on(self.core, past.record, beginning, window)
        lease, past = await held(self.core, self.account, taking)
        services.lease = lease
        self.admitted.past, self.live.after = past, past.events[-1].id
        self.live.resumed = True
        await journal.open(self.core.store, lease)
        left = take_up(past)
        run.decisions, run.pending, run.spent = past.unspent, left.pending, past.record.usage
        history = history_before(self.context.turn_id, lease.history)
        prompt = await self._prompt(served.profile)
        return [*prompt, *history, *left.messages]

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
            user = asked(self.admitted.request, self.admitted.files, images=False)
            await self._open(user)
        else:
            self.journal.add(self._start())
        message_id = f"{self.context.turn_id}.1"
        self.journal.begin_message(message_id)
        self.journal.add(MessageStart(message_id=message_id))
        text = await answer_text(self.journal, self.funnel, response, hook)
        if response.keep:
            parts = Message.assistant(text).parts
            self.journal.record(
                Message(role="assistant", parts=parts, id=message_id, stop_reason="stop")
            )
        self.journal.add(MessageEnd(message_id=message_id, stop_reason="stop"))
        self.journal.end(TurnEnd(outcome="intercepted", message=text, stop_reason="stop"))
        await self._commit(durable=response.keep)
        return self._response(replace(response, message=text, outcome="intercepted"))

    def _start(self) -> TurnStart:
        generation = self.admitted.composition.generation
        return TurnStart(
            agent_id=self.context.agent_id,
            generation=generation,
            fingerprint=self.admitted.fingerprint,
        )

    # The end.

    async def _commit(self, *, durable: bool = True) -> None:
        """Make the turn's end durable, then tell the reader."""
        self.completed = durable
        await self.journal.flush()

    def _ended(self, guard: Guard) -> AgentrailError:
        """Return why the run was ended from outside."""
        if guard.expired:
            return DeadlineExceeded("the turn took longer than its agent's limit allows")
        return HostNotRunning("the host stopped before the turn had ended; ask again")

    def _release(self) -> None:
        services = self.admitted.services
        if services.lease is not None:
            self.core.store.release(services.lease)
            services.lease, services.existed = None, True

    def _response(self, response: ChatResponse) -> ChatResponse:
        past = self.admitted.past
        return replace(
            response,
            session_id=self.context.session_id,
            turn_id=self.context.turn_id,
            agent_id=self.context.agent_id,
            stop_reason=response.stop_reason or "stop",
            usage=self.journal.usage if past is None else past.record.usage + self.journal.usage,
            text_stream=None,
        )
