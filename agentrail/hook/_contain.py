"""What a plugin's code raises to end more than itself, made a failure of its own.

``SystemExit`` would end the process.  A cancellation that nobody asked for, as of a task that was
cancelled and then awaited, would end the caller's task and all that its task group owns.
"""

import sys
from collections.abc import Awaitable, Iterator
from typing import Final, TypeVar, cast

import anyio
import anyio.lowlevel

from agentrail.errors import HookError, unwrapped

T = TypeVar("T")

Caught = tuple[type[BaseException], ...]

_ALWAYS: Final[Caught] = (Exception, SystemExit, BaseExceptionGroup)


def thrown() -> Caught:
    """Return what to catch around a plugin's code; ``as_failure`` tells what is to pass."""
    try:
        return (*_ALWAYS, anyio.get_cancelled_exc_class())
    except anyio.NoEventLoopError:  # a coroutine is thrown away after its loop has ended
        return _ALWAYS


async def as_failure(what: object, error: BaseException, asked: int = 0) -> Exception:
    """Return what a plugin's code failed with, an ordinary error.

    Args:
        what: whose failure it is, for a message.
        error: one of ``thrown``, while it is handled.
        asked: what ``cancel_requests`` said before the code was called.

    Raises:
        BaseException: the caller's task is cancelled, or the error is none of a plugin's.
    """
    if isinstance(error, Exception):
        return error
    cancelled = anyio.get_cancelled_exc_class()
    leaves = list(_leaves(error))
    if not all(isinstance(leaf, (Exception, SystemExit, cancelled)) for leaf in leaves):
        raise error
    if any(isinstance(leaf, cancelled) for leaf in leaves):
        # What a scope has cancelled is cancelled again here; asyncio's own requests are counted.
        await anyio.lowlevel.checkpoint_if_cancelled()
        if cancel_requests() > asked:
            raise error
    return unwrapped(_ordinary(what, error))


async def contained(what: object, work: Awaitable[T], asked: int = 0) -> T:
    """Return what a plugin's code returns; what it raises is an ordinary error.

    Cancellation of the caller passes.

    Raises:
        HookError: it would have ended the process, or was cancelled by nobody but itself.
        Exception: what else it raises.
    """
    try:
        return await work
    except Exception:  # boundary: plugin - it needs no judgment
        raise
    except thrown() as error:
        raise await as_failure(what, error, asked) from error


def cancel_requests() -> int:
    """Return how often the current task was cancelled, by asyncio's count; on trio 0.

    A request that was delivered is told in no other way from an error that looks the same.
    """
    loops = sys.modules.get("asyncio")  # not imported: without it there is nothing to count
    try:
        task = None if loops is None else loops.current_task()
    except RuntimeError:  # another event loop runs
        return 0
    return 0 if task is None else cast("int", task.cancelling())


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error


def _ordinary(what: object, error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return ExceptionGroup(group.message, [_ordinary(what, each) for each in group.exceptions])
    if isinstance(error, SystemExit):
        failure = HookError(f"{what} called sys.exit(), which would end the whole host")
    else:
        failure = HookError(f"{what} was cancelled by its own code, not by the host")
    failure.__cause__ = error
    return failure
