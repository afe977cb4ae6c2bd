"""Summaries in place of what no longer fits a model's window.

The history is never rewritten: a summary is one more event, and what it covers is left out of the
windows that are cut after it.  The model that writes it is the agent's own, called like any other
time, through the same middleware and hooks.
"""

import logging
from collections.abc import Sequence
from typing import Final

import anyio
from attrs import define, evolve, frozen
from msgspec.structs import replace

from agentrail.agent import Agent, Journal, counted, fit
from agentrail.errors import AgentrailError, ModelError
from agentrail.events import ContextCompacted
from agentrail.hook import as_failure, thrown
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.host._resume import history_before
from agentrail.messages import (
    Image,
    Message,
    Text,
    ToolCall,
    ToolResult,
    estimate_tokens,
)
from agentrail.requests import RequestContext, StoredMessage
from agentrail.session import Lease, summary_message

_log = logging.getLogger("agentrail.host")

FULL: Final = 0.8
"""How much of its room a history may take before it is summarized."""

KEPT: Final = 0.4
"""How much of the room the messages take that stay as they are."""

READ: Final = 6
"""How many times the room a summary reads at most; of what is older, nothing is told."""

PAGE: Final = 100

INSTRUCTION: Final = (
    "Summarize the conversation below for somebody who has to go on with it and cannot read it. "
    "Keep names, numbers, decisions, open questions and what the user wants, in their own words "
    "where these matter. Leave out greetings and repetition. Answer with the summary alone."
)


@frozen(slots=True)
class _Summary:
    """A summary, and between which messages it ends."""

    event: ContextCompacted
    covered: StoredMessage
    """The newest message that it stands for."""
    kept: Message
    """The oldest one that stays."""


@define(slots=True)
class Compaction:
    """Summarizes the history of a session, for the turn that has it."""

    core: Core
    generation: Generation
    """What the turn goes by, and so its summary."""
    agent: Agent
    context: RequestContext
    room: int
    """Tokens that the history may take."""
    lease: Lease
    """As it was when the turn began, or as if it had begun with the last summary of ``at_once``."""
    journal: Journal

    def claim(self, tokens: int) -> bool:
        """Tell whether ``later`` must run now that the turn has added tokens.

        Of the turns of one session one at a time is told so.  A host that stops waits for it.
        """
        session_id, core = self.context.session_id, self.core
        if self.lease.tokens + tokens < self.room * FULL or session_id in core.compacting:
            return False
        if not core.running:
            return False
        core.enter(self.generation)
        core.compacting.add(session_id)
        return True

    async def later(self) -> None:
        """Summarize the history; be a task of the host's own.

        What goes wrong is logged: the next turn tries again.
        """
        session_id, core, scope = self.context.session_id, self.core, anyio.CancelScope()
        self.generation.summaries.add(scope)
        try:
            with scope, core.watchdog.guard() as guard:
                guard.arm(f"summary of {session_id}", self.agent.limits.seconds)
                summary = await self._summarize(await self._rows(None), int(self.room * KEPT))
                if summary is not None:
                    await self._append(summary)
            if guard.expired:
                _log.warning("session %s was not summarized: it took too long", session_id)
        except AgentrailError as error:
            _log.warning("session %s was not summarized: %s", session_id, error)
        except thrown() as error:  # boundary: ASGI edge - middleware is the application's
            failure = await as_failure("the summary", error)
            _log.error("session %s was not summarized", session_id, exc_info=failure)
        finally:
            self.generation.summaries.discard(scope)
            core.compacting.discard(session_id)
            core.leave(self.generation)

    async def at_once(self, messages: Sequence[Message]) -> list[Message] | None:
        """Return a turn's messages with a summary of the history, which is written to the log.

        Without a history worth it, or a model that summarizes it, tool results of the turn are
        shown shorter; None means that there is nothing to gain.
        """
        turn_id, history = self.context.turn_id, self.lease.history
        if any(message.id == f"{turn_id}.0" for message in history):  # of a turn that goes on
            history = history_before(turn_id, history)
        taken = sum(map(estimate_tokens, history))
        rows = await self._rows(self.lease.opening[0].id)
        rows = [row for row in rows if row.turn_id != turn_id]
        summary = None
        try:
            if history:
                summary = await self._summarize(rows, min(int(self.room * KEPT), taken // 2))
        except ModelError as error:
            _log.warning("session %s was not summarized: %s", self.context.session_id, error)
        if summary is None:
            tokens = sum(map(estimate_tokens, messages))
            shorter = fit(messages, tokens * 2 // 3)
            return shorter if shorter != list(messages) else None
        journal = self.journal
        journal.usage += summary.event.usage
        journal.add(summary.event)
        await journal.flush()
        begin = 0 if messages[0] is history[0] else 1
        kept = [place for place, each in enumerate(history) if each.id == summary.kept.id]
        left = history[kept[0] :] if kept else history
        tail = messages[begin + len(history) :]
        history = (summary_message(summary.event), *left)
        # The messages have that history from now on: the next summary is made of it.
        self.lease = evolve(
            self.lease,
            history=history,
            tokens=sum(map(estimate_tokens, left)),
            since=summary.event.until,
            summary=summary.event.summary,
        )
        return [*messages[:begin], *history, *tail]

    async def _append(self, summary: _Summary) -> None:
        """Write a summary to the log, unless what it is about is gone from there."""
        core, session_id, until = self.core, self.context.session_id, summary.event.until
        if await core.store.find(session_id) is None:
            return
        lease = await core.store.acquire(
            session_id, self.lease.owner, window=1, wait=core.config.session_wait, create=False
        )
        try:
            rows = await core.store.messages(session_id, before=until + 1, limit=1)
            if lease.since < until and list(rows) == [summary.covered]:
                await core.store.append(lease, [summary.event])
        finally:
            core.store.release(lease)

    async def _summarize(self, rows: Sequence[StoredMessage], keep: int) -> _Summary | None:
        """Return a summary of all but the newest messages, which take about ``keep`` tokens.

        Raises:
            ModelError: the model did not write one.
        """
        kept = _kept(rows, keep)
        old = [row.message for row in reversed(rows[kept:])]
        if not old:
            return None
        reply = await self.agent.model(
            replace(
                self.agent.request,
                messages=(Message.system(INSTRUCTION), Message.user(self._told(old))),
                tools=(),
                output=None,
                max_tokens=max(64, int(self.room * KEPT) // 2),
                context=self.context,
            )
        )
        text = reply.message.text.strip()
        if not text or reply.stop_reason == "refused":
            return None
        # It belongs to no turn: those who read one's events see it only where they wait for it.
        event = ContextCompacted(
            session_id=self.context.session_id,
            until=rows[kept].seq,
            summary=text,
            usage=counted(reply.usage, self.agent.prices),
        )
        event = replace(event, tokens=estimate_tokens(summary_message(event)))
        return _Summary(event, rows[kept], rows[kept - 1].message)

    async def _rows(self, before: int | None) -> list[StoredMessage]:
        """Return the messages of the history, newest first, as far as a summary can speak of.

        ``before`` leaves out what has that number in the log, and what came later.
        """
        rows: list[StoredMessage] = []
        tokens = 0
        while tokens < self.room * READ:
            page = await self.core.store.messages(
                self.context.session_id, before=before, limit=PAGE
            )
            found = [row for row in page if row.seq > self.lease.since]
            rows += found
            if len(found) < PAGE:
                break
            tokens += sum(estimate_tokens(row.message) for row in found)
            before = page[-1].seq
        return rows

    def _told(self, messages: Sequence[Message]) -> str:
        """Return messages as a text that the model has room for: the summary, and the newest."""
        before = f"In short, before: {self.lease.summary}\n" if self.lease.summary else ""
        lines = [line for message in messages for line in _lines(message)]
        left = max(0, self.agent.room * 3 - len(before.encode()))
        newest = "\n".join(lines).encode(errors="replace")[-left:] if left else b""
        return before + newest.decode(errors="ignore")


def _kept(rows: Sequence[StoredMessage], keep: int) -> int:
    """Return how many of the newest messages stay: up to ``keep`` tokens, or the last turn.

    They begin with a message of the user, so that no answer and no result is left alone.
    """
    tokens = kept = 0
    for place, row in enumerate(rows, 1):
        tokens += estimate_tokens(row.message)
        if tokens > keep and kept:
            return kept
        if row.message.role == "user":
            kept = place
    return len(rows)


def _lines(message: Message) -> list[str]:
    lines: list[str] = []
    for part in message.parts:
        if isinstance(part, Text):
            lines.append(f"{message.role}: {part.text}")
        elif isinstance(part, ToolCall):
            lines.append(f"{message.role} called {part.name} {dict(part.arguments)}")
        elif isinstance(part, ToolResult):
            lines.append(f"{part.name} returned ({part.outcome}): {part.content[:1000]}")
        elif isinstance(part, Image):
            lines.append(f"{message.role} showed an image")
    return lines
