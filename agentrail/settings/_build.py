"""What settings declare, made into the objects that a host is composed of."""

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any, TypeVar, cast

import msgspec
from attrs import define, field, frozen

from agentrail import middleware
from agentrail.agent import Limits, Prices
from agentrail.config import Layered, shown
from agentrail.errors import ConfigError, ConfigRefused, Fault
from agentrail.hook import ContextProvider, Middleware, Plugin, Tool
from agentrail.messages import ToolResult
from agentrail.model import ModelProvider
from agentrail.profile import Profile
from agentrail.requests import ModelReply, ModelRequest, ToolRequest
from agentrail.secret import PREFIX, Secrets
from agentrail.settings._model import (
    AuthorizeStep,
    CacheStep,
    DeclaredProfile,
    LoggingStep,
    MetricsStep,
    ObjectStep,
    Permission,
    PluginEntry,
    Plugins,
    Provider,
    RateLimitStep,
    RedactStep,
    RetryStep,
    SlowLogStep,
    Step,
)
from agentrail.settings._read import Reading
from agentrail.settings._secret import with_secrets
from agentrail.tool import Rule, tool

T = TypeVar("T")

Seams = Middleware[ModelRequest, ModelReply] | Middleware[ToolRequest, ToolResult]


@frozen(slots=True)
class Declared:
    """What settings add to an application."""

    profiles: Sequence[Profile]
    providers: Sequence[ModelProvider]
    plugins: Mapping[str, Plugin]
    """By the names of their entries; those of the application's code alone."""
    package_config: Mapping[str, Mapping[str, object]] = field(repr=False)
    """The configuration of packages, by their ids."""
    model_middleware: Sequence[Middleware[ModelRequest, ModelReply]]
    tool_middleware: Sequence[Middleware[ToolRequest, ToolResult]]
    made: Mapping[tuple[str, int], object] = field(repr=False)
    """What was made of what is declared, by its hash and its number among the same."""


def declared(reading: Reading, secrets: Secrets, before: Declared | None = None) -> Declared:
    """Return what settings declare, made.

    What was declared ``before`` in the same words, with the same secrets, is the same object.

    Raises:
        ConfigRefused: an object of the application's code is not there, or is none of its kind, or
            nobody has a secret.
    """
    make = _Make(reading.layered, secrets, before.made if before is not None else {})
    settings = reading.settings
    profiles = [make.profile(each, f"profiles.{at}") for at, each in enumerate(settings.profiles)]
    plugins = {
        each.name: make.plugin(each, f"plugins.entries.{at}")
        for at, each in enumerate(settings.plugins.entries)
        if each.object is not None and is_on(each, settings.plugins)
    }
    steps = [
        step
        for at, each in enumerate(settings.middlewares)
        if (step := make.step(each, f"middlewares.{at}")) is not None
    ]
    providers = [make.provider(name, each) for name, each in settings.providers.items()]
    config = {
        each.name: make.config(each, f"plugins.entries.{at}")
        for at, each in enumerate(settings.plugins.entries)
        if each.object is None and each.config
    }
    if make.faults:
        raise ConfigRefused(make.faults)
    both = [each for each in steps if not isinstance(each, _ToolOnly)]
    return Declared(
        profiles,
        providers,
        plugins,
        config,
        [cast("Middleware[ModelRequest, ModelReply]", each) for each in both],
        [
            each.tool
            if isinstance(each, _ToolOnly)
            else cast("Middleware[ToolRequest, ToolResult]", each)
            for each in steps
        ],
        make.made,
    )


def is_on(entry: PluginEntry, plugins: Plugins) -> bool:
    """Tell whether a plugin is on, as far as settings say."""
    enabled = plugins.enabled
    return entry.enabled and (enabled if isinstance(enabled, bool) else entry.name in enabled)


@frozen(slots=True)
class _ToolOnly:
    tool: Middleware[ToolRequest, ToolResult]


@define(slots=True)
class _Make:
    """Makes objects of settings, and notes what cannot be made."""

    read: Layered
    secrets: Secrets
    before: Mapping[tuple[str, int], object]
    made: dict[tuple[str, int], object] = field(factory=dict[tuple[str, int], object], init=False)
    count: Counter[str] = field(factory=Counter[str], init=False)
    faults: list[Fault] = field(factory=list[Fault], init=False)

    def fault(self, path: str, message: str, code: str = "config_object") -> None:
        self.faults.append(self.read.fault(code, self.secrets.hide(message), path))

    def told(self, error: BaseException) -> str:
        """Return what an error says, without secrets, also where it is cut off."""
        return shown(self.secrets.hide(str(error)))

    def kept(self, spec: object, make: Callable[[], T]) -> T:
        """Return what was made of the same before, or else what is made of it now."""
        encoded = msgspec.json.encode(spec, order="deterministic")
        digest = hashlib.sha256(encoded).hexdigest()
        self.count[digest] += 1
        key = (digest, self.count[digest])
        found = self.before[key] if key in self.before else make()
        self.made[key] = found
        return cast("T", found)

    def secret(self, name: str, path: str) -> str:
        try:
            value = self.secrets.value(name)
        except ConfigError as error:
            self.fault(path, error.detail, "config_secret")
            return ""
        if value is None:
            self.fault(
                path,
                f"nobody has the secret {name!r}: 'agentrail secret set {name}' seals it, or set "
                f"{PREFIX}{name}",
                "config_secret",
            )
        return value or ""

    def config(self, entry: PluginEntry, path: str) -> Mapping[str, object]:
        take = partial(self.secret, path=f"{path}.config")
        return cast("Mapping[str, object]", with_secrets(entry.config, take))

    def provider(self, name: str, declared: Provider) -> ModelProvider:
        take = partial(self.secret, path=f"providers.{name}.api_key")
        key = cast("str | None", with_secrets(declared.api_key, take))
        declared = msgspec.structs.replace(declared, api_key=key)
        return self.kept(("provider", name, declared), partial(_provider, name, declared))

    def found(self, name: str, path: str) -> object:
        """Return the object that ``module:name`` names, or None where there is none."""
        module, _, attributes = name.partition(":")
        try:
            target: object = importlib.import_module(module)
            return reduce(getattr, attributes.split("."), target)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: plugin
            self.fault(path, f"it cannot be taken: {type(error).__name__}: {self.told(error)}")
            return None

    def function(self, name: str, path: str) -> object:
        """Return the function that ``module:name`` names, or None where there is none."""
        found = self.found(name, path)
        if found is None or callable(found):
            return found
        self.fault(path, f"no function is there, but a value of type {type(found).__name__}")
        return None

    def profile(self, declared: DeclaredProfile, path: str) -> Profile:
        providers = [
            cast("ContextProvider", found)
            for at, name in enumerate(declared.context_providers)
            if (found := self.function(name, f"{path}.context_providers.{at}")) is not None
        ]
        limits, prices = declared.limits, declared.prices
        return Profile(
            id=declared.id,
            model=declared.model,
            name=declared.name,
            prompt=declared.prompt,
            tools=list(self.tools(declared.tools, f"{path}.tools")),
            context_providers=providers,
            limits=Limits(**_fields(limits)),  # type: ignore[arg-type]
            context_window=declared.context_window,
            images=declared.images,
            compact=declared.compact,
            temperature=declared.temperature,
            fallbacks=declared.fallbacks,
            prices=None if prices is None else Prices(**_fields(prices)),  # type: ignore[arg-type]
            permissions=[_rule(each) for each in declared.permissions],
        )

    def tools(self, names: Sequence[str], path: str) -> Iterator[Tool]:
        for at, name in enumerate(names):
            found = self.found(name, f"{path}.{at}")
            if found is not None and not hasattr(found, "spec"):
                try:
                    found = tool(cast("Callable[..., object]", found))
                except (TypeError, ConfigError) as error:
                    self.fault(f"{path}.{at}", f"it is no tool: {self.told(error)}")
                    continue
            if found is not None:
                yield cast("Tool", found)

    def plugin(self, entry: PluginEntry, path: str) -> Plugin:
        found, config = self.found(entry.object or "", f"{path}.object"), self.config(entry, path)
        if callable(found):
            spec = ("plugin", entry.name, entry.object, config)
            try:
                found = self.kept(spec, cast("Callable[[], object]", partial(found, **config)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: plugin
                self.fault(path, f"it was not made: {type(error).__name__}: {self.told(error)}")
                return cast("Plugin", found)
        elif found is not None and entry.config:
            self.fault(f"{path}.config", "the object is a plugin already, which takes no config")
        if found is not None and not isinstance(getattr(found, "name", None), str):
            message = f"it is no plugin: a value of type {type(found).__name__} has no name"
            self.fault(f"{path}.object", message)
        return cast("Plugin", found)

    def step(self, named: str | Step, path: str) -> Seams | _ToolOnly | None:
        step = msgspec.convert({"name": named}, Step) if isinstance(named, str) else named
        if not step.enabled:
            return None
        if isinstance(step, ObjectStep):
            return cast("Seams | None", self.function(step.object, f"{path}.object"))
        return self.kept(("step", step), partial(_STEPS[type(step)], step))


_STEPS: Mapping[type, Callable[[Any], Seams | _ToolOnly]] = {
    LoggingStep: lambda step: middleware.logging(content=step.content),
    SlowLogStep: lambda step: middleware.slow_log(step.seconds),
    MetricsStep: lambda _: middleware.metrics(),
    RateLimitStep: lambda step: middleware.rate_limit(step.calls, step.per),
    CacheStep: lambda step: middleware.cache(step.ttl, tools=step.tools, size=step.size),
    RetryStep: lambda step: middleware.retry(
        step.attempts, tools=step.tools, base=step.base, longest=step.longest
    ),
    RedactStep: lambda _: middleware.redact(),
    AuthorizeStep: lambda step: _ToolOnly(
        middleware.authorize(step.rules, otherwise=step.otherwise)
    ),
}


def _fields(part: object) -> dict[str, object]:
    return {name: getattr(part, name) for name in getattr(part, "__struct_fields__", ())}


def _rule(rule: Permission) -> Rule:
    if rule.allow is not None:
        return Rule("allow", rule.allow, dict(rule.arguments))
    if rule.ask is not None:
        return Rule("ask", rule.ask, dict(rule.arguments), rule.reason)
    return Rule("deny", rule.deny or "*", dict(rule.arguments), rule.reason)


def _provider(name: str, provider: Provider) -> ModelProvider:
    # Whoever declares none does not pay for importing an HTTP client.
    from agentrail.model.anthropic import Anthropic  # noqa: PLC0415
    from agentrail.model.openai import OpenAICompatible, OpenAIResponses  # noqa: PLC0415

    kinds: Mapping[str, Callable[..., ModelProvider]] = {
        "openai": OpenAICompatible,
        "openai-responses": OpenAIResponses,
        "anthropic": Anthropic,
    }
    return kinds[provider.kind](name, provider.base_url, provider.api_key)
