"""From plugins to ready-made tuples of hooks: order, checks, near-miss names.  No I/O."""

import difflib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import NoneType
from typing import Final, Literal, cast

from attrs import field, frozen

from agentrail.hook._contract import Fallback, Plugin, Policy, Tool
from agentrail.hook._spec import ATTRIBUTES, HOOKS, POLICIES, Kind
from agentrail.messages import ToolResult
from agentrail.requests import Delta, ModelReply, ModelRequest

SEAMS = tuple(name for name, spec in HOOKS.items() if spec.kind in {Kind.MODEL, Kind.TOOL})
"""The hooks around model calls and tool calls, which have a policy for their failures."""

_STAND_INS: Final[Mapping[str, tuple[type, ...]]] = {
    "before_request": (ModelRequest, ModelReply),
    "on_chunk": (Delta,),
    "after_response": (ModelReply,),
    "on_error": (ModelReply,),
    "before_tool_call": (ToolResult,),
    "after_tool_call": (ToolResult,),
}
"""What a fallback of each of them may be, besides None and a plugin's name."""

_HOOK_LIKE = re.compile(r"(on|before|after|intercept)_")
_NEAR = 0.82
"""How like a hook's name a function's name must be to be taken for a slip of the pen."""

_NEARER = 0.92
"""The same for what is no function: a flag named ``started`` is nobody's mistake."""


@frozen(slots=True, eq=False)
class Hook:
    """One hook of one plugin, ready to be called."""

    name: str
    plugin: str
    call: Callable[..., Awaitable[object]] = field(repr=False)
    """The hook itself; what a sync one returns may be no awaitable (see ``invoke``)."""
    is_async: bool
    deadline: float
    critical: bool = False
    policy: Policy | Literal["deny"] = "skip"
    """What its failure means, for a hook around model calls or tool calls."""
    version: str = ""
    position: int = 0
    """The plugin's place in the order, from 0; the profile's own providers stand before it."""

    def __str__(self) -> str:
        """Return who and what, for messages: ``plugin.hook``."""
        return f"{self.plugin}.{self.name}"

    async def invoke(self, *arguments: object) -> object:
        """Call the hook, whether it is sync or async."""
        result = self.call(*arguments)
        return await result if hasattr(result, "__await__") else result


@frozen(slots=True)
class HookTable:
    """The hooks of all plugins, by hook, each in plugin order; an absent hook is an empty tuple."""

    plugins: tuple[Plugin, ...] = ()
    by_name: Mapping[str, tuple[Hook, ...]] = field(factory=dict[str, tuple[Hook, ...]])
    tools: tuple[tuple[str, Tool], ...] = ()
    """The plugins' tools in plugin order, each with its plugin's name."""
    has_seams: bool = False
    """Whether any hook runs around model calls or tool calls."""

    def __getitem__(self, name: str) -> tuple[Hook, ...]:
        """Return the hooks of one name."""
        return self.by_name.get(name, ())

    def plugin(self, name: str) -> Plugin | None:
        """Return the plugin of a name."""
        return next((plugin for plugin in self.plugins if plugin.name == name), None)


def in_order(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Return the plugins as they are called: as given, those of higher priority first."""
    return tuple(sorted(plugins, key=lambda plugin: -_number(plugin, "priority")))


def compile_hooks(plugins: Iterable[Plugin]) -> tuple[HookTable, tuple[str, ...]]:
    """Return the table of the plugins' hooks, and every fault that was found in them."""
    ordered = in_order(plugins)
    faults: list[str] = []
    by_name: dict[str, list[Hook]] = {}
    tools: list[tuple[str, Tool]] = []
    seen: set[str] = set()
    for position, plugin in enumerate(ordered):
        name = getattr(plugin, "name", None)
        if not isinstance(name, str) or not name.strip():
            faults.append(f"{plugin!r} is no plugin: it needs a 'name' (a non-empty string)")
            continue
        if name in seen:
            faults.append(f"two plugins are named {name!r}: give one of them another name")
        seen.add(name)
        faults.extend(f"plugin {name!r}: {fault}" for fault in _member_faults(plugin))
        for hook in _hooks_of(plugin, position, faults):
            by_name.setdefault(hook.name, []).append(hook)
        tools.extend((name, tool) for tool in _tools_of(plugin, faults))
    table = {name: tuple(hooks) for name, hooks in by_name.items()}
    faults.extend(_fallback_faults(table))
    seams = not table.keys().isdisjoint(SEAMS)
    return HookTable(ordered, table, tuple(tools), seams), tuple(faults)


def provider_hooks(
    owner: str, providers: Sequence[object], position: int = -1
) -> tuple[tuple[Hook, ...], tuple[str, ...]]:
    """Return context providers as hooks, and what is wrong with them."""
    faults: list[str] = []
    hooks = [
        _hook(owner, "context_providers", provider, position=position)
        for provider in providers
        if _takes(provider, "context_providers", f"{owner}: a context provider", faults)
    ]
    return tuple(hooks), tuple(faults)


def _hooks_of(plugin: Plugin, position: int, faults: list[str]) -> Iterable[Hook]:
    """Yield the plugin's hooks; say what is wrong with those that are left out."""
    for name in HOOKS:
        member = getattr(plugin, name, None)
        if member is None:
            continue
        where = f"plugin {plugin.name!r}: {name}"
        if name != "context_providers":
            members: Sequence[object] = (member,)
        elif isinstance(member, Sequence) and not isinstance(member, str):
            members = cast("Sequence[object]", member)
        else:
            faults.append(f"{where} must be a sequence of context providers")
            continue
        for each in members:
            if _takes(each, name, where, faults):
                yield _hook(plugin.name, name, each, plugin=plugin, position=position)


def _hook(
    owner: str, name: str, call: object, *, plugin: Plugin | None = None, position: int
) -> Hook:
    seconds = _deadlines(plugin).get(name)
    return Hook(
        name=name,
        plugin=owner,
        call=cast("Callable[..., Awaitable[object]]", call),
        is_async=_is_async(call),
        deadline=float(seconds) if isinstance(seconds, int | float) else HOOKS[name].deadline,
        critical=bool(getattr(plugin, "critical", False)),
        policy=_policy(plugin, name),
        version=str(getattr(plugin, "version", "")),
        position=position,
    )


def _is_async(call: object) -> bool:
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - not a test for callability
    )


def _takes(member: object, name: str, where: str, faults: list[str]) -> bool:
    """Tell whether ``member`` can be called as the hook ``name``; add the fault if not."""
    parameters = HOOKS[name].parameters
    if not callable(member):
        faults.append(f"{where} must be a function, not {type(member).__name__}")
        return False
    try:
        inspect.signature(member).bind(*parameters)
    except TypeError:
        faults.append(f"{where} must take ({', '.join(parameters)})")
        return False
    except ValueError:  # no signature to be had, as for some functions written in C
        return True
    return True


def _tools_of(plugin: Plugin, faults: list[str]) -> Iterable[Tool]:
    tools: object = getattr(plugin, "tools", None) or ()
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        faults.append(f"plugin {plugin.name!r}: tools must be a sequence of tools")
        return
    for tool in cast("Sequence[object]", tools):
        if isinstance(tool, Tool):
            yield tool
        else:
            faults.append(f"plugin {plugin.name!r}: {tool!r} is no tool: decorate it with @tool")


def _member_faults(plugin: Plugin) -> Iterable[str]:
    """Yield what is wrong with the plugin's attributes and with the names of its members."""
    if not isinstance(getattr(plugin, "priority", 0), int | float):
        yield "priority must be a number"
    if not isinstance(getattr(plugin, "deadlines", {}), Mapping):
        yield "deadlines must be a mapping from hook names to seconds"
    yield from _deadline_faults(_deadlines(plugin))
    yield from _policy_faults(getattr(plugin, "on_failure", {}))
    known = HOOKS.keys() | ATTRIBUTES
    for member in dir(plugin):
        if member.startswith("_") or member in known:
            continue
        # Looked up without being read: a property may not be ready before ``start``.
        function = callable(inspect.getattr_static(plugin, member, None))
        meant = _meant(_snake(member), known, _NEAR if function else _NEARER)
        if meant or _HOOK_LIKE.match(_snake(member)):
            yield f"{member!r} looks like a hook and is none{meant}"


def _deadlines(plugin: Plugin | None) -> Mapping[object, object]:
    deadlines: object = getattr(plugin, "deadlines", None)
    is_mapping = isinstance(deadlines, Mapping)
    return cast("Mapping[object, object]", deadlines) if is_mapping else {}


def _deadline_faults(deadlines: Mapping[object, object]) -> Iterable[str]:
    for name, seconds in deadlines.items():
        if name not in HOOKS:
            yield f"deadlines names no hook: {name!r}{_meant(str(name), HOOKS)}"
        elif not isinstance(seconds, int | float) or seconds <= 0:
            yield f"the deadline of {name!r} must be a number of seconds over 0, not {seconds!r}"


def _policy(plugin: Plugin | None, name: str) -> Policy | Literal["deny"]:
    declared: object = getattr(plugin, "on_failure", None)
    if isinstance(declared, Mapping) and name in declared:
        return cast("Mapping[str, Policy]", declared)[name]
    if name == "before_tool_call":
        return "deny"
    return "abort" if getattr(plugin, "critical", False) else "skip"


def _policy_faults(declared: object) -> Iterable[str]:
    if not isinstance(declared, Mapping):
        yield "on_failure must be a mapping from hook names to policies"
        return
    for name, policy in cast("Mapping[object, object]", declared).items():
        if name not in SEAMS:
            yield f"on_failure is for {', '.join(SEAMS)}, not for {name!r}"
        elif policy not in POLICIES and not isinstance(policy, Fallback):
            yield f"on_failure of {name!r} must be 'abort', 'skip' or fallback(...), not {policy!r}"
        elif isinstance(policy, Fallback):
            kinds = _STAND_INS[str(name)]
            if not isinstance(policy.value, (str, NoneType, *kinds)):
                known = " or ".join(["the name of a plugin", *(kind.__name__ for kind in kinds)])
                yield f"{name!r} can fall back on {known}, not on {policy.value!r}"


def _fallback_faults(table: Mapping[str, Sequence[Hook]]) -> Iterable[str]:
    for hook in (hook for hooks in table.values() for hook in hooks):
        if isinstance(hook.policy, Fallback) and isinstance(hook.policy.value, str):
            others = [other.plugin for other in table[hook.name] if other.plugin != hook.plugin]
            if hook.policy.value not in others:
                yield f"{hook} falls back on {hook.policy.value!r}, which has no {hook.name}"


def _meant(name: str, known: Iterable[str], cutoff: float = _NEAR) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _number(plugin: Plugin, attribute: str) -> float:
    value = getattr(plugin, attribute, 0)
    return value if isinstance(value, int | float) else 0
