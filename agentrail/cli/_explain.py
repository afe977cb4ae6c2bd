"""``agentrail explain``: every hook of an application, and who runs it in which order and why."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agentrail.cli._load import load_app
from agentrail.hook import HOOKS, Hook, Kind
from agentrail.host import Composition

_COMPOSED = {
    Kind.LIFECYCLE: "one by one (stop: in reverse)",
    Kind.OBSERVE: "one by one",
    Kind.DECIDE: "until one answers",
    Kind.CONTRIBUTE: "all, joined in order",
    Kind.MODEL: "a pipeline",
    Kind.TOOL: "a pipeline",
}


def explain(spec: str, data_dir: Path | None) -> None:
    """Print how an application is composed; nothing of it is started.

    Raises:
        AgentrailError: the application cannot be loaded.
    """
    composition = load_app(spec, data_dir).host.composition
    console = Console()
    console.print(_hooks(composition))
    console.print(_agents(composition))
    console.print(_routes(composition))


def _hooks(composition: Composition) -> Table:
    table = Table("hook", "composed", "#", "who", "why here", "deadline", "when it fails")
    table.title = "Hooks, in the order in which a turn comes by them"
    for name, spec in HOOKS.items():
        rows = list(_rows(name, composition))
        if not rows:
            table.add_row(f"[dim]{name}[/dim]", "[dim]nobody[/dim]")
        for number, (who, why, hook) in enumerate(rows, 1):
            first = number == 1
            table.add_row(
                name if first else "",
                _COMPOSED[spec.kind] if first else "",
                str(number),
                who,
                why,
                f"{hook.deadline:g} s",
                _failure(hook),
            )
    return table


def _rows(name: str, composition: Composition) -> Iterable[tuple[str, str, Hook]]:
    if name == "context_providers":
        for served in composition.agents.values():
            for hook in served.providers:
                if hook.position < 0:
                    yield hook.plugin, "the profile's own come first", hook
    hooks = composition.hooks[name]
    for hook in reversed(hooks) if name == "stop" else hooks:
        plugin = composition.hooks.plugins[hook.position]
        priority = getattr(plugin, "priority", 0)
        why = f"priority {priority}, " if priority else ""
        yield hook.plugin, f"{why}place {hook.position + 1} of the plugins", hook


def _failure(hook: Hook) -> str:
    if hook.name == "start":
        return "the host does not start"
    if hook.name == "before_tool_call":
        return "the call is denied"
    if hook.critical and HOOKS[hook.name].kind in {Kind.DECIDE, Kind.MODEL}:
        return "the request is refused"
    return "reported, left out"


def _agents(composition: Composition) -> Table:
    table = Table("agent", "model", "tools", "steps", "seconds", title="Profiles")
    for agent_id, served in composition.agents.items():
        table.add_row(
            agent_id + (" (default)" if agent_id == composition.default_agent else ""),
            str(served.reference),
            ", ".join(spec.name for spec in served.request.tools) or "–",
            str(served.profile.limits.steps),
            f"{served.profile.limits.seconds:g}",
        )
    return table


def _routes(composition: Composition) -> Table:
    table = Table("methods", "path", "served to", title="Routes")
    for route in composition.routes:
        table.add_row(
            " ".join(route.methods), route.path, "everybody" if route.public else "principals"
        )
    return table
