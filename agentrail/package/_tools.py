"""Tools made of a JSON Schema and a function, as packages bring them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Final, cast

from agentrail.errors import ConfigError, ToolArgumentsInvalid
from agentrail.messages import ToolSpec
from agentrail.package._schema import compile_schema, schema_fault
from agentrail.requests import RequestContext
from agentrail.tool import call_function

_ANYTHING: Final[Mapping[str, object]] = {"type": "object", "properties": {}}


class SchemaTool:
    """A tool that checks arguments against a JSON Schema and calls a function with them.

    The function gets each argument by its name; a parameter annotated ``RequestContext`` gets the
    request's context.  A sync one runs in a worker thread.

    Raises:
        ConfigError: the schema cannot be used.

    Attributes:
        spec: what the model is told.
        timeout: seconds that a call may take.
    """

    def __init__(self, spec: ToolSpec, function: Callable[..., object], timeout: float) -> None:
        parameters = spec.parameters or _ANYTHING
        if wrong := schema_fault(parameters):
            message = f"the parameters of tool {spec.name!r}: {wrong}"
            raise ConfigError(message)
        self.spec = spec
        self.timeout = timeout
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._check = compile_schema(parameters)
        self._context = _context_parameter(function)

    async def call(self, arguments: Mapping[str, object], context: RequestContext, /) -> object:
        """Check the model's arguments, and call the function with them.

        Raises:
            ToolArgumentsInvalid: they do not fit; its text lists every fault.
        """
        if faults := self._check.faults(dict(arguments)):
            listed = "".join(f"\n- {fault}" for fault in faults)
            raise ToolArgumentsInvalid(f"invalid arguments for {self.spec.name}:{listed}")
        given: dict[str, object] = dict(arguments)
        if self._context is not None:
            given[self._context] = context
        return await call_function(self._function, given, is_async=self._is_async)


def function_spec(schema: object, where: str) -> ToolSpec:
    """Return what a function-calling schema says, with or without its ``function`` wrapper.

    Raises:
        ConfigError: it names no function.
    """
    table = table_of(schema)
    if "function" in table:
        table = table_of(table["function"])
    name, parameters = table.get("name"), table.get("parameters")
    if not isinstance(name, str) or not name:
        message = f"{where}: its schema has no name"
        raise ConfigError(message)
    description = table.get("description")
    return ToolSpec(
        name=name,
        description=description if isinstance(description, str) else "",
        parameters=dict(_ANYTHING if parameters is None else table_of(parameters)),
    )


def table_of(value: object) -> Mapping[str, object]:
    """Return a table, an empty one for anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _context_parameter(function: Callable[..., object]) -> str | None:
    parameters: Mapping[str, inspect.Parameter]
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except Exception:  # noqa: BLE001 - boundary: tool; its annotations are evaluated
        parameters = _unread(function)
    wanted = (RequestContext, RequestContext.__name__)
    return next((name for name, p in parameters.items() if p.annotation in wanted), None)


def _unread(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function with annotations that mean nothing, as written."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
