"""The usual spelling of a URL's host, of which readers take many for the same one.

Some readers follow UTS #46 and some IDNA 2003 (RFC 3490); addresses are read as by ``inet_aton``.
What any of them takes for the same host is spelled the same here.
"""

import re
import socket
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Final
from unicodedata import normalize

_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443", "ftp": "21"}

_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u1806\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0100-\U000e01ef]"
)
"""What readers leave out of a name."""

_LONGEST: Final = 512
"""Characters; a name has fewer, and to normalize a text may take time that is quadratic."""

_PUNYCODE: Final = re.compile(r"(?<![^.])xn--([a-z0-9-]{1,59})(?![^.])")

_NUMBERS: Final = re.compile(r"[0-9a-fx.]+")


def folded(host: str) -> str:
    """Return a host's characters as readers fold them: width, case, dots, and what is not seen."""
    if host.isascii():
        return host.lower()
    host = _UNSEEN.sub("", host)
    name, rest = host[:_LONGEST], host[_LONGEST:].lower()
    # Twice: what is composed may have a case to fold, and the other way round.
    for _ in range(2):
        name = normalize("NFKC", name.casefold())
    return _UNSEEN.sub("", name + rest).replace("\u3002", ".")


def counted(authority: str) -> str:
    """Return a host with its port as the number that clients connect to.

    Python's takes what ``int`` reads, and of a number that is too large its last 16 bits count.
    """
    host, colon, port = authority.rpartition(":")
    with suppress(ValueError):
        return f"{host}:{int(port) % 65536}" if colon else authority
    return authority


def origin(scheme: str, authority: str) -> str:
    """Return a URL's beginning, of a folded authority without a user; it may be a pattern."""
    scheme = scheme.lower()
    host, colon, port = authority.rpartition(":")
    in_brackets = host.startswith("[") and not host.endswith("]")
    if not colon or in_brackets or port.strip("0123456789*?"):
        host, port = authority, ""
    port = port.lstrip("0")
    suffix = f":{port}" if port and port != _PORTS.get(scheme) else ""
    name = _named(host)
    if scheme == "file" and name == "localhost":
        name = ""
    return f"{scheme}://{name}{suffix}"


def _named(host: str) -> str:
    host = inner = host.strip()
    if host.startswith("[") and host.endswith("]"):
        inner = host[1:-1]
        with suppress(ValueError):
            address = IPv6Address(inner.partition("%")[0])
            return str(address.ipv4_mapped or f"[{address}]")
        # Python's own client takes a name out of brackets.
        if any(each in inner for each in ":*?"):
            return host
    name = _PUNYCODE.sub(_decoded, inner.rstrip("."))
    if _NUMBERS.fullmatch(name):
        with suppress(OSError):
            # A browser takes "0x" for a zero.
            return socket.inet_ntoa(socket.inet_aton(re.sub(r"0x(?![0-9a-f])", "0", name)))
    return name


def _decoded(label: re.Match[str]) -> str:
    with suppress(UnicodeError):
        name = folded(label[1].encode().decode("punycode"))
        # Neither a wildcard nor half a surrogate pair comes to life.
        return label[0] if re.search("[*?\ud800-\udfff]", name) else name
    return label[0]
