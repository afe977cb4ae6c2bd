"""From an application's parts to one immutable composition."""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen

from agentrail.agent import Agent, Output
from agentrail.errors import CompositionError, ConfigError, InvalidId
from agentrail.hook import (
    Hook,
    HookTable,
    Middleware,
    Watchdog,
    chain,
    compile_hooks,
    provider_hooks,
)
from agentrail.host._config import AppConfig
from agentrail.ids import check_id
from agentrail.messages import estimate_spec_tokens
from agentrail.model import ModelReference, Models
from agentrail.profile import Profile, resolve
from agentrail.requests import ModelReply, ModelRequest
from agentrail.route import Route, standard_routes
from agentrail.tool import Gate, Toolset, guarded, rule_faults, rule_gaps, tool_endpoint

_log = logging.getLogger("agentrail.host")


@frozen(slots=True)
class Served:
    """A profile, ready to answer: with what the plugins add to it."""

    profile: Profile
    reference: ModelReference
    providers: tuple[Hook, ...]
    """Its context providers and the plugins', in the order of their contributions."""
    agent: Agent
    """What the loop runs, without the plugins' hooks around its calls."""

    def history_tokens(self, message_tokens: int) -> int:
        """Return how much of the window the history may take beside a message and the tools."""
        tool_tokens = self.profile.room - self.agent.room
        return self.profile.history_tokens(message_tokens + tool_tokens)


@frozen(slots=True)
class Composition:
    """A whole application, frozen.  A turn sees exactly one, from its first hook to its last."""

    generation: int
    hooks: HookTable
    agents: Mapping[str, Served]
    routes: tuple[Route, ...]
    hooked: bool
    """Whether there is any hook at all."""
    models: Models
    model_middleware: tuple[Middleware[ModelRequest, ModelReply], ...]
    """Around every model call, the first one outermost."""

    @property
    def references(self) -> Sequence[str]:
        """The models that its profiles name."""
        profiles = [served.profile for served in self.agents.values()]
        return [each for one in profiles for each in (one.model, *one.fallbacks)]

    @property
    def default_agent(self) -> str:
        """The id of the first profile."""
        return next(iter(self.agents))

    def agent(self, agent_id: str) -> Served:
        """Return the profile with that id.

        Raises:
            AgentNotFound: there is none.
        """
        return resolve(self.agents, agent_id)

    def check_profiles(self) -> None:
        """Return when there is somebody to answer; settings may still bring the first one.

        Raises:
            CompositionError: there is no profile.
        """
        if not self.agents:
            raise CompositionError(["there is no profile: an application needs at least one"])


def compose(
    config: AppConfig, models: Models, watchdog: Watchdog, generation: int, *, rules: bool
) -> Composition:
    """Return the composition of an application's parts.

    ``rules`` refuses permissions that are about no tool.  The tools that packages bring come and
    go; no rule is to stand in their way.

    Raises:
        CompositionError: the parts do not fit together; it lists every fault.
    """
    hooks, hook_faults = compile_hooks(config.plugins)
    faults = list(hook_faults)
    agents: dict[str, Served] = {}
    for profile in config.profiles:
        if profile.id in agents:
            faults.append(f"two profiles have the id {profile.id!r}")
        served = _serve(profile, config, hooks, models, watchdog, faults)
        if served is None:
            continue
        agents[profile.id] = served
        if rules:
            faults += _rule_faults(served, packages=config.packages is not None)
    routes = standard_routes() if config.routes is None else tuple(config.routes)
    faults += [
        f"route {route.path!r}: its path must begin with a slash"
        for route in routes
        if not route.path.startswith("/")
    ]
    if faults:
        raise CompositionError(list(dict.fromkeys(faults)))
    for served in agents.values():
        _warn_of_gaps(served)
    hooked = bool(hooks.by_name) or any(served.providers for served in agents.values())
    around = tuple(config.model_middleware)
    return Composition(generation, hooks, MappingProxyType(agents), routes, hooked, models, around)


def _serve(
    profile: Profile,
    config: AppConfig,
    hooks: HookTable,
    models: Models,
    watchdog: Watchdog,
    faults: list[str],
) -> Served | None:
    where = f"profile {profile.id!r}"
    try:
        check_id(profile.id, "the profile id")
        reference = ModelReference.parse(profile.model)
        model = models.first_of([profile.model, *profile.fallbacks])
        output = None if profile.output is None else Output.of(profile.output)
    except (InvalidId, ConfigError) as error:
        faults.append(f"{where}: {error}")
        return None
    if profile.room <= 0:
        window = profile.context_window
        faults.append(f"{where}: its context_window of {window} tokens is all for the answer")
    providers, provider_faults = provider_hooks(f"profile:{profile.id}", profile.context_providers)
    toolset, tool_faults = Toolset.of([*((where, tool) for tool in profile.tools), *hooks.tools])
    faults.extend([*provider_faults, *tool_faults])
    tool_tokens = estimate_spec_tokens(toolset.specs)
    if 0 < profile.room <= tool_tokens:
        faults.append(
            f"{where}: its tools take {tool_tokens} tokens, and its context_window of "
            f"{profile.context_window} has {profile.room} for messages and tools"
        )
    rules = tuple(profile.permissions)
    return Served(
        profile=profile,
        reference=reference,
        providers=providers + hooks["context_providers"],
        agent=Agent(
            reference=profile.model,
            request=ModelRequest(
                model=reference.model,
                provider=reference.provider,
                messages=(),
                tools=toolset.specs,
                temperature=profile.temperature,
                max_tokens=profile.limits.max_tokens,
                output=None if output is None else output.spec,
            ),
            model=chain(config.model_middleware, model),
            gate=Gate(
                chain(
                    config.tool_middleware,
                    guarded(rules, tool_endpoint(toolset, watchdog, profile.limits.tool_seconds)),
                ),
                rules,
            ),
            limits=profile.limits,
            result_chars=profile.limits.result_chars or profile.context_window,
            room=max(0, profile.room - tool_tokens),
            concurrent=toolset.concurrent,
            origins=toolset.origins,
            prices=profile.prices,
            output=output,
        ),
    )


def _rule_faults(served: Served, *, packages: bool) -> list[str]:
    rules, specs = served.agent.gate.rules, served.agent.request.tools
    faults = rule_faults(rules, specs, packages=packages)
    return [f"profile {served.profile.id!r}: {fault}" for fault in faults]


def _warn_of_gaps(served: Served) -> None:
    agent = served.agent
    packaged = {name for name, origin in agent.origins.items() if origin}
    for gap in rule_gaps(agent.gate.rules, agent.request.tools, packaged):
        _log.warning(
            "profile %r: a permission holds for no call of some of its tools: %s",
            served.profile.id,
            gap,
        )
