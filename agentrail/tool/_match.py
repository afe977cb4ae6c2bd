r"""Whether a pattern matches an argument, however the argument is written.

Arguments are a model's.  So a pattern takes time linear in them, and a text is looked at in several
readings: as it is, without ``.`` and ``..``, and as a reader may take it (``%2e``, ``\``, a URL's
spelling).
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import msgspec

from agentrail.tool._hosts import counted, folded, origin

WILD: Final = re.compile(r"(\*\*|\*|\?)")

_SEGMENTS: Final = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*://[^/]*)?)(/*)(.*)", re.DOTALL)
"""A path, or a URL: its host and the slash at the beginning, out of which ".." does not lead."""

_URL: Final = re.compile(
    r"(?:((?:http|ws)s?|ftp):/*|([a-z][a-z0-9+.-]*)://)([^/?#]*)([^?#]*)(.*)",
    re.DOTALL | re.IGNORECASE,
)
"""Scheme, authority, path and the rest; readers take any number of slashes in URLs of the web."""

_HOST: Final = re.compile(r"((?:\[[^]]*\]|[^:]*)(?::[0-9]*)?).*", re.DOTALL)
"""A host and its port; some readers overlook what follows a port, or is none."""

_END: Final = re.compile(r"[/\\?#\x00]")
"""What ends a host, if it comes out of an escape or a look-alike only."""

_URL_GLOB: Final = re.compile(r"([a-z0-9+.*?-]+)://([^/#]*)([^?#]*)(.*)", re.DOTALL | re.IGNORECASE)

_FILE: Final = re.compile(r"\A(file):/?(?!/)", re.IGNORECASE)
"""The beginning of a file's URL with no slash or one, which means the same as three."""

_FILE_GLOB: Final = re.compile(_FILE.pattern + "(?![*?])", re.IGNORECASE)

_WRAP: Final = re.compile(r"\AURL:(?!//)")
"""What Python's own reader takes off a URL, and ``<>`` around it: of RFC 1738."""

_BLANK: Final = "".join(sign for sign in map(chr, range(0x3001)) if sign <= " " or sign.isspace())
"""What readers of URLs take off both ends, some the first 33 characters and some all blanks."""

_BREAKS: Final = {ord(each): None for each in "\t\r\n"}
"""What they leave out anywhere."""

_ODD: Final = re.compile(r"[/\\%:\s\x00-\x20]")
"""A text without any of these has but one reading."""

_NESTED: Final = re.compile("%(?:25)+(?=[0-9A-Fa-f]{2})")
"""An escape whose own "%" is escaped, once or more."""

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LEAF: Final = re.compile(_STRING.pattern + r'|[^][{}:,"]+')
"""A string, or another value without parts, in JSON."""


def fits(glob: str, value: object, *, strict: bool) -> bool:
    """Tell whether a pattern matches an argument: in any of its readings, or if strict in all.

    A list or an object is matched as JSON and by what it holds, names of fields too: by any of it,
    or if strict by all.
    """
    if isinstance(value, str):
        return value == glob or _fits_text(glob, value, strict=strict)
    try:
        text = _json(value)
    except (RecursionError, TypeError, ValueError):
        return not strict  # what cannot be written down cannot be looked at
    if text == glob or _fits_json(glob, text, strict=strict):
        return True
    fitting = [_fits_text(glob, leaf, strict=strict) for leaf in _leaves(text, strict=strict)]
    return bool(fitting) and (all(fitting) if strict else any(fitting))


def matches(glob: str, text: str) -> bool:
    """Tell whether a pattern matches a whole text as it is, in time linear in the text."""
    parts = WILD.split(glob)
    if len(parts) == 1:
        return text == glob
    if not all(part in text for part in parts[::2]):
        return False
    data = text.encode(errors="surrogatepass")
    within, tails = _places(data, _WITHIN), _places(data, _TAILS)
    whole = (2 << len(data)) - 1
    # Bit i tells that the parts so far match the first i bytes. All bits move at once, as in
    # Cameron et al., "Bitwise data parallelism in regular expression matching", 2014.
    reached = 1
    for part in parts:
        if part == "**":
            reached = whole & -(reached & -reached)
        elif part == "*":
            reached = _along(reached, within)
        elif part == "?":
            reached = _along((reached & within & ~tails) << 1, tails)
        else:
            for byte in part.encode(errors="surrogatepass"):
                reached = (reached & _places(data, _table(bytes([byte])))) << 1
    return bool(reached >> len(data))


def _along(reached: int, run: int) -> int:
    """Return the places reached, and those that runs lead to from them: a sum's carry runs on."""
    return reached | (((reached & run) + run) ^ run)


def _places(data: bytes, table: bytes) -> int:
    return int(b"0" + data.translate(table)[::-1], 2)


@lru_cache(maxsize=256)
def _table(wanted: bytes) -> bytes:
    return bytes(b"01"[byte in wanted] for byte in range(256))


_WITHIN: Final = _table(bytes(set(range(256)) - set(b"/")))
_TAILS: Final = _table(bytes(range(0x80, 0xC0)))
"""The bytes of a character after its first, in UTF-8."""


def _fits_text(glob: str, text: str, *, strict: bool) -> bool:
    readings = _readings(text)
    globs = (glob, glob, *[_canonical_glob(glob)] * 3)
    pairs = dict.fromkeys(zip(globs, readings, strict=False))
    if strict:
        return not _leads_out(glob, readings) and all(matches(*pair) for pair in pairs)
    if any(matches(*pair) for pair in pairs):
        return True
    sent = _sent(text)
    return sent != text and _fits_text(glob, sent, strict=False)


def _fits_json(glob: str, text: str, *, strict: bool) -> bool:
    if not glob.startswith(("*", "?", "[", "{")):
        return False

    def read(reading: Callable[[str], str]) -> str:
        return _STRING.sub(lambda found: _encoded(reading(_decoded(found[0]))), text)

    if strict and any(_leads_out(glob, _readings(leaf)) for leaf in _leaves(text, strict=True)):
        return False
    fitting = (matches(glob, read(reading) if reading else text) for reading in (None, *_READINGS))
    return all(fitting) if strict else any(fitting)


def _json(value: object) -> str:
    """Return a value as JSON, with a sign in the place of each half of a surrogate pair."""
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except UnicodeEncodeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _leads_out(glob: str, readings: tuple[str, ...]) -> bool:
    """Tell whether a path leads up and out, where the pattern does not say that it may."""
    if glob.lstrip('[{"').startswith(("..", "**")):
        return False
    return any(reading.partition("/")[0] == ".." for reading in readings)


def _leaves(text: str, *, strict: bool) -> Iterator[str]:
    for token in _LEAF.findall(text):
        if token[0] == '"':
            yield _decoded(token)
            continue
        yield token
        if not strict and token[-1].isdigit() and float(token).is_integer():
            yield str(int(float(token)))


def _decoded(string: str) -> str:
    return msgspec.json.decode(string, type=str)


def _encoded(string: str) -> str:
    return msgspec.json.encode(string).decode()


def _readings(text: str) -> tuple[str, ...]:
    if not _ODD.search(text):
        return (text,)
    readings = _READINGS if ":" in text or "\\" in text else _READINGS[:2]
    return (text, *(reading(text) for reading in readings))


def _resolved(text: str) -> str:
    """Return a path, or a URL, without the segments ".", ".." and those that are empty."""
    found = _SEGMENTS.fullmatch(text)
    if "/" not in text or not found:
        return text
    host, slashes, path = found.groups()
    root = f"{host}/" if slashes else host
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif segment not in {"", "."} and not (segment == ".." and root):
            kept.append(segment)
    if not kept:
        return root or "."
    return root + "/".join(kept) + ("/" if text.endswith("/") else "")


def _canonical(text: str, port: Callable[[str], str] = str) -> str:
    r"""Return a text without escapes, ``\`` as a slash, and of a URL its usual spelling."""
    found = _url(text)
    if not found:
        return _resolved(_unescaped(text.strip(_BLANK)))
    web, other, authority, path, rest = found.groups()
    host = _END.split(_host(authority.rpartition("@")[2]), maxsplit=1)[0].rpartition("@")[2]
    return (
        origin(web or other, _HOST.sub(r"\1", port(host), count=1))
        + _resolved("/" + _unescaped(path))
        + rest
    )


def _slashed(text: str) -> str:
    r"""Return the canonical form for those that end a host at ``\`` too."""
    return _canonical(text.replace("\\", "/"))


def _counted(text: str) -> str:
    """Return the canonical form for those that connect to a port in any spelling."""
    return _canonical(text, counted)


_READINGS: Final = (_resolved, _canonical, _slashed, _counted)


def _url(text: str) -> re.Match[str] | None:
    return _URL.fullmatch(_FILE.sub(r"\1:///", _unwrapped(text).translate(_BREAKS)))


def _unwrapped(text: str) -> str:
    text = text.strip(_BLANK)
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip(_BLANK)
    return _WRAP.sub("", text).strip(_BLANK)


def _sent(text: str) -> str:
    """Return of a URL what counts where it leads: nothing from ``#`` on, and no host of a file.

    Many names are this machine's, and there the host is overlooked.
    """
    found = _url(text)
    if not found:
        return text
    _, scheme, _, path, rest = found.groups()
    if scheme and scheme.lower() == "file":
        return f"file://{path}{rest.partition('#')[0]}"
    return _unwrapped(text).partition("#")[0]


def _host(text: str) -> str:
    return folded(unquote(text))


def _unescaped(text: str) -> str:
    return unquote(_NESTED.sub("%", text)).replace("\\", "/")


@lru_cache(maxsize=1024)
def _canonical_glob(glob: str) -> str:
    """Return the pattern for canonical forms."""
    glob = _FILE_GLOB.sub(r"\1:///", glob.strip(_BLANK))
    found = _URL_GLOB.fullmatch(glob)
    if not found:
        return _spelled(glob, _unescaped)
    scheme, authority, path, rest = found.groups()
    path = path if path or authority.endswith("**") else "/"
    return origin(scheme, _spelled(authority, _host)) + _spelled(path, _unescaped) + rest


def _spelled(glob: str, spell: Callable[[str], str]) -> str:
    """Return the pattern with its letters spelled, but for wildcards: these would come to life."""
    parts = ((part, spell(part)) for part in WILD.split(glob))
    return "".join(part if WILD.search(plain) else plain for part, plain in parts)
