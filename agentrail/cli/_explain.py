"""``agentrail explain``: every hook of an application, and who runs it in which order and why."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agentrail.cli._load import load_app
from agentrail.hook import HOOKS, Hook, Kind
from agentrail.host import Composition

_COMPOSED = {
    "start": "one by one",
    "stop": "one by one, in reverse",
    "context_providers": "all at once, merged in order",
    "after_response": "a pipeline, in reverse",
    "after_tool_call": "a pipeline, in reverse",
    Kind.OBSERVE: "one by one",
    Kind.DECIDE: "until one answers",
    Kind.CONTRIBUTE: "all, joined in order",
    Kind.MODEL: "a pipeline",
    Kind.TOOL: "a pipeline",
}

_REVERSED = ("stop", "after_response", "after_tool_call")


def explain(spec: str, data_dir: Path | None) -> None:
    """Print how an application is composed; nothing of it is started.

    Raises:
        ConfigError: the application cannot be loaded.
    """
    composition = load_app(spec, data_dir).host.composition
    console = Console(highlight=False)
    for line in (*_hooks(composition), *_agents(composition), *_routes(composition)):
        console.print(line, soft_wrap=True)


def _hooks(composition: Composition) -> Iterator[Text]:
    yield Text("Hooks, in the order in which a turn comes by them", style="bold")
    for name, spec in HOOKS.items():
        hooks = list(_who(name, composition))
        if not hooks:
            yield Text(f"  {name}: nobody", style="dim")
            continue
        composed = _COMPOSED.get(name) or _COMPOSED[spec.kind]
        yield Text.assemble("  ", (name, "cyan"), f": {composed}")
        for number, (hook, why) in enumerate(hooks, 1):
            yield Text.assemble(
                f"    {number}. ",
                (hook.plugin, "green"),
                f": {why}; {hook.deadline:g} s; a failure {_failure(hook)}",
            )


def _who(name: str, composition: Composition) -> Iterator[tuple[Hook, str]]:
    """Yield the hooks of a name as they run, and why each one is where it is."""
    if name == "context_providers":
        for served in composition.agents.values():
            for hook in served.providers:
                if hook.position < 0:
                    yield hook, "the profile's own come first"
    hooks = composition.hooks[name]
    for hook in reversed(hooks) if name in _REVERSED else hooks:
        plugin = composition.hooks.plugins[hook.position]
        priority = getattr(plugin, "priority", 0)
        why = f"priority {priority}, " if priority else ""
        yield hook, f"{why}place {hook.position + 1} of {len(composition.hooks.plugins)} plugins"


def _failure(hook: Hook) -> str:
    if hook.name == "start":
        return "keeps the host from starting"
    if hook.name == "before_tool_call":
        return "denies the call"
    if hook.critical and HOOKS[hook.name].kind in {Kind.DECIDE, Kind.MODEL}:
        return "refuses the request"
    return "is reported"


def _agents(composition: Composition) -> Iterator[Text]:
    yield Text("\nProfiles", style="bold")
    for agent_id, served in composition.agents.items():
        limits = served.profile.limits
        tools = ", ".join(spec.name for spec in served.agent.request.tools) or "none"
        yield Text.assemble(
            "  ",
            (agent_id, "green"),
            " (default)" if agent_id == composition.default_agent else "",
            f": {served.reference}; tools: {tools}; at most {limits.steps} steps, "
            f"{limits.seconds:g} s",
        )


def _routes(composition: Composition) -> Iterator[Text]:
    yield Text("\nRoutes", style="bold")
    for route in composition.routes:
        public = "; open to everybody" if route.public else ""
        yield Text.assemble("  ", " ".join(route.methods), " ", (route.path, "cyan"), public)
