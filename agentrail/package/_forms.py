"""From what a package's entry point names to a plugin: one adapter for each way to write one."""

import difflib
import inspect
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Final, cast

from attrs import frozen

from agentrail.errors import ConfigError
from agentrail.hook import HOOKS, Plugin, Tool
from agentrail.messages import Message, ToolSpec
from agentrail.package._context import PluginContext
from agentrail.package._manifest import DeclaredTool, Manifest
from agentrail.package._tools import SchemaTool, function_spec, table_of
from agentrail.plugin import Members, define_plugin
from agentrail.requests import RequestContext
from agentrail.tool import call_function

_CALLS: Final = ("execute", "run", "call")
"""What the method of a tool's class may be named."""

_CARRIED: Final = ("priority", "critical", "deadlines", "on_failure")

_FORMS: Final = ("tools", "get_tools", "on_activate", "execute")
"""What an object has that is a plugin by another form than by its hooks."""

_KNOWN: Final = frozenset({*HOOKS, *_FORMS})

_NEAR: Final = 0.82
"""How like a hook's name a member's must be to be taken for a slip of the pen."""


@frozen(slots=True)
class ExecutionContext:
    """What ``execute`` of a plugin is given that runs before the model is asked."""

    user_id: str
    channel_id: str
    """Through which door the request came."""
    session_id: str
    input_data: Mapping[str, object]
    """The message, as ``user_message``."""
    parameters: Mapping[str, object]
    environment: Mapping[str, str]
    config: Mapping[str, object]
    """What the package may know of its configuration."""


async def make_plugin(target: object, context: PluginContext) -> Plugin:
    """Return the plugin that an entry point yields, under the package's id.

    ``target`` is the module or the attribute that the manifest names:

    - a class or a function, which is called, with the ``PluginContext`` if it needs an argument;
      what it returns, or is, has the members of a plugin;
    - a module with ``get_tools()``;
    - an object with ``on_activate(context)``, ``get_tools()`` and ``handle_…`` methods;
    - an object with ``execute(context)``, whose result is told to the model in each turn;
    - an object with ``execute``, ``run`` or ``call``, where the manifest declares one tool;
    - a tool.

    What of it is sync runs in a worker thread, hooks excepted.

    Raises:
        ConfigError: it is none of these.
    """
    manifest = context.manifest
    made = await _made(target, context)
    _check_names(made, manifest)
    activate = getattr(made, "on_activate", None)
    if callable(activate):
        await _called(activate, context)
    members = _members(made)
    tools = [*await _tools_of(made, context), *_declared(made, manifest)]
    execute: object = getattr(made, "execute", None)
    if callable(execute) and not tools and "context_providers" not in members:
        members["context_providers"] = [_told(execute, context)]
    _lifecycle(made, members, context)
    if not tools and not any(name in HOOKS for name in members):
        message = (
            f"package {manifest.id!r}: {_named(target)} has no hooks, no tools and no execute(): "
            "see docs/reference/package.md for what an entry point may be"
        )
        raise ConfigError(message)
    members["tools"] = [_Namespaced(manifest, tool) for tool in tools]
    members["version"] = str(manifest.version)
    return define_plugin(manifest.id, **cast("Members", members))


async def _made(target: object, context: PluginContext) -> object:
    """Return the object behind a class or a factory."""
    if isinstance(target, ModuleType) or not callable(target):
        return target
    if not inspect.isclass(target) and (isinstance(target, Tool) or _has_members(target)):
        return target
    return await _called(target, context)


def _has_members(target: object) -> bool:
    return any(hasattr(target, name) for name in _KNOWN)


def _check_names(made: object, manifest: Manifest) -> None:
    """Return when no member is named almost as a hook, and so would never be called."""
    for name in dir(made):
        if name.startswith(("on_", "before_", "after_", "intercept_")) and name not in _KNOWN:
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=_NEAR)
            if near and callable(getattr(made, name)):
                message = (
                    f"package {manifest.id!r}: {name!r} looks like a hook and is none; "
                    f"did you mean {near[0]!r}?"
                )
                raise ConfigError(message)


def _members(made: object) -> dict[str, object]:
    """Return the members of the plugin contract that an object has."""
    found: dict[str, object] = {}
    for name in (*HOOKS, *_CARRIED):
        value: object = getattr(made, name, None)
        if value is not None:
            found[name] = value
    return found


async def _tools_of(made: object, context: PluginContext) -> Sequence[Tool]:
    tools: list[Tool] = [made] if isinstance(made, Tool) else []
    for tool in _listed(made):
        if not isinstance(tool, Tool):
            message = (
                f"package {context.manifest.id!r}: {tool!r} is no tool: decorate it with @tool"
            )
            raise ConfigError(message)
        tools.append(tool)
    get_tools = getattr(made, "get_tools", None)
    if not callable(get_tools):
        return tools
    listed = await _called(get_tools, context)
    if not isinstance(listed, Sequence):
        message = f"package {context.manifest.id!r}: get_tools() must return a list of tools"
        raise ConfigError(message)
    for each in cast("Sequence[object]", listed):
        found = each if isinstance(each, Tool) else _schema_tool(made, each, context)
        tools.append(found)
    return tools


def _listed(made: object) -> Sequence[object]:
    """Return what an object lists as its tools; a module's ``tools`` may be a module too."""
    tools: object = getattr(made, "tools", None)
    return cast("Sequence[object]", tools) if isinstance(tools, Sequence) else ()


def _schema_tool(made: object, each: object, context: PluginContext) -> Tool:
    table = table_of(each)
    where = f"package {context.manifest.id!r}: a tool of get_tools()"
    spec = function_spec(table.get("schema", table), where)
    handler: object = table.get("handler") or getattr(made, f"handle_{spec.name}", None)
    if not callable(handler):
        message = f"{where}: {spec.name!r} has neither a handler nor a method handle_{spec.name}"
        raise ConfigError(message)
    return SchemaTool(spec, handler, context.manifest.resources.seconds)


def _declared(made: object, manifest: Manifest) -> Iterable[Tool]:
    """Yield the tools that the manifest declares and the object does not list by itself."""
    if isinstance(made, Tool) or callable(getattr(made, "get_tools", None)) or _listed(made):
        return
    for declared in manifest.tools:
        function = _function_of(made, declared, alone=len(manifest.tools) == 1)
        spec = ToolSpec(
            name=declared.name,
            description=declared.description,
            parameters=dict(declared.parameters) or {"type": "object", "properties": {}},
        )
        yield SchemaTool(spec, function, manifest.resources.seconds)


def _function_of(made: object, tool: DeclaredTool, *, alone: bool) -> Callable[..., object]:
    names = [f"handle_{tool.name}", tool.name, *(_CALLS if alone else ())]
    for name in names:
        found: object = getattr(made, name, None)
        if callable(found):
            return found
    if alone and callable(made):
        return made
    message = f"tool {tool.name!r} is declared, and {_named(made)} has no {' or '.join(names)}"
    raise ConfigError(message)


def _told(
    execute: Callable[..., object], context: PluginContext
) -> Callable[..., Awaitable[Sequence[Message]]]:
    """Return the context provider that runs ``execute`` and tells the model what came of it."""
    name = context.manifest.name

    async def provide(request: RequestContext, messages: Sequence[Message]) -> Sequence[Message]:
        given = ExecutionContext(
            user_id=request.user_id,
            channel_id=request.transport,
            session_id=request.session_id,
            input_data={"user_message": messages[-1].text if messages else ""},
            parameters={},
            environment={},
            config=context.config,
        )
        began = time.monotonic()
        result = await _called(execute, given)
        took = time.monotonic() - began
        if result is None:
            return ()
        text = (
            f"=== Plugin Execution Results ===\n\n[{name}]\nStatus: Success\n"
            f"Result: {_as_json(result)}\nExecution Time: {took:.1f}s"
        )
        # Half a character, as from the name of a file, cannot be sent to any model.
        return (Message.system(text.encode(errors="replace").decode()),)

    return provide


def _lifecycle(made: object, members: dict[str, object], context: PluginContext) -> None:
    """Take what older plugins call their start and stop."""
    for old, new in (("initialize", "start"), ("cleanup", "stop"), ("on_deactivate", "stop")):
        hook: object = getattr(made, old, None)
        if callable(hook) and new not in members:
            members[new] = partial(_called, hook, context) if _takes_one(hook) else hook


async def _called(function: Callable[..., object], argument: object) -> object:
    """Call a function, with the argument if it needs one; a sync one runs in a worker thread."""
    is_async = inspect.iscoroutinefunction(function)
    call = partial(function, argument) if _takes_one(function) else function
    return await call_function(call, {}, is_async=is_async)


def _takes_one(function: Callable[..., object]) -> bool:
    """Tell whether a function needs an argument, or has a place for a context."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # as for some functions written in C
        return False
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    return bool(positional) and (
        positional[0].default is inspect.Parameter.empty or positional[0].name in _CONTEXTS
    )


_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_CONTEXTS: Final = ("context", "ctx")


def _as_json(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _named(target: object) -> str:
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    return f"{name or type(target).__qualname__!s}"


def tool_name(package: str, tool: str) -> str:
    """Return the name that the model knows a package's tool by."""
    return f"{package}__{tool}"


class _Namespaced:
    """A tool under its package's name, which two packages cannot share."""

    def __init__(self, manifest: Manifest, tool: Tool) -> None:
        spec = tool.spec
        self.spec = ToolSpec(
            name=tool_name(manifest.id, spec.name),
            description=spec.description,
            parameters=spec.parameters,
        )
        self.timeout: float | None = getattr(tool, "timeout", None)
        self.concurrent: bool = getattr(tool, "concurrent", False)
        self.origin = manifest.origin
        self._tool = tool

    async def call(self, arguments: Mapping[str, object], context: RequestContext, /) -> object:
        return await self._tool.call(arguments, context)
