"""The way of a tool call: the plugins' hooks, the permissions, the tool, the hooks again."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import cast

import msgspec
from attrs import define, field
from msgspec.structs import replace

from agentrail.errors import HookTypeError
from agentrail.hook import FAILED, Call, Funnel, Hook, HookTable, attempt
from agentrail.messages import ToolCall, ToolResult
from agentrail.requests import Asked, ToolRequest
from agentrail.tool._execute import run_tool, settle
from agentrail.tool._permissions import Rule, judge


@define(slots=True)
class Gate:
    """What every tool call of one run goes through.

    ``before_tool_call`` hooks run in order: each sees the call as the ones before left it, the
    first result stands instead of the tool's.  The permissions judge what the hooks made of it.
    ``after_tool_call`` hooks run in reverse order for every result, denials and failures among
    them.  Each hook gets a copy of the arguments of its own.
    """

    execute: Call[ToolRequest, ToolResult]
    """The tool, with the middleware around it."""
    rules: Sequence[Rule] = ()
    hooks: HookTable = field(factory=HookTable)
    funnel: Funnel | None = None

    async def decide(
        self, request: ToolRequest, approved: ToolCall | None = None
    ) -> ToolRequest | ToolResult | Asked:
        """Return the request to execute, the result that stands instead, or that approval waits.

        ``approved`` is the call that was approved before: an equal one does not ask again.

        Raises:
            RequestRefused: a hook failed that must not.
        """
        call = request.call
        answer = await self._before(request)
        if isinstance(answer, ToolResult):
            return answer
        rule = judge(self.rules, answer)
        if rule.verdict == "deny":
            return _refused(call, _why(rule))
        # Nobody is asked about a call that cannot be read: it is not executed in any case.
        if rule.verdict == "ask" and answer != approved and not answer.invalid:
            return Asked(call=answer, reason=rule.reason)
        # A copy, for a middleware may write into the arguments.
        return replace(request, call=answer, permitted=_copy(answer) if self.rules else answer)

    async def run(self, request: ToolRequest) -> ToolResult:
        """Return the result of a call that was decided on.

        Raises:
            RequestRefused: a hook failed that must not.
        """
        return await self.finish(request, await run_tool(self.execute, request))

    async def finish(self, request: ToolRequest, result: ToolResult) -> ToolResult:
        """Return what the after hooks make of a result.

        Raises:
            RequestRefused: a hook failed that must not.
        """
        if self.funnel is None:
            return result
        hooks, call = self.hooks["after_tool_call"], request.call
        for hook in reversed(hooks):
            arguments = _copy(call), result, request.context
            answer = await attempt(
                self.funnel, hooks, hook, (ToolResult,), *arguments, check=partial(_checked, call)
            )
            if isinstance(answer, ToolResult):
                result = answer
        return result

    async def _before(self, request: ToolRequest) -> ToolCall | ToolResult:
        call = request.call
        if self.funnel is None:
            return call
        hooks = self.hooks["before_tool_call"]
        for hook in hooks:
            kinds, arguments = (ToolCall, ToolResult), (_copy(call), request.context)
            answer = await attempt(
                self.funnel, hooks, hook, kinds, *arguments, check=partial(_checked, call)
            )
            if isinstance(answer, ToolResult):
                return answer
            if isinstance(answer, ToolCall):
                if answer != call:
                    self.funnel.changed(hook)
                call = _copy(answer)
            elif answer is FAILED and hook.policy != "skip":
                return _failed(hook, call)
        return call


def guarded(
    rules: Sequence[Rule], call_next: Call[ToolRequest, ToolResult]
) -> Call[ToolRequest, ToolResult]:
    """Return the tool with the permissions right before it, for what a middleware changed.

    Approval was given for the call as it was; a changed one that would need it is refused.
    """
    if not rules:
        return call_next

    async def call(request: ToolRequest) -> ToolResult:
        if request.call != request.permitted:
            rule = judge(rules, request.call)
            if rule.verdict != "allow":
                return _refused(request.call, _why(rule))
        return await call_next(request)

    return call


def _why(rule: Rule) -> str:
    return "denied: this call is not permitted" + (f": {rule.reason}" if rule.reason else "")


def _checked(call: ToolCall, hook: Hook, answer: object) -> object:
    """Return what a hook made of a call, its result as one of that call.

    Raises:
        HookTypeError: it is another call, or its fields hold something else than they are to hold.
    """
    if isinstance(answer, ToolCall) and (wrong := _wrong(answer, call)):
        raise HookTypeError(f"{hook} returned {wrong}")
    try:
        return settle(answer, call) if isinstance(answer, ToolResult) else answer
    except TypeError as error:
        raise HookTypeError(f"{hook}: {error}") from error


def _wrong(answer: ToolCall, call: ToolCall) -> str:
    """Return what is wrong with what a hook made of a call, or nothing."""
    if (answer.id, answer.name) != (call.id, call.name):
        return "a call with another id or name"
    arguments = cast("object", answer.arguments)
    if not isinstance(arguments, Mapping):
        return f"a call whose arguments are {type(arguments).__name__}, not a mapping"
    try:
        msgspec.json.encode(answer.arguments)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"a call whose arguments cannot be written as JSON: {error}"
    return ""


def _failed(hook: Hook, call: ToolCall) -> ToolResult:
    return _refused(call, f"denied: plugin {hook.plugin!r} failed while it decided about this call")


def _refused(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, content=why, outcome="denied")


def _copy(call: ToolCall) -> ToolCall:
    return replace(call, arguments=deepcopy(dict(call.arguments)))
