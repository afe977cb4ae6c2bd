"""The plugins' hooks around model calls and tool calls, as links of the middleware chains."""

from collections.abc import Awaitable, Callable

from attrs import define, evolve, field
from msgspec.structs import replace

from agentrail.agent import Agent
from agentrail.errors import HookTypeError, ModelError
from agentrail.hook import Call, Funnel, HookTable, attempt, chain
from agentrail.host._compose import Served
from agentrail.messages import Text
from agentrail.requests import Delta, ModelReply, ModelRequest, RequestContext


def agent_of(served: Served, hooks: HookTable, funnel: Funnel, context: RequestContext) -> Agent:
    """Return the profile's agent with the plugins' hooks around its model and tool calls."""
    agent = served.agent
    if not hooks.has_seams:
        return agent
    return evolve(
        agent,
        model=chain([_ModelHooks(hooks, funnel, context)], agent.model),
        gate=evolve(agent.gate, hooks=hooks, funnel=funnel),
    )


@define(slots=True)
class _ModelHooks:
    """A middleware that runs the four model hooks around one call."""

    hooks: HookTable
    funnel: Funnel
    context: RequestContext
    shown: bool = False
    """Whether a reader has seen text of this reply, which is then past changing."""
    offered: bool = False
    """Whether the model said anything piece by piece."""
    passed: list[str] = field(factory=list[str])
    """The text that the chunk hooks let through."""

    async def __call__(
        self, request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        """Answer the request, unless a hook does."""
        self.shown, self.offered = False, False
        self.passed.clear()
        prepared = await self._before(request)
        if isinstance(prepared, ModelReply):
            reply = prepared
        else:
            emit = self._through(prepared.emit)
            try:
                reply = await call_next(replace(prepared, emit=emit))
                reply = await self._as_passed(reply, emit)
            except ModelError as error:
                recovered = await self._recovered(error)
                if recovered is None:
                    raise
                reply = recovered
        return await self._after(reply)

    async def _before(self, request: ModelRequest) -> ModelRequest | ModelReply:
        hooks = self.hooks["before_request"]
        for hook in hooks:
            result = await attempt(
                self.funnel, hooks, hook, (ModelRequest, ModelReply), request, self.context
            )
            if isinstance(result, ModelReply):
                return result
            if isinstance(result, ModelRequest):
                request = result
        return request

    def _through(
        self, emit: Callable[[Delta], Awaitable[None]]
    ) -> Callable[[Delta], Awaitable[None]]:
        hooks = self.hooks["on_chunk"]

        async def through(delta: Delta) -> None:
            self.offered = True
            for hook in hooks:
                result = await attempt(self.funnel, hooks, hook, (Delta,), delta, self.context)
                if result is None:
                    self.funnel.withheld(hook)
                    return
                if isinstance(result, Delta):
                    delta = result
            self.shown = self.context.kind == "stream"
            self.passed.append(delta.text)
            await emit(delta)

        return through

    async def _as_passed(
        self, reply: ModelReply, emit: Callable[[Delta], Awaitable[None]]
    ) -> ModelReply:
        """Return the reply with the text that the chunk hooks let through, and no other."""
        message = reply.message
        if not self.hooks["on_chunk"] or not message.text:
            return reply
        if not self.offered:
            await emit(Delta(text=message.text))
        others = tuple(part for part in message.parts if not isinstance(part, Text))
        text = "".join(self.passed)
        parts = (Text(text), *others) if text else others
        return replace(reply, message=replace(message, parts=parts))

    async def _recovered(self, error: ModelError) -> ModelReply | None:
        """Return the first reply that makes up for a failed call."""
        hooks = self.hooks["on_error"]
        for hook in hooks:
            reply = await attempt(self.funnel, hooks, hook, (ModelReply,), error, self.context)
            if isinstance(reply, ModelReply):
                return reply
        return None

    async def _after(self, reply: ModelReply) -> ModelReply:
        hooks = self.hooks["after_response"]
        for hook in reversed(hooks):
            result = await attempt(self.funnel, hooks, hook, (ModelReply,), reply, self.context)
            if isinstance(result, ModelReply) and not self.shown:
                reply = result
            elif isinstance(result, ModelReply):
                message = f"{hook} changed a reply that its reader has already seen"
                await self.funnel.report(hook, HookTypeError(message))
        return reply
