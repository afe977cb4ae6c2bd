"""What becomes of a model call or a tool call when a plugin's hook around it fails."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from types import NoneType
from typing import Final

from agentrail.errors import HookTypeError, RequestRefused
from agentrail.hook._contract import Fallback
from agentrail.hook._order import Hook
from agentrail.hook._run import Funnel


class Failed(Enum):
    """The one value that no hook returns: it failed, and nothing stands in for its answer."""

    FAILED = auto()


FAILED: Final = Failed.FAILED

Check = Callable[[Hook, object], object]
"""Returns what is taken of a hook's result, or raises ``HookTypeError``."""


async def attempt(
    funnel: Funnel,
    peers: Sequence[Hook],
    hook: Hook,
    expected: tuple[type[object], ...],
    *arguments: object,
    check: Check | None = None,
) -> object:
    """Return what a hook returns: None, or one of the expected types.

    When it fails, or returns something else or what ``check`` refuses, the failure is reported and
    its policy decides: ``skip`` and ``deny`` give ``FAILED``, a fallback its value, or what the
    named plugin's hook returns.

    Args:
        funnel: calls the hooks and reports failures.
        peers: the hooks of the same name, of all plugins.
        hook: the one to call.
        expected: what it may return besides None.
        arguments: what it is called with.
        check: looks at what it returned, and at what stands in for that.

    Raises:
        RequestRefused: its policy is ``abort``.
    """
    result = await _call(funnel, hook, expected, arguments, check)
    if result is not FAILED:
        return result
    if isinstance(hook.policy, Fallback):
        value = hook.policy.value
        if not isinstance(value, str):
            return await _checked(funnel, hook, value, check)
        (peer,) = [peer for peer in peers if peer.plugin == value]
        return await _call(funnel, peer, expected, arguments, check)
    if hook.policy == "abort":
        raise RequestRefused(f"plugin {hook.plugin!r} failed in {hook.name}, which must not fail")
    return FAILED


async def _call(
    funnel: Funnel,
    hook: Hook,
    expected: tuple[type[object], ...],
    arguments: tuple[object, ...],
    check: Check | None,
) -> object:
    kinds = (*expected, NoneType)
    called = await funnel.collect((hook,), kinds, *arguments, check=check)
    return called[0][1] if called else FAILED


async def _checked(funnel: Funnel, hook: Hook, value: object, check: Check | None) -> object:
    """Return what is taken of a value that stands in."""
    try:
        return value if check is None else check(hook, value)
    except HookTypeError as error:
        await funnel.report(hook, error)
        return FAILED
