"""The plugins' hooks around model calls and tool calls, as links of the middleware chains."""

from collections.abc import Awaitable, Callable

from attrs import define
from msgspec.structs import replace

from agentrail.errors import HookTypeError, ModelError, RequestRefused
from agentrail.hook import Call, Funnel, Hook, HookTable, chain
from agentrail.host._compose import Served
from agentrail.messages import ToolResult
from agentrail.requests import Delta, ModelReply, ModelRequest, RequestContext, ToolRequest
from agentrail.tool import hook_middleware

_MODEL_HOOKS = ("before_request", "on_chunk", "after_response", "on_error")


def model_call(
    served: Served, hooks: HookTable, funnel: Funnel, context: RequestContext
) -> Call[ModelRequest, ModelReply]:
    """Return the profile's model call with the plugins' hooks around it."""
    if not any(hooks[name] for name in _MODEL_HOOKS):
        return served.model
    return chain([_ModelHooks(hooks, funnel, context)], served.model)


def tool_call(served: Served, hooks: HookTable, funnel: Funnel) -> Call[ToolRequest, ToolResult]:
    """Return the profile's tool call with the plugins' hooks around it."""
    before, after = hooks["before_tool_call"], hooks["after_tool_call"]
    if not before and not after:
        return served.tools
    return chain([hook_middleware(before, after, funnel)], served.tools)


@define(slots=True)
class _ModelHooks:
    """A middleware that runs the four model hooks around one call."""

    hooks: HookTable
    funnel: Funnel
    context: RequestContext
    shown: bool = False
    """Whether a reader has seen text of this reply, which is then past changing."""

    async def __call__(
        self, request: ModelRequest, call_next: Call[ModelRequest, ModelReply]
    ) -> ModelReply:
        """Answer the request, unless a hook does."""
        self.shown = False
        prepared = await self._before(request)
        if isinstance(prepared, ModelReply):
            reply = prepared
        else:
            watched = replace(prepared, emit=self._through(prepared.emit))
            try:
                reply = await call_next(watched)
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

        async def passed(delta: Delta) -> None:
            for hook in chunk_hooks:
                result = await self._attempt(hook, delta, failed=delta)
                if result is None:
                    return
                if isinstance(result, Delta):
                    delta = result
                else:
                    await self._wrong(hook, result)
            self.shown = self.context.kind == "stream"
            await emit(delta)

        return passed

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
            message = f"plugin {hook.plugin!r} failed in {hook.name} and is critical"
            raise RequestRefused(message)
        return failed

    async def _wrong(self, hook: Hook, result: object) -> None:
        message = f"{hook} returned {type(result).__name__}"
        await self.funnel.report(hook, HookTypeError(message))
