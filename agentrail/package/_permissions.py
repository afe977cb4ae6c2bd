"""What a package asks to be allowed: nothing, unless its manifest says so."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from attrs import fields_dict, frozen

_LABEL: Final = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_ORIGIN: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9]\d{0,4}))?"
)
_NUMERIC: Final = re.compile(r"[0-9.]+|0x[0-9a-f.x]*")
_PORTS: Final = 65_535
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TOPIC: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?:\.\*)?")
_ROOTS: Final = ("data:", "scratch:")


@frozen(slots=True, kw_only=True)
class Permissions:
    """What a package may do; an empty tuple is nothing at all."""

    network: tuple[str, ...] = ()
    """Origins that it may send requests to, as ``https://api.example.com``; ``*`` is any."""
    config: tuple[str, ...] = ()
    """Keys of its configuration that it may read, with dots between levels."""
    secrets: tuple[str, ...] = ()
    """Names of secrets that it may use."""
    database: tuple[str, ...] = ()
    """Tables of the session database that it may read."""
    read: tuple[str, ...] = ()
    """Directories that it may read: ``data:``, its own, and ``scratch:``, until it stops."""
    write: tuple[str, ...] = ()
    """Directories that it may write to; the same two."""
    publish: tuple[str, ...] = ()
    """Topics of events that it may publish."""
    subscribe: tuple[str, ...] = ()
    """Topics of events that it may receive; a last part ``*`` is any."""
    exec: tuple[str, ...] = ()
    """Programs that it may start, by the names that the host gives them."""
    native: bool = False
    """Whether it brings compiled code."""

    def __or__(self, other: "Permissions") -> "Permissions":
        """Return what either of the two allows."""
        merged = {
            name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
            for name in fields_dict(Permissions)
            if name != "native"
        }
        return Permissions(**merged, native=self.native or other.native)

    def beyond(self, granted: "Permissions") -> tuple[str, ...]:
        """Return what this asks for that ``granted`` does not hold, as ``network: https://…``."""
        more = [
            f"{name}: {each}"
            for name in fields_dict(Permissions)
            if name != "native"
            for each in getattr(self, name)
            if each not in getattr(granted, name)
        ]
        return (*more, "native: compiled code") if self.native > granted.native else tuple(more)


def origin_fault(origin: str) -> str | None:
    """Return what is wrong with an origin that a manifest names."""
    match = _ORIGIN.fullmatch(origin)
    return _unreadable(origin) if match is None else next(_origin_faults(match), None)


def _unreadable(origin: str) -> str:
    return (
        f"{origin[:120]!r} is no origin: write https:// and a host name in lower case, "
        "with a port if need be"
    )


def _origin_faults(match: re.Match[str]) -> Iterator[str]:
    origin, host = match[0], match["host"].strip("[]")
    if int(match["port"] or 1) > _PORTS:
        yield f"the port of {origin!r} does not exist"
    try:
        if urlsplit(origin).hostname != host:
            yield _unreadable(origin)
    except ValueError:
        yield _unreadable(origin)
    try:
        inside = not ip_address(host).is_global
    except ValueError:
        inside = _NUMERIC.fullmatch(host) is not None
    if inside:
        yield f"{host!r} is an address inside a network, or one in disguise: name a public host"
    if match["scheme"] == "http" and host != "localhost":
        yield f"{origin!r} is not encrypted: only https is allowed"
    if host.startswith("*.") and host.count(".") < 2:  # noqa: PLR2004 - as "*.com"
        yield f"{origin!r} is too wide: a wildcard needs two parts behind it"


def list_fault(permission: str, value: str) -> str | None:
    """Return what is wrong with one entry of a permission's list."""
    if permission == "network":
        return origin_fault(value)
    if permission in ("read", "write"):
        roots = " or ".join(_ROOTS)
        return None if value in _ROOTS else f"{value[:80]!r} is no directory of its own: {roots}"
    kinds = {
        "config": (_KEY, "a configuration key"),
        "secrets": (_NAME, "the name of a secret"),
        "database": (_NAME, "the name of a table"),
        "publish": (_TOPIC, "a topic"),
        "subscribe": (_TOPIC, "a topic"),
        "exec": (_NAME, "the name of a program"),
    }
    pattern, kind = kinds[permission]
    if pattern.fullmatch(value) is None or (permission == "publish" and value.endswith("*")):
        return f"{value[:80]!r} is not {kind}"
    return None
