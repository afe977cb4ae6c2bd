"""``agentrail explain``: every hook of an application, and who runs it in which order and why."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agentrail.cli._console import print_table
from agentrail.cli._load import load_app
from agentrail.hook import COVERAGE, HOOKS, Fallback, Hook, Kind
from agentrail.host import AppConfig, Composition, Served
from agentrail.tool import Rule

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


def explain(spec: str, data_dir: Path | None, *, coverage: bool = False) -> None:
    """Print how an application is composed; nothing of it is started.

    With ``coverage``, print which hooks run on which path, and which plugins have them.

    Raises:
        ConfigError: the application cannot be loaded.
    """
    host = load_app(spec, data_dir).host
    composition, console = host.composition, Console(highlight=False)
    if coverage:
        _print_coverage(composition)
        console.print()
        paths = [(name, path.description) for name, path in COVERAGE.items()]
        print_table(["path", "when"], paths)
        return
    agents = _agents(composition, host.core.config)
    for line in (*_hooks(composition), *agents, *_routes(composition)):
        console.print(line, soft_wrap=True)


def _print_coverage(composition: Composition) -> None:
    """Print the table of paths and hooks; what is no plugin's hook here is dim."""
    names = [name for name, spec in HOOKS.items() if spec.kind is not Kind.LIFECYCLE]
    plugins = {name: ", ".join(hook.plugin for hook in composition.hooks[name]) for name in names}
    rows = [
        (
            name,
            *("runs" if name in path.hooks else "-" for path in COVERAGE.values()),
            plugins[name] or "nobody",
        )
        for name in names
    ]
    idle = [name for name in names if not plugins[name]]
    print_table(["hook", *COVERAGE, "plugins"], rows, dim=idle)


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
    if isinstance(hook.policy, Fallback):
        return "has a fallback"
    if HOOKS[hook.name].kind in {Kind.MODEL, Kind.TOOL}:
        return {"deny": "denies the call", "abort": "refuses the request"}.get(
            hook.policy, "is reported"
        )
    refuses = hook.critical and HOOKS[hook.name].kind is Kind.DECIDE
    return "refuses the request" if refuses else "is reported"


def _agents(composition: Composition, config: AppConfig) -> Iterator[Text]:
    yield Text("\nProfiles", style="bold")
    for agent_id, served in composition.agents.items():
        default = " (default)" if agent_id == composition.default_agent else ""
        yield Text.assemble("  ", (agent_id, "green"), default)
        for what, told in _profile(served, config):
            yield Text(f"    {what}: {told}")


def _profile(served: Served, config: AppConfig) -> Iterator[tuple[str, str]]:
    profile, limits = served.profile, served.profile.limits
    yield "model", ", then ".join([profile.model, *profile.fallbacks])
    yield "context window", f"{profile.context_window} tokens"
    yield "model middleware", _names(config.model_middleware, "model")
    yield "tools", ", ".join(spec.name for spec in served.agent.request.tools) or "none"
    yield "tool middleware", _names(config.tool_middleware, "tool")
    yield "permissions", _permissions(profile.permissions)
    output = served.agent.output
    yield "output", output.spec.name if output else "text"
    yield "limits", f"at most {limits.steps} steps, {limits.seconds:g} s"


def _names(middleware: Iterable[object], seam: str) -> str:
    """Return the names of middleware, outermost first: of the function or class behind each."""
    return ", ".join(_name(each, seam) for each in middleware) or "none"


def _name(middleware: object, seam: str) -> str:
    wrapped = getattr(middleware, seam, None)  # one for both seams has one for each
    made = wrapped if callable(wrapped) else middleware
    while isinstance(made, partial):
        made = made.func
    qualified: str = getattr(made, "__qualname__", type(made).__qualname__)
    name = qualified.partition(".")[0]
    named: object = getattr(getattr(made, "__self__", None), "name", None)
    if isinstance(named, str):
        return named
    return name.lstrip("_").lower() if name.startswith("_") else name


def _permissions(rules: Sequence[Rule]) -> str:
    told: list[str] = []
    for rule in rules:
        patterns = "".join(f" {name}={pattern}" for name, pattern in rule.arguments.items())
        reason = f" ({rule.reason})" if rule.reason else ""
        told.append(f"{rule.verdict} {rule.tool}{patterns}{reason}")
    return ", ".join(told) or "every call is allowed"


def _routes(composition: Composition) -> Iterator[Text]:
    yield Text("\nRoutes", style="bold")
    for route in composition.routes:
        public = "; open to everybody" if route.public else ""
        yield Text.assemble("  ", " ".join(route.methods), " ", (route.path, "cyan"), public)
