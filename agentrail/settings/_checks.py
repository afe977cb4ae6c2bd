"""What a schema cannot say of settings: what must fit together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from agentrail.access import ROLES
from agentrail.config import Layered
from agentrail.errors import Fault
from agentrail.settings._model import Permission, Settings
from agentrail.settings._secret import secret_faults


def cross_faults(settings: Settings, read: Layered) -> Iterator[Fault]:
    """Yield what does not fit together in settings that fit the schema, with its place."""
    for path in _twice("profiles", [each.id for each in settings.profiles]):
        yield read.fault("config_conflict", "another profile has this id", f"{path}.id")
    for path in _twice("plugins.entries", [each.name for each in settings.plugins.entries]):
        yield read.fault("config_conflict", "another entry has this name", f"{path}.name")
    for at, entry in enumerate(settings.plugins.entries):
        if entry.object is not None and entry.version is not None:
            message = "a version is one of a package, which has no 'object'"
            yield read.fault("config_conflict", message, f"plugins.entries.{at}.version")
    yield from secret_faults(read)
    yield from _of_names(settings, read)
    for number, profile in enumerate(settings.profiles):
        yield from _of_models(
            [(f"profiles.{number}.model", profile.model)]
            + [(f"profiles.{number}.fallbacks.{n}", m) for n, m in enumerate(profile.fallbacks)],
            read,
        )
        for at, rule in enumerate(profile.permissions):
            yield from _of_rule(rule, f"profiles.{number}.permissions.{at}", read)


def _of_names(settings: Settings, read: Layered) -> Iterator[Fault]:
    for name in settings.roles:
        if name in ROLES:
            message = "this role is the host's own: give yours another name"
            yield read.fault("config_conflict", message, f"roles.{name}")
    for name in settings.providers:
        if not name or ":" in name or "/" in name:
            message = "the name of a provider stands before the colon of a model: it has none"
            yield read.fault("config_value", message, f"providers.{name}")


def _twice(path: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the places of the names that were there before."""
    seen: Counter[str] = Counter()
    for at, name in enumerate(names):
        if seen[name]:
            yield f"{path}.{at}"
        seen[name] += 1


def _of_models(models: Iterable[tuple[str, str]], read: Layered) -> Iterator[Fault]:
    for path, model in models:
        provider, _, name = model.partition(":")
        if not provider or not name:
            yield read.fault("config_value", "write a model as provider:model", path)


def _of_rule(rule: Permission, path: str, read: Layered) -> Iterator[Fault]:
    given = [name for name in ("allow", "ask", "deny") if getattr(rule, name) is not None]
    if len(given) != 1:
        message = f"write one of allow, ask and deny, not {len(given)} of them"
        yield read.fault("config_conflict", message, path)
    elif given == ["allow"] and rule.reason:
        yield read.fault("config_conflict", "what is allowed needs no reason", f"{path}.reason")
