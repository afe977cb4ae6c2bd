"""A tool made of a typed function."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, ParamSpec, TypeVar, cast, overload

import anyio.to_thread
import msgspec
from msgspec import UNSET

from agentrail.errors import ConfigError, ToolArgumentsInvalid
from agentrail.messages import ToolSpec
from agentrail.requests import RequestContext
from agentrail.tool._signature import read_signature
from agentrail.tool._toolset import name_fault

P = ParamSpec("P")
R = TypeVar("R")


class FunctionTool(Generic[P, R]):
    """A tool that calls a function; called directly, it is that function.

    Attributes:
        spec: what the model is told about it.
        timeout: seconds that a call may take; None means the profile's limit.
        concurrent: whether a call may run beside other such calls.
    """

    __name__: str
    __wrapped__: Callable[P, R]

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        timeout: float | None = None,
        concurrent: bool = False,
    ) -> None:
        signature = read_signature(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigError(f"{signature.where} is a generator, but a tool returns one result")
        functools.update_wrapper(self, function)
        self.timeout = timeout
        self.concurrent = concurrent
        self.spec = ToolSpec(
            name=function.__name__ if name is None else name,
            description=signature.description,
            parameters=signature.schema,
        )
        if fault := name_fault(self.spec.name):
            raise ConfigError(f"{signature.where}: {fault}")
        self._function: Callable[..., object] = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._arguments = signature.arguments
        self._contexts = signature.contexts

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without any check."""
        return self.__wrapped__(*args, **kwargs)

    async def call(self, arguments: Mapping[str, object], context: RequestContext) -> object:
        """Check the model's arguments, and call the function with them.

        A sync function runs in a worker thread.  A call that is cancelled, as by its deadline,
        returns at once; the thread cannot be stopped and is busy until the function returns.

        Raises:
            ToolArgumentsInvalid: the arguments do not fit; its text lists every fault.
        """
        try:
            checked = msgspec.convert(arguments, self._arguments, str_keys=True)
        except msgspec.ValidationError as error:
            raise ToolArgumentsInvalid(self._faults(arguments)) from error
        given: dict[str, object] = {
            name: value
            for name in self._arguments.__struct_fields__
            if (value := getattr(checked, name)) is not UNSET
        }
        for name in self._contexts:
            given[name] = context
        return await call_function(self._function, given, is_async=self._is_async)

    def _faults(self, arguments: Mapping[str, object]) -> str:
        """Return all faults in msgspec's words, which by itself stops at the first one."""
        faults: list[str] = []
        fields = msgspec.structs.fields(self._arguments)
        for field in fields:
            given = {key: value for key, value in arguments.items() if key == field.name}
            if given or field.required:
                alone = msgspec.defstruct(field.name, [(field.name, field.type)])
                try:
                    msgspec.convert(given, alone, str_keys=True)
                except msgspec.ValidationError as error:
                    faults.append(str(error))
        known = [field.name for field in fields]
        strangers = [key for key in arguments if key not in known]
        faults += [f"Object contains unknown field `{key}`" for key in strangers]
        takes = ", ".join(known) or "no arguments"
        listed = "".join(f"\n- {fault}" for fault in faults)
        return f"invalid arguments for {self.spec.name}, which takes {takes}:{listed}"


async def call_function(
    function: Callable[..., object], arguments: Mapping[str, object], *, is_async: bool
) -> object:
    """Return what a function returns, awaited if need be; a sync one runs in a worker thread."""
    result: object
    if is_async:
        result = function(**arguments)
    else:
        # In a tuple, because trio lets no coroutine out of a thread.
        (result,) = await anyio.to_thread.run_sync(
            lambda: (function(**arguments),), abandon_on_cancel=True
        )
    if isinstance(result, Awaitable):
        return await cast("Awaitable[object]", result)
    return result


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, timeout: float | None = None, concurrent: bool = False
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    concurrent: bool = False,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Return a tool made of the function; given only options, return what makes it.

    The annotations become the JSON Schema, the docstring's first paragraph the description, and
    its ``Args:`` section (Google style) the descriptions of the parameters.  A parameter annotated
    ``RequestContext`` is given the request's context, and the model does not see it.

    Args:
        function: a function, sync or async; a sync one runs in a worker thread.
        name: the tool's name; by default the function's.
        timeout: seconds that a call may take; by default the profile's limit.
        concurrent: whether calls of one model message may run at the same time as its neighbors
            that may too; say so of a tool that reads, or whose effects do not meet.

    Raises:
        ConfigError: the function cannot be a tool as it is; says why.
    """
    if function is not None:
        return FunctionTool(function, name=name, timeout=timeout, concurrent=concurrent)
    return functools.partial(FunctionTool[P, R], name=name, timeout=timeout, concurrent=concurrent)
