"""What a schema cannot say of settings: what must fit together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from agentrail.access import ROLES
from agentrail.config import Layered
from agentrail.errors import Fault, InvalidId
from agentrail.ids import check_id
from agentrail.settings._model import (
    DeclaredProfile,
    Permission,
    PluginEntry,
    Provider,
    Settings,
)
from agentrail.settings._secret import secret_faults


def cross_faults(settings: Settings, read: Layered) -> Iterator[Fault]:
    """Yield what does not fit together in settings that fit the schema, with its place.

    That is what is wrong whatever the application's code says.
    """
    for path in _twice("profiles", [each.id for each in settings.profiles]):
        yield read.fault("config_conflict", "another profile has this id", f"{path}.id")
    yield from _of_entries(settings.plugins.entries, read)
    yield from secret_faults(settings, read)
    yield from _of_names(settings, read)
    for name, provider in settings.providers.items():
        yield from _of_provider(provider, f"providers.{name}", read)
    for number, profile in enumerate(settings.profiles):
        yield from _of_profile(profile, f"profiles.{number}", read)


def _of_entries(entries: Sequence[PluginEntry], read: Layered) -> Iterator[Fault]:
    for path in _twice("plugins.entries", [each.name for each in entries]):
        yield read.fault("config_conflict", "another entry has this name", f"{path}.name")
    for at, entry in enumerate(entries):
        path = f"plugins.entries.{at}.version"
        if entry.object is not None and entry.version is not None:
            message = "a version is one of a package, which has no 'object'"
            yield read.fault("config_conflict", message, path)
        elif entry.version is not None and not _is_version(entry.version):
            message = "it is no version: write MAJOR.MINOR.PATCH, as 1.4.0 or 2.0.0-rc.1"
            yield read.fault("config_value", message, path)


def _is_version(text: str) -> bool:
    # Who pins no package does not pay for the import.
    from agentrail.package import Version  # noqa: PLC0415

    try:
        Version.parse(text)
    except ValueError:
        return False
    return True


def _of_names(settings: Settings, read: Layered) -> Iterator[Fault]:
    for name in settings.roles:
        if name in ROLES:
            message = "this role is the host's own: give yours another name"
            yield read.fault("config_conflict", message, f"roles.{name}")
    for name in settings.providers:
        if not name.strip() or name != name.strip() or ":" in name or "/" in name:
            message = (
                "the name of a provider stands before the colon of a model: it has no ':' and no "
                "'/', and no space around it"
            )
            # What is no name may be a secret.
            yield read.fault("config_value", message, f"providers.{name}", "providers")


def _of_provider(provider: Provider, path: str, read: Layered) -> Iterator[Fault]:
    url, key = provider.base_url, provider.api_key or ""
    if url is not None and not url.startswith(("http://", "https://")):
        yield read.fault(
            "config_value", "it must begin with http:// or https://", f"{path}.base_url"
        )
    if not (key.strip().isascii() and key.strip().isprintable()):
        message = "it has characters that no key has: keys are printable ASCII"
        yield read.fault("config_value", message, f"{path}.api_key")


def _of_profile(profile: DeclaredProfile, path: str, read: Layered) -> Iterator[Fault]:
    try:
        check_id(profile.id, "it")
    except InvalidId:
        message = "use ASCII letters, digits and . _ : @ + -, starting with a letter or digit"
        yield read.fault("config_value", message, f"{path}.id")
    yield from _of_models(
        [(f"{path}.model", profile.model)]
        + [(f"{path}.fallbacks.{at}", model) for at, model in enumerate(profile.fallbacks)],
        read,
    )
    for each in _twice(f"{path}.tools", profile.tools):
        yield read.fault("config_conflict", "this tool is there already", each)
    if (profile.limits.max_tokens or 0) >= profile.context_window:
        message = f"the answer alone would take the context_window of {profile.context_window}"
        yield read.fault("config_conflict", message, f"{path}.limits.max_tokens")
    for at, rule in enumerate(profile.permissions):
        yield from _of_rule(rule, f"{path}.permissions.{at}", read)


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
        if not provider.strip() or not name.strip():
            yield read.fault("config_value", "write a model as provider:model", path)


def _of_rule(rule: Permission, path: str, read: Layered) -> Iterator[Fault]:
    given = [name for name in ("allow", "ask", "deny") if getattr(rule, name) is not None]
    if len(given) != 1:
        message = f"write one of allow, ask and deny, not {len(given)} of them"
        yield read.fault("config_conflict", message, path)
    elif given == ["allow"] and rule.reason:
        yield read.fault("config_conflict", "what is allowed needs no reason", f"{path}.reason")
