"""From an application's parts to one immutable composition."""

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from agentrail.agent import Agent
from agentrail.errors import CompositionError, InvalidId, ModelReferenceError
from agentrail.hook import (
    Hook,
    HookTable,
    Watchdog,
    chain,
    compile_hooks,
    provider_hooks,
)
from agentrail.host._config import AppConfig
from agentrail.ids import check_id
from agentrail.model import ModelReference, Models
from agentrail.profile import Profile, resolve
from agentrail.requests import ModelRequest
from agentrail.route import Route, standard_routes
from agentrail.tool import Toolset, tool_endpoint


@frozen(slots=True)
class Served:
    """A profile, ready to answer: with what the plugins add to it."""

    profile: Profile
    reference: ModelReference
    providers: tuple[Hook, ...]
    """Its context providers and the plugins', in the order of their contributions."""
    agent: Agent
    """What the loop runs, without the plugins' hooks around its calls."""


@frozen(slots=True)
class Composition:
    """A whole application, frozen.  A turn sees exactly one, from its first hook to its last."""

    generation: int
    hooks: HookTable
    agents: Mapping[str, Served]
    routes: tuple[Route, ...]

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


def compose(config: AppConfig, models: Models, watchdog: Watchdog, generation: int) -> Composition:
    """Return the composition of an application's parts.

    Raises:
        CompositionError: the parts do not fit together; it lists every fault.
    """
    hooks, hook_faults = compile_hooks(config.plugins)
    faults = list(hook_faults)
    if not config.profiles:
        faults.append("there is no profile: an application needs at least one")
    agents: dict[str, Served] = {}
    for profile in config.profiles:
        if profile.id in agents:
            faults.append(f"two profiles have the id {profile.id!r}")
        served = _serve(profile, config, hooks, models, watchdog, faults)
        if served is not None:
            agents[profile.id] = served
    if faults:
        raise CompositionError(list(dict.fromkeys(faults)))
    routes = standard_routes() if config.routes is None else tuple(config.routes)
    return Composition(generation, hooks, MappingProxyType(agents), routes)


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
        model = models.call(profile.model)
    except (InvalidId, ModelReferenceError) as error:
        faults.append(f"{where}: {error}")
        return None
    providers, provider_faults = provider_hooks(f"profile:{profile.id}", profile.context_providers)
    toolset, tool_faults = Toolset.of([*((where, tool) for tool in profile.tools), *hooks.tools])
    faults.extend([*provider_faults, *tool_faults])
    return Served(
        profile=profile,
        reference=reference,
        providers=providers + hooks["context_providers"],
        agent=Agent(
            reference=profile.model,
            request=ModelRequest(
                model=reference.model,
                messages=(),
                tools=toolset.specs,
                temperature=profile.temperature,
                max_tokens=profile.limits.max_tokens,
            ),
            model=chain(config.model_middleware, model),
            tools=chain(
                config.tool_middleware,
                tool_endpoint(toolset, watchdog, profile.limits.tool_seconds),
            ),
            limits=profile.limits,
        ),
    )
