"""The plugins' hooks around model calls and tool calls, as links of the middleware chains."""

from collections.abc import Awaitable, Callable

from attrs import define, evolve, field
from msgspec.structs import replace

from agentrail.agent import Agent
from agentrail.errors import HookTypeError, ModelError, RequestRefused
from agentrail.hook import Call, Funnel, Hook, HookTable, chain
from agentrail.host._compose import Served
from agentrail.messages import Text
from agentrail.requests import Delta, ModelReply, ModelRequest, RequestContext
from agentrail.tool import hook_middleware


def agent_of(served: Served, hooks: HookTable, funnel: Funnel, context: RequestContext) -> Agent:
    """Return the profile's agent with the plugins' hooks around its model and tool calls."""
    agent = served.agent
    if not hooks.has_seams:
        return agent
    before, after = hooks["before_tool_call"], hooks["after_tool_call"]
    return evolve(
        agent,
        model=chain([_ModelHooks(hooks, funnel, context)], agent.model),
        tools=chain([hook_middleware(before, after, funnel)], agent.tools),
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
                recovered = await self.funnel.first(
                    self.hooks["on_error"], ModelReply, error, self.context
                )
                if recovered is None:
                    raise
                reply = recovered[0]
        return await self._after(reply)

    async def _before(self, request: ModelRequest) -> ModelRequest | ModelReply:
        for hook in self.hooks["before_request"]:
            result = await self._attempt(hook, request)
            if isinstance(result, ModelReply):
                return result
            if isinstance(result, ModelRequest):
                request = result
            elif result is not None:
                await self._wrong(hook, result)
        return request

    def _through(
        self, emit: Callable[[Delta], Awaitable[None]]
    ) -> Callable[[Delta], Awaitable[None]]:
        chunk_hooks = self.hooks["on_chunk"]

        async def through(delta: Delta) -> None:
            self.offered = True
            for hook in chunk_hooks:
                result = await self._attempt(hook, delta, failed=delta)
                if result is None:
                    return
                if isinstance(result, Delta):
                    delta = result
                else:
                    await self._wrong(hook, result)
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

    async def _after(self, reply: ModelReply) -> ModelReply:
        for hook in reversed(self.hooks["after_response"]):
            result = await self._attempt(hook, reply)
            if isinstance(result, ModelReply) and not self.shown:
                reply = result
            elif isinstance(result, ModelReply):
                message = f"{hook} changed a reply that its reader has already seen"
                await self.funnel.report(hook, HookTypeError(message))
            elif result is not None:
                await self._wrong(hook, result)
        return reply

    async def _attempt(self, hook: Hook, subject: object, failed: object = None) -> object:
        """Return what the hook returns; ``failed`` when it failed and is not critical.

        Raises:
            RequestRefused: it failed, and its plugin is critical.
        """
        results = await self.funnel.collect([hook], object, subject, self.context)
        if results:
            return results[0][1]
        if hook.critical:
            raise _refused(hook)
        return failed

    async def _wrong(self, hook: Hook, result: object) -> None:
        """Report a result of the wrong type.

        Raises:
            RequestRefused: the hook's plugin is critical.
        """
        error = HookTypeError(f"{hook} returned {type(result).__name__}")
        await self.funnel.report(hook, error)
        if hook.critical:
            raise _refused(hook) from error


def _refused(hook: Hook) -> RequestRefused:
    return RequestRefused(f"plugin {hook.plugin!r} failed in {hook.name} and is critical")
