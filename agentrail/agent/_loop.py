"""The agent loop: the model and its tools, in turn, until there is an answer."""

from collections.abc import Mapping, Sequence

from attrs import define, frozen
from msgspec.structs import replace
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from agentrail.agent._journal import Journal
from agentrail.clock import Clock
from agentrail.events import MessageEnd, MessageStart, StepEnd, StepStart, ToolEnd, ToolStart
from agentrail.hook import Call, span
from agentrail.messages import Message, StopReason, ToolCall, ToolResult
from agentrail.requests import Delta, ModelReply, ModelRequest, RequestContext, ToolRequest
from agentrail.telemetry import names
from agentrail.tool import run_tool

CUT_OFF = "the token limit cut this call off, so it was not executed; make it again, shorter"
NO_STEPS_LEFT = "no steps are left in this turn, so the call was not executed"


@frozen(slots=True)
class Limits:
    """How much one turn may take."""

    steps: int = 16
    """Model calls; in the last one the model may call no tools."""
    seconds: float = 600.0
    """The whole turn."""
    tool_seconds: float = 60.0
    """One tool call, where the tool does not say."""
    max_tokens: int | None = None
    """Output tokens of one model call; None leaves it to the model."""


@define(slots=True)
class Agent:
    """What the loop needs of a profile, ready to run."""

    reference: str
    """The model as ``provider:model``, for spans."""
    request: ModelRequest
    """The call's fixed part: model, tools, temperature, token limit."""
    model: Call[ModelRequest, ModelReply]
    tools: Call[ToolRequest, ToolResult]
    limits: Limits


@define(slots=True)
class Run:
    """Where the loop runs: its request, its journal, and how it is traced."""

    context: RequestContext
    journal: Journal
    clock: Clock
    tracer: Tracer | None = None


@define(slots=True)
class Answer:
    """What the loop came to."""

    message: Message
    stop_reason: StopReason


async def run_loop(agent: Agent, run: Run, messages: Sequence[Message]) -> Answer:
    """Return the model's final answer to ``messages``.

    Each step is durable before the next one begins: the model's message with its tool calls, then
    the result of each call.  The final message is recorded and left for the turn's commit.
    Cancelled at any point, the journal can still be mended.

    Raises:
        ModelError: a model call failed; the steps before it are durable.
    """
    journal, so_far = run.journal, list(messages)
    while True:
        journal.step += 1
        last = journal.step >= agent.limits.steps
        journal.add(StepStart())
        reply = await _ask(agent, run, so_far, last=last)
        journal.usage = journal.usage + reply.usage
        message = replace(
            reply.message,
            id=f"{run.context.turn_id}.{journal.step}",
            stop_reason=reply.stop_reason,
        )
        journal.record(message)
        journal.add(
            MessageEnd(message_id=message.id, stop_reason=reply.stop_reason, usage=reply.usage)
        )
        calls = message.tool_calls
        if not calls:
            journal.add(StepEnd())
            return Answer(message, reply.stop_reason)
        await journal.flush()
        so_far.append(message)
        for call in calls:
            refusal = CUT_OFF if reply.stop_reason == "length" else NO_STEPS_LEFT if last else ""
            result = await _call_tool(agent, run, call, refusal)
            answered = Message(role="tool", parts=(result,))
            journal.record(answered)
            await journal.flush()
            so_far.append(answered)
        journal.add(StepEnd())
        if last:
            return Answer(message, "step_limit")


async def _ask(agent: Agent, run: Run, messages: Sequence[Message], *, last: bool) -> ModelReply:
    """Return the model's reply to one call, its pieces having gone to the journal."""
    journal = run.journal
    message_id = f"{run.context.turn_id}.{journal.step}"
    journal.begin_message(message_id)
    journal.add(MessageStart(message_id=message_id))
    request = replace(
        agent.request,
        messages=tuple(messages),
        tool_choice="none" if last and agent.request.tools else "auto",
        emit=journal.delta,
    )
    if run.tracer is None:
        reply = await agent.model(request)
    else:
        with span(
            run.tracer, f"chat {request.model}", _model_attributes(agent), SpanKind.CLIENT
        ) as current:
            reply = await agent.model(request)
            _describe(current, reply)
    if not journal.arriving and reply.message.text:
        # Answered at once, by a middleware or a model that does not stream.
        await journal.delta(Delta(text=reply.message.text))
    return reply


async def _call_tool(agent: Agent, run: Run, call: ToolCall, refusal: str) -> ToolResult:
    """Return the result of one tool call; it always has one."""
    journal = run.journal
    journal.add(ToolStart(call_id=call.id, name=call.name, arguments=call.arguments))
    if journal.reader is not None:
        await journal.flush()
    began = run.clock.monotonic()
    if refusal:
        result = ToolResult(call_id=call.id, name=call.name, content=refusal, outcome="error")
    else:
        with span(run.tracer, f"execute_tool {call.name}", _tool_attributes(call)) as current:
            result = await run_tool(agent.tools, ToolRequest(call=call, context=run.context))
            if result.outcome != "ok":
                current.set_attribute(names.ERROR_TYPE, result.outcome)
    journal.add(
        ToolEnd(
            call_id=call.id,
            name=call.name,
            outcome=result.outcome,
            content=result.content,
            duration_ms=round((run.clock.monotonic() - began) * 1000, 3),
        )
    )
    return result


def _model_attributes(agent: Agent) -> Mapping[str, AttributeValue]:
    return {
        names.OPERATION_NAME: "chat",
        names.PROVIDER_NAME: agent.reference.partition(":")[0],
        names.REQUEST_MODEL: agent.request.model,
    }


def _tool_attributes(call: ToolCall) -> Mapping[str, AttributeValue]:
    return {
        names.OPERATION_NAME: "execute_tool",
        names.TOOL_NAME: call.name,
        names.TOOL_CALL_ID: call.id,
        names.TOOL_TYPE: "function",
    }


def _describe(current: Span, reply: ModelReply) -> None:
    current.set_attribute(names.USAGE_INPUT_TOKENS, reply.usage.input_tokens)
    current.set_attribute(names.USAGE_OUTPUT_TOKENS, reply.usage.output_tokens)
    current.set_attribute(names.RESPONSE_FINISH_REASONS, [reply.stop_reason])
