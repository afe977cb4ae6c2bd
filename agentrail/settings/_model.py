"""What a file of settings can say; its JSON Schema is what such files are checked with."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

ALIASES: Final[Mapping[str, str]] = {"AGENTRAIL_PLUGINS_ENABLED": "plugins.enabled"}
"""Variables with another name than that of their setting."""

Positive = Annotated[float, Meta(gt=0)]
Natural = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Object = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="an object of Python code, as `module:name`",
    ),
]
"""An object of the application's code."""


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping in the file, with no other keys than these."""


class Server(Part, frozen=True):
    """Where `agentrail serve` listens; read when it starts."""

    host: Annotated[str, Meta(description="the address")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0 takes a free one")] = 8642
    backend: Annotated[Literal["asyncio", "trio"], Meta(description="the event loop")] = "asyncio"


class Provider(Part, frozen=True):
    """A provider of models, which model references name before the colon."""

    kind: Annotated[
        Literal["openai", "openai-responses", "anthropic"],
        Meta(description="the API that it speaks; `openai` is chat completions"),
    ]
    base_url: Annotated[
        str | None, Meta(description="where it is; null takes what the kind takes")
    ] = None
    api_key: Annotated[str | None, Meta(description="what it is asked with")] = None


class TurnLimits(Part, frozen=True):
    """How much one turn may take."""

    steps: Annotated[int, Meta(ge=1, description="model calls")] = 16
    seconds: Annotated[float, Meta(gt=0, description="for the whole turn")] = 600.0
    tool_seconds: Annotated[float, Meta(gt=0, description="for one tool call")] = 60.0
    max_tokens: Annotated[Natural | None, Meta(description="output of one model call")] = None
    tokens: Annotated[Natural | None, Meta(description="of all model calls")] = None
    cost: Annotated[Positive | None, Meta(description="of all model calls")] = None
    result_chars: Annotated[Natural | None, Meta(description="of one tool result")] = None


class TokenPrices(Part, frozen=True):
    """What a model's tokens cost, by the million."""

    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cache_read: Annotated[float, Meta(ge=0)] | None = None
    cache_write: Annotated[float, Meta(ge=0)] | None = None


class Permission(Part, frozen=True):
    """A rule about tool calls; one of `allow`, `ask` and `deny` names the tools."""

    allow: Name | None = None
    ask: Name | None = None
    deny: Name | None = None
    reason: Annotated[str, Meta(description="what is told of it")] = ""
    arguments: Annotated[
        Mapping[str, str], Meta(description="patterns that arguments must match, by their names")
    ] = {}


class DeclaredProfile(Part, frozen=True):
    """An agent: who answers."""

    id: Name
    model: Annotated[str, Meta(description="the model, as `provider:model`", min_length=3)]
    name: Annotated[str, Meta(description="what people call it")] = ""
    prompt: str = ""
    tools: Annotated[tuple[Object, ...], Meta(description="functions and tools")] = ()
    context_providers: tuple[Object, ...] = ()
    limits: TurnLimits = field(default_factory=TurnLimits)
    context_window: Annotated[int, Meta(ge=1, description="in tokens")] = 8192
    images: Annotated[bool, Meta(description="whether the model takes images")] = False
    compact: Annotated[bool, Meta(description="whether long histories are summarized")] = True
    temperature: Annotated[float, Meta(ge=0)] | None = None
    fallbacks: Annotated[tuple[str, ...], Meta(description="models to ask instead, in order")] = ()
    prices: TokenPrices | None = None
    permissions: tuple[Permission, ...] = ()


class PluginEntry(Part, frozen=True):
    """A plugin: one of the application's by its name, an object of its code, or a package."""

    name: Name
    object: Annotated[
        Object | None,
        Meta(description="a plugin, or a function that takes the entry's `config` and returns one"),
    ] = None
    version: Annotated[str | None, Meta(description="the version of a package")] = None
    enabled: bool = True
    config: Mapping[str, Any] = {}


class Plugins(Part, frozen=True):
    """The plugins of the host."""

    enabled: Annotated[
        bool | tuple[str, ...],
        Meta(description="false lets none run, and a list of names those alone"),
    ] = True
    directory: Annotated[
        str | tuple[str, ...] | None,
        Meta(description="where the application's own packages are; a list names several"),
    ] = None
    watch: Annotated[bool, Meta(description="whether packages there are loaded anew")] = False
    uploads: Annotated[bool, Meta(description="whether packages may be uploaded")] = True
    entries: Annotated[
        tuple[PluginEntry, ...], Meta(description="in the order of their hooks")
    ] = ()


class _Step(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="name"):
    """A middleware, with its options."""

    enabled: bool = True


class LoggingStep(_Step, frozen=True, tag="logging"):
    """Logs each call."""

    content: Annotated[bool, Meta(description="what is said too, without secrets")] = False


class SlowLogStep(_Step, frozen=True, tag="slow_log"):
    """Logs the calls that take long."""

    seconds: Positive = 1.0


class MetricsStep(_Step, frozen=True, tag="metrics"):
    """Counts and times calls."""


class RateLimitStep(_Step, frozen=True, tag="rate_limit"):
    """Lets each user make so many calls in so many seconds."""

    calls: Natural = 60
    per: Positive = 60.0


class CacheStep(_Step, frozen=True, tag="cache"):
    """Answers the same call of a tenant from memory."""

    ttl: Annotated[float, Meta(gt=0, description="seconds that an answer is kept")] = 60.0
    tools: Annotated[tuple[str, ...], Meta(description="the tools whose results are kept")] = ()
    size: Annotated[int, Meta(ge=1, description="how many answers are kept")] = 1024


class RetryStep(_Step, frozen=True, tag="retry"):
    """Makes a call again that failed for a while."""

    attempts: Natural = 3
    tools: Annotated[tuple[str, ...], Meta(description="the tools that may be called twice")] = ()
    base: Annotated[float, Meta(gt=0, description="seconds before the second attempt")] = 0.5
    longest: Annotated[float, Meta(gt=0, description="seconds between two at most")] = 30.0


class RedactStep(_Step, frozen=True, tag="redact"):
    """Takes what looks like a secret out of messages and answers."""


class AuthorizeStep(_Step, frozen=True, tag="authorize"):
    """Lets tools be called by users with certain roles."""

    rules: Annotated[
        Mapping[str, tuple[str, ...]], Meta(description="for each tool pattern, the roles")
    ]
    otherwise: Annotated[
        Literal["allow", "deny"], Meta(description="of tools that no rule is about")
    ]


class ObjectStep(_Step, frozen=True, tag="object"):
    """A middleware of the application's code."""

    object: Object


Step = (
    LoggingStep
    | SlowLogStep
    | MetricsStep
    | RateLimitStep
    | CacheStep
    | RetryStep
    | RedactStep
    | AuthorizeStep
    | ObjectStep
)
StepName = Literal["logging", "slow_log", "metrics", "rate_limit", "cache", "retry", "redact"]
"""Those that stand for themselves, with their usual options."""


MayName = Literal["read", "operate", "publish", "administer", "audit"]
"""What a role may do."""


class RequestSizes(Part, frozen=True):
    """What one request may bring."""

    body_bytes: Natural = 32 * 1024 * 1024
    message_chars: Natural = 1_000_000
    attachments: Annotated[int, Meta(ge=0)] = 20
    attachment_bytes: Natural = 20 * 1024 * 1024
    attachment_bytes_in_all: Natural = 32 * 1024 * 1024
    attachment_bytes_of_tenant: Natural = 1024 * 1024 * 1024
    attachment_types: tuple[str, ...] = ("*",)


class SecretPlaces(Part, frozen=True):
    """Where secrets are, besides variables and what is sealed in the data directory."""

    directory: Annotated[
        str | None, Meta(description="a directory with a file for each, as containers mount them")
    ] = None
    key_file: Annotated[
        str | None,
        Meta(description="the key of what is sealed; null takes `secret.key` in `data_dir`"),
    ] = None


class Reload(Part, frozen=True):
    """When the settings are read anew while the host runs."""

    watch: Annotated[bool, Meta(description="whether a change of the file is enough")] = True
    quiet_seconds: Annotated[
        float, Meta(gt=0, le=600, description="how long the file must not have changed")
    ] = 5.0


class Retention(Part, frozen=True):
    """What is kept for how long."""

    session_days: Annotated[
        Positive | None,
        Meta(description="days without use after which a session is deleted; null keeps all"),
    ] = None


class Telemetry(Part, frozen=True):
    """What traces have; null leaves it to the variables that say it otherwise."""

    hook_spans: Literal["all", "slow", "errors"] | None = None
    slow_hook: Annotated[float, Meta(gt=0, description="in seconds")] = 0.1
    capture_content: Annotated[bool | None, Meta(description="whether spans have what is said")] = (
        None
    )


class Settings(Part, frozen=True):
    """The settings of a host."""

    server: Server = field(default_factory=Server)
    data_dir: Annotated[str, Meta(description="where the host keeps its data", min_length=1)] = (
        "data"
    )
    session_wait: Annotated[
        float, Meta(ge=0, description="seconds that a turn waits for its session")
    ] = 30.0
    stop_grace: Annotated[
        float, Meta(ge=0, description="seconds that turns have when the host stops")
    ] = 10.0
    providers: Annotated[
        Mapping[str, Provider], Meta(description="by the name that models are named with")
    ] = {}
    profiles: Annotated[
        tuple[DeclaredProfile, ...], Meta(description="besides those of the application")
    ] = ()
    plugins: Plugins = field(default_factory=Plugins)
    middlewares: Annotated[
        tuple[StepName | Step, ...],
        Meta(description="around model and tool calls, the outermost first"),
    ] = ()
    roles: Annotated[
        Mapping[str, tuple[MayName, ...]],
        Meta(description="roles of your own, with what each may do over `/api`"),
    ] = {}
    limits: RequestSizes = field(default_factory=RequestSizes)
    retention: Retention = field(default_factory=Retention)
    telemetry: Telemetry = field(default_factory=Telemetry)
    secrets: SecretPlaces = field(default_factory=SecretPlaces)
    reload: Reload = field(default_factory=Reload)


@cache
def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file of settings."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(Settings),
    }
