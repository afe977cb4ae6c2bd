"""The agent loop: the model and its tools, in turn, until there is an answer."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from attrs import define
from msgspec.structs import replace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from agentrail.agent._calls import Calls
from agentrail.agent._context import fit
from agentrail.agent._limits import counted
from agentrail.agent._run import Agent, Run
from agentrail.errors import AgentrailError, ContextTooLong, OutputInvalid
from agentrail.events import (
    ApprovalRequired,
    MessageEnd,
    MessageStart,
    ModelAsked,
    StepEnd,
    StepStart,
)
from agentrail.hook import span
from agentrail.ids import new_id
from agentrail.messages import NO_USAGE, Message, Part, StopReason, ToolCall, ToolResult
from agentrail.requests import Asked, Delta, ModelReply, ModelRequest
from agentrail.telemetry import Content, names

CUT_OFF: Final = "the token limit cut this call off, so it was not executed; make it again, shorter"
NONE_LEFT: Final[Mapping[StopReason, str]] = {
    "step_limit": "no steps are left in this turn, so the call was not executed",
    "token_limit": "no tokens are left in this turn, so the call was not executed",
    "cost_limit": "no money is left in this turn, so the call was not executed",
}
"""What the model is told of calls that come when a limit is reached."""

REPAIRS: Final = 1
"""How often a model may try again that did not answer with its output's type."""


@define(slots=True)
class Answer:
    """What the loop came to."""

    message: Message
    stop_reason: StopReason
    output: object = None
    """The value, where the profile has an output type."""
    asked: tuple[Asked, ...] = ()
    """The calls that wait for approval; then this is no answer, and the turn is suspended."""


async def run_loop(agent: Agent, run: Run, messages: Sequence[Message]) -> Answer:
    """Return the model's final answer to ``messages``, or what the turn has to wait for.

    Each step is durable before the next one begins: the model's message with its tool calls, then
    the result of each call.  The final message is recorded and left for the turn's commit.
    Cancelled at any point, the journal can still be mended.

    Raises:
        ModelError: a model call failed; the steps before it are durable.
        OutputInvalid: the model did not answer with its output's type, twice.
    """
    journal, so_far, calls = run.journal, list(messages), Calls(agent, run)
    if run.pending:
        results, asked = await calls.execute(run.pending)
        at = next(n for n in reversed(range(len(so_far))) if so_far[n].tool_calls)
        if asked:
            return _suspended(agent, run, so_far[at], asked)
        so_far[at + 1 :] = _in_order(so_far[at].tool_calls, [*so_far[at + 1 :], *results])
        journal.add(StepEnd())
        run.decisions = {}  # they were about these calls, and a model may use an id again
    repairs = REPAIRS
    while True:
        journal.step += 1
        journal.add(StepStart())
        so_far, reply = await _reply(agent, run, so_far)
        message = _recorded(agent, run, reply)
        if message.tool_calls:
            await journal.flush()
            so_far.append(message)
            used_up = _used_up(agent, run)
            refusal = CUT_OFF if reply.stop_reason == "length" else NONE_LEFT.get(used_up, "")
            results, asked = await calls.execute(message.tool_calls, refusal)
            if asked:
                return _suspended(agent, run, message, asked)
            so_far += results
            journal.add(StepEnd())
            if used_up != "stop":
                return Answer(message, used_up)
            continue
        journal.add(StepEnd())
        if agent.output is None:
            return Answer(message, reply.stop_reason)
        try:
            return Answer(message, reply.stop_reason, agent.output.read(message.text))
        except ValueError as error:
            if not repairs or _used_up(agent, run) != "stop":
                raise OutputInvalid(
                    f"the model's answer is no {agent.output.spec.name}: {error}"
                ) from error
            repairs -= 1
            so_far += [message, _correction(run, error)]


def _in_order(calls: Sequence[ToolCall], results: Sequence[Message]) -> list[Message]:
    """Return messages with results in the order of the calls."""
    places = {call.id: place for place, call in enumerate(calls)}

    def place(message: Message) -> int:
        found = [part.call_id for part in message.parts if isinstance(part, ToolResult)]
        return min([places.get(call_id, 0) for call_id in found], default=0)

    return sorted(results, key=place)


async def _reply(agent: Agent, run: Run, so_far: list[Message]) -> tuple[list[Message], ModelReply]:
    """Return the model's reply, and the messages that it was given in the end.

    Results of tools that no longer fit are shown shorter.  A model that still finds the messages
    too long is asked once more, with a summary of the history.
    """
    journal = run.journal
    message_id = f"{run.context.turn_id}.{journal.step}"
    journal.begin_message(message_id)
    journal.add(MessageStart(message_id=message_id))
    if journal.step > 1:
        so_far = fit(so_far, agent.room)
    try:
        return so_far, await _ask(agent, run, so_far)
    except ContextTooLong:
        shorter = None if run.compact is None or journal.arriving else await run.compact(so_far)
        if shorter is None:
            raise
    return shorter, await _ask(agent, run, shorter)


async def _ask(agent: Agent, run: Run, messages: Sequence[Message]) -> ModelReply:
    """Return the model's reply to one call, its pieces having gone to the journal."""
    journal = run.journal
    last = journal.step >= agent.limits.steps
    request = replace(
        agent.request,
        messages=tuple(messages),
        tool_choice="none" if last and agent.request.tools else "auto",
        emit=journal.delta,
        context=run.context,
    )
    began, answered = run.clock.monotonic(), None
    try:
        if run.tracer is None:
            answered = reply = await agent.model(request)
        else:
            name, attributes = f"chat {request.model}", _attributes(agent, run)
            with span(run.tracer, name, attributes, SpanKind.CLIENT) as current:
                if run.content is not None:
                    request = replace(request, on_sent=partial(_sent, run.content, current))
                answered = reply = await agent.model(request)
                _describe(current, reply)
                if run.content is not None:
                    run.content.answered(current, reply.message, reply.stop_reason)
    finally:
        _note(agent, run, began, answered)
    if not journal.arriving and reply.message.text:
        # Answered at once, by a middleware or a model that does not stream.
        await journal.delta(Delta(text=reply.message.text))
    return reply


def _note(agent: Agent, run: Run, began: float, reply: ModelReply | None) -> None:
    """Note a model call that is over: with its reply, or where its error is being handled."""
    account, micros = run.journal.account, int((run.clock.monotonic() - began) * 1e6)
    if account is None:
        return
    if reply is not None:
        model, used = reply.model or agent.reference, reply.usage
        asked = ModelAsked(model, micros, used.input_tokens, used.output_tokens)
    else:
        error = sys.exception()
        outcome = error.code if isinstance(error, AgentrailError) else "cancelled"
        asked = ModelAsked(agent.reference, micros, outcome=outcome)
    account.asked.append(asked)


def _recorded(agent: Agent, run: Run, reply: ModelReply) -> Message:
    """Return the reply's message, recorded, and count what it used."""
    journal, usage = run.journal, counted(reply.usage, agent.prices)
    journal.usage = journal.usage + usage
    message, calls = reply.message, reply.message.tool_calls
    message = replace(
        message,
        id=f"{run.context.turn_id}.{journal.step}",
        parts=_told_apart(message.parts) if calls else message.parts,
        stop_reason=reply.stop_reason,
    )
    journal.record(message)
    # Whoever closes the turn of a host that died learns from the log what it used.
    keep = bool(calls) and usage != NO_USAGE
    end = MessageEnd(
        message_id=message.id, stop_reason=reply.stop_reason, usage=usage, model=reply.model
    )
    journal.add(end, keep=keep)
    return message


def _told_apart(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts, with ids of our own for calls that share one or have none."""
    ids: set[str] = set()
    apart: list[Part] = []
    for part in parts:
        own = part
        if isinstance(part, ToolCall):
            own = replace(part, id=new_id("call")) if not part.id or part.id in ids else part
            ids.add(own.id)
        apart.append(own)
    return tuple(apart)


def _used_up(agent: Agent, run: Run) -> StopReason:
    """Return which limit the turn has reached, or ``stop``."""
    limits = agent.limits
    if run.journal.step >= limits.steps:
        return "step_limit"
    if limits.tokens is None and limits.cost is None:
        return "stop"
    usage = run.spent + run.journal.usage
    if limits.tokens is not None and usage.input_tokens + usage.output_tokens >= limits.tokens:
        return "token_limit"
    return "cost_limit" if limits.cost is not None and usage.cost >= limits.cost else "stop"


def _suspended(agent: Agent, run: Run, message: Message, asked: tuple[Asked, ...]) -> Answer:
    for each in asked:
        run.journal.add(
            ApprovalRequired(
                call_id=each.call.id,
                name=each.call.name,
                arguments=each.call.arguments,
                reason=each.reason,
                origin=agent.origins.get(each.call.name, ""),
            )
        )
    return Answer(message, "tool_calls", asked=asked)


def _correction(run: Run, error: ValueError) -> Message:
    message = Message.system(f"That answer cannot be used: {error}. Answer again, with JSON alone.")
    run.journal.record(message)
    return message


def _attributes(agent: Agent, run: Run) -> Mapping[str, AttributeValue]:
    return {
        **run.attributes,
        names.OPERATION_NAME: "chat",
        names.PROVIDER_NAME: agent.reference.partition(":")[0],
        names.REQUEST_MODEL: agent.request.model,
    }


def _sent(content: Content, current: Span, request: ModelRequest) -> None:
    content.asked(current, request.messages)


def _describe(current: Span, reply: ModelReply) -> None:
    current.set_attribute(names.USAGE_INPUT_TOKENS, reply.usage.input_tokens)
    current.set_attribute(names.USAGE_OUTPUT_TOKENS, reply.usage.output_tokens)
    if reply.usage.cache_read_tokens:
        current.set_attribute(names.USAGE_CACHE_READ_TOKENS, reply.usage.cache_read_tokens)
    if reply.usage.cache_write_tokens:
        current.set_attribute(names.USAGE_CACHE_WRITE_TOKENS, reply.usage.cache_write_tokens)
    current.set_attribute(names.RESPONSE_FINISH_REASONS, [reply.stop_reason])
    if reply.model:
        provider, _, model = reply.model.partition(":")
        current.set_attribute(names.PROVIDER_NAME, provider)
        current.set_attribute(names.RESPONSE_MODEL, model)
