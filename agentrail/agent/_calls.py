"""The tool calls of one step: in the model's order, side by side where the tools say so."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import anyio
import msgspec
from attrs import define, field
from msgspec.structs import replace
from opentelemetry.trace import INVALID_SPAN, Span, StatusCode
from opentelemetry.util.types import AttributeValue

from agentrail.agent._run import Agent, Run
from agentrail.errors import AgentrailError
from agentrail.events import ArtifactKept, ToolEnd, ToolStart
from agentrail.hook import span
from agentrail.messages import Message, ToolCall, ToolResult
from agentrail.requests import Asked, ToolRequest
from agentrail.telemetry import names

REPEATS: Final = 5
"""How often in a row the same call may come to the same result before it is made no more."""

ARTIFACT_CHARS: Final = 10_000_000
"""Of a result that is even longer, only so much is kept."""

NAME_CHARS: Final = 256
"""How much of a name or an id that a model makes up goes into a span."""

CHANGED: Final = (
    "the tool was changed after approval of this call was asked for, so the call was not made; "
    "make it again if it is still needed"
)
"""What the model is told of a call that was approved when its tool ran other code."""


@define(slots=True)
class Calls:
    """Executes the tool calls of a run."""

    agent: Agent
    run: Run
    _seen: dict[str, tuple[str, int]] = field(factory=dict[str, tuple[str, int]], init=False)
    """The last result of each call, and how often in a row it was that."""

    async def execute(
        self, calls: Sequence[ToolCall], refusal: str = ""
    ) -> tuple[list[Message], tuple[Asked, ...]]:
        """Return the messages with the results, in the order of the calls, and who has to wait.

        A call that needs approval holds up those after it; of these, all that need approval too
        are told.  With a ``refusal`` no call is made, and each ends with that text.

        Raises:
            RequestRefused: a plugin's hook failed that must not.
            SessionError: a result could not be written.
        """
        done: list[Message] = []
        asked: list[Asked] = []
        for group in self._groups(calls):
            if asked:
                asked += [a for call in group if isinstance(a := await self._decide(call), Asked)]
                continue
            for outcome in await self._together(group, refusal):
                if isinstance(outcome, Asked):
                    asked.append(outcome)
                else:
                    done.append(Message(role="tool", parts=(outcome,)))
        return done, tuple(asked)

    def _groups(self, calls: Iterable[ToolCall]) -> Iterator[list[ToolCall]]:
        """Yield the calls in order, neighbors that may run at the same time together."""
        group: list[ToolCall] = []
        for call in calls:
            beside = call.name in self.agent.concurrent
            if group and not (beside and group[-1].name in self.agent.concurrent):
                yield group
                group = []
            group.append(call)
        if group:
            yield group

    async def _together(self, group: list[ToolCall], refusal: str) -> list[ToolResult | Asked]:
        if len(group) == 1:
            return [await self._one(group[0], refusal)]
        outcomes: dict[int, ToolResult | Asked] = {}
        failures: list[AgentrailError] = []
        self.run.journal.share()

        async def one(index: int, call: ToolCall) -> None:
            try:
                outcomes[index] = await self._one(call, refusal)
            except AgentrailError as error:  # raised below: a group would wrap it
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(group):
                tasks.start_soon(one, index, call)
        if failures:
            raise failures[0]
        return [outcomes[index] for index in range(len(group))]

    async def _one(self, call: ToolCall, refusal: str) -> ToolResult | Asked:
        """Return the result of one call, recorded; or that it has to wait."""
        journal, clock = self.run.journal, self.run.clock
        with self._span(call) as current:
            refused = refusal or self._repeated(call)
            decided = _error(call, refused) if refused else await self._decide(call)
            if isinstance(decided, Asked):
                return decided
            began = clock.monotonic()
            if isinstance(decided, ToolRequest):
                await self._begin(decided.call, current)
                result = await self.agent.gate.run(decided)
            else:
                await self._begin(call, current)
                result = await self.agent.gate.finish(self._request(call), decided)
            if result.outcome != "ok":
                current.set_attribute(names.ERROR_TYPE, result.outcome)
                current.set_status(StatusCode.ERROR)
            if self.run.content is not None:
                self.run.content.returned(current, result.content)
        if not refused:
            self._note(call, result)
        result = self._capped(result)
        journal.record(Message(role="tool", parts=(result,)))
        journal.add(
            ToolEnd(
                call_id=call.id,
                name=call.name,
                outcome=result.outcome,
                content=result.content,
                duration_ms=round((clock.monotonic() - began) * 1000, 3),
            )
        )
        await journal.flush()
        return result

    def _span(self, call: ToolCall) -> AbstractContextManager[Span]:
        tracer = self.run.tracer
        if tracer is None:
            return nullcontext(INVALID_SPAN)
        known = any(call.name == spec.name for spec in self.agent.request.tools)
        # A model may call what there is not; of such names there can be any number.
        name = f"execute_tool {call.name}" if known else "execute_tool"
        attributes: dict[str, AttributeValue] = {
            **self.run.attributes,
            names.OPERATION_NAME: "execute_tool",
            names.TOOL_NAME: _plain(call.name),
            names.TOOL_CALL_ID: _plain(call.id),
            names.TOOL_TYPE: "function",
        }
        return span(tracer, name, attributes)

    async def _begin(self, call: ToolCall, current: Span) -> None:
        journal, content = self.run.journal, self.run.content
        if content is not None:
            content.called(current, call.arguments)
        journal.add(ToolStart(call_id=call.id, name=call.name, arguments=call.arguments))
        # Durable too: after a crash the model is told which calls may have had their effects.
        await journal.flush()

    async def _decide(self, call: ToolCall) -> ToolRequest | ToolResult | Asked:
        """Return what the gate says, with the decisions of people in mind."""
        decision = self.run.decisions.get(call.id)
        request = self._request(call)
        if decision is not None and not decision.approved:
            because = f": {decision.reason}" if decision.reason else ""
            return ToolResult(
                call_id=call.id,
                name=call.name,
                content=f"denied: this call was not approved{because}",
                outcome="denied",
            )
        if decision is not None and self._is_other(call.name, decision.origin):
            return _error(call, CHANGED)
        approved = None if decision is None else decision.call
        return await self.agent.gate.decide(request, approved)

    def _request(self, call: ToolCall) -> ToolRequest:
        origin = self.agent.origins.get(call.name, "")
        return ToolRequest(call=call, context=self.run.context, origin=origin)

    def _is_other(self, name: str, origin: str) -> bool:
        """Tell whether a tool runs other code by now; of one that is gone the gate tells."""
        return self.agent.origins.get(name, origin) != origin

    def _repeated(self, call: ToolCall) -> str:
        _, times = self._seen.get(_key(call), ("", 0))
        if times < REPEATS:
            return ""
        return (
            f"this call was made {times} times in a row with the same result, "
            "so it was not executed again; go on without it"
        )

    def _note(self, call: ToolCall, result: ToolResult) -> None:
        key = _key(call)
        content, times = self._seen.get(key, ("", 0))
        # Any other call between two equal ones means that something may have changed.
        self._seen = {
            key: (result.content, times + 1 if content == result.content else 1),
        }

    def _capped(self, result: ToolResult) -> ToolResult:
        """Return the result as the model is shown it; one that is too long is kept whole."""
        text, limit = result.content, self.agent.result_chars
        if len(text) <= limit:
            return result
        journal = self.run.journal
        # With the step, for a model may use a call's id again.
        artifact_id = f"{self.run.context.turn_id}.{journal.step}.{result.call_id}"
        journal.add(ArtifactKept(artifact_id=artifact_id, text=text[:ARTIFACT_CHARS]))
        head, tail = limit * 4 // 5, limit // 5
        note = f"[{len(text) - head - tail} characters were left out; all is in {artifact_id}]"
        return replace(result, content=f"{text[:head]}\n{note}\n{text[-tail:]}")


def _key(call: ToolCall) -> str:
    arguments = msgspec.json.encode(call.arguments, order="sorted").decode()
    return f"{call.name} {arguments}"


def _error(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=why, outcome="error")


def _plain(text: str) -> str:
    """Return a text of the model's as one that every exporter takes."""
    return text[:NAME_CHARS].encode(errors="replace").decode()
