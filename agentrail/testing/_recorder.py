"""Hooks that are written down as they are called."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import wraps
from inspect import isawaitable
from types import TracebackType
from typing import Final, Literal, cast

from attrs import define

from agentrail.hook import HOOKS, Plugin
from agentrail.requests import RequestContext

Outcome = Literal["running", "returned", "raised", "cancelled"]
"""How a call of a hook ended, or that it has not."""

Member = Callable[..., object]


@define(eq=False)
class HookCall:
    """One call of a hook; ``str`` of it is ``plugin.hook``."""

    plugin: str
    hook: str
    arguments: tuple[object, ...]
    """What the hook was called with, as ``docs/reference/plugin.md`` lists it."""
    outcome: Outcome = "running"
    result: object = None
    """What it returned."""
    error: BaseException | None = None
    """What it raised, a cancellation included."""

    def __str__(self) -> str:
        """Return who and what."""
        return f"{self.plugin}.{self.hook}"

    @property
    def context(self) -> RequestContext:
        """The request that the call was made for.

        Raises:
            LookupError: it was made for none, as ``start`` and ``stop`` are.
        """
        for argument in self.arguments:
            if isinstance(argument, RequestContext):
                return argument
        raise LookupError(f"{self} is called without a context")

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Note how it ended."""
        self.error = error
        if error is None:
            self.outcome = "returned"
        else:
            self.outcome = "raised" if isinstance(error, Exception) else "cancelled"


class HookRecorder:
    """A plugin that has every hook, changes nothing, and writes down each call.

    A hook that a subclass has as a method is called, and written down.

    Attributes:
        name: the plugin's name.
        log: the calls, in the order in which they began.

    Args:
        name: the plugin's name.
        log: the list to write to, as the ``log`` of another recorder; a new one if left out.
        hooks: the hooks that it has.
    """

    def __init__(
        self,
        name: str = "recorder",
        log: list[HookCall] | None = None,
        *,
        hooks: Collection[str] = tuple(HOOKS),
    ) -> None:
        self.name = name
        self.log: list[HookCall] = [] if log is None else log
        for hook in hooks:
            member = self._recorded(name, hook, getattr(self, hook, _IDLE.get(hook, _nothing)))
            setattr(self, hook, [member] if hook == "context_providers" else member)

    @property
    def names(self) -> list[str]:
        """The hooks that were called, in order."""
        return [call.hook for call in self.log]

    def calls(self, hook: str, plugin: str | None = None) -> list[HookCall]:
        """Return the calls of one hook, in order: of one plugin, or of all."""
        return [call for call in self.log if call.hook == hook and plugin in {None, call.plugin}]

    def clear(self) -> None:
        """Forget what was written so far."""
        self.log.clear()

    def wrap(self, plugin: Plugin) -> Plugin:
        """Return the plugin with each call of a hook of its own written down, and how it ended."""
        return cast("Plugin", Watched(plugin, self._recorded))

    def _recorded(self, plugin: str, hook: str, member: Member) -> Member:
        """Return the hook with its calls written down: sync if it is sync, async if async."""

        def begin(arguments: tuple[object, ...]) -> HookCall:
            call = HookCall(plugin, hook, arguments)
            self.log.append(call)
            return call

        @wraps(member)
        async def wait(*arguments: object) -> object:
            call = begin(arguments)
            with call:
                call.result = await cast("Awaitable[object]", member(*arguments))
            return call.result

        async def finish(call: HookCall, result: Awaitable[object]) -> object:
            with call:
                call.result = await result
            return call.result

        @wraps(member)
        def run(*arguments: object) -> object:
            call = begin(arguments)
            with call:
                call.result = member(*arguments)
            if isawaitable(call.result):
                call.outcome = "running"
                return finish(call, call.result)
            return call.result

        return wait if inspect.iscoroutinefunction(member) else run


@define(eq=False)
class Watched:
    """A plugin whose hooks are wrapped as they are read; all else is the plugin's own."""

    _plugin: Plugin
    _wrap: Callable[[str, str, Member], Member]

    def __dir__(self) -> list[str]:
        return dir(self._plugin)

    def __getattr__(self, name: str) -> object:
        member: object = getattr(self._plugin, name)
        if name not in HOOKS or member is None:
            return member
        if name != "context_providers":
            return self._each(name, member)
        return [self._each(name, each) for each in cast("Sequence[object]", member)]

    def _each(self, name: str, member: object) -> object:
        return self._wrap(self._plugin.name, name, member) if callable(member) else member


async def _nothing(*_arguments: object) -> None:
    """Have nothing to say."""


async def _no_text(*_arguments: object) -> str:
    return ""


async def _no_messages(*_arguments: object) -> tuple[()]:
    return ()


async def _same(chunk: object, *_arguments: object) -> object:
    return chunk


_IDLE: Final[dict[str, Member]] = {
    "attachment_handler": _no_text,
    "context_providers": _no_messages,
    "on_chunk": _same,
}
"""What a hook returns that changes nothing, where that is not None."""
