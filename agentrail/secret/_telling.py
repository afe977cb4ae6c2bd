"""What may be a secret, going by its name, or by where it stands in a URL."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_SECRET: Final = re.compile(
    r"[a-z]*pass(?:w(?:d|ords?)|phrase)|pass(?:code)?|pwd?|pin|secrets?|cred(?:ential)?s?"
    r"|(?:access|api|auth|pass|private|secret)?(?:key|token)s?|auth(?:orization)?|bearer"
    r"|cookies?|dsn|sig(?:nature)?|jwt|otp|pat"
)
_SECRET_PAIR: Final = re.compile(r"secret_ids?|connection_strings?")
_DATA_PAIR: Final = re.compile(r"(?:primary|foreign|sort|partition)_keys?")
"""The last two words of what finds rows in a database."""

_ABOUT: Final = re.compile(
    r"ur[il]|file|path|directory|name|id|type|method|header|size|count|limit|seconds|ttl"
)
"""The last word of what is something else than the secret that it is about."""

_ORDINARY: Final = re.compile(r"[A-Za-z]{,11}|[0-9.]{,7}")

_URL: Final = re.compile(r"(://)([^/?#\s]+(?=@))?((?:[^\s\"'<>]|'(?![\s,.;:)\]}>]|$))*)")
"""A URL from its slashes on: these, who asks, and the rest, with quotes but for one at the end."""
_QUERY: Final = re.compile(r"([?&;](?:[^=&;#]*+=)?+|#[^=&;#]*=)([^&;#]+)")
_GIVEN: Final = re.compile(
    r"(?<![\w.-])([\w.-]++)\s*+=\s*+('[^']*+'|\"[^\"]*+\"|(?:[^\s;&#,'\"]|\b'\b)++)"
)
"""As ``password=…``, in a URL or in what else programs connect with."""


def tells_secret(name: str, *, above: bool = False) -> bool:
    """Return whether a name may be that of a secret, as ``apiKey`` is, and ``key_file`` is not.

    ``above`` is whether what it is in may be one: then it may be too, but for what is like the
    latter.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    end = "_".join(words[-2:])
    if _SECRET_PAIR.fullmatch(end):
        return True
    if _DATA_PAIR.fullmatch(end):
        return above
    if words and (words[0] in {"max", "min"} or _ABOUT.fullmatch(words[-1])):
        return False
    return above or any(map(_SECRET.fullmatch, words))


def is_ordinary(value: str) -> bool:
    """Return whether a value is a single word or a small number, as in any text."""
    return _ORDINARY.fullmatch(value) is not None


def credentials_in(text: str, *, pairs: bool = False) -> Iterator[str]:
    """Yield who asks in the URLs of a text, their passwords, and what ``password=…`` gives in them.

    They are yielded without percent signs too, and ordinary words are not.  With ``pairs``, the
    text may be what programs connect with, and ``password=…`` counts wherever it is in it.
    """
    urls = list(_URL.finditer(text))
    found = [each for url in urls if url[2] for each in (url[2], *url[2].split(":", 1)[1:])]
    for part in [text] if pairs else [url[3] for url in urls]:
        given = _GIVEN.findall(part)
        found += [value.strip("'\"") for name, value in given if tells_secret(name)]
    for each in found:
        yield from (form for form in (each, unquote(each)) if not is_ordinary(form))


def without_credentials(text: str, put: Callable[[str], str]) -> str:
    """Return a text with what ``put`` returns in the place of who asks in each URL.

    The same goes for the values in a URL's query.
    """

    def shown(url: re.Match[str]) -> str:
        # What is put there may have what ends a URL, so this goes through each part once.
        user = put(url[2]) if url[2] else ""
        return url[1] + user + _QUERY.sub(lambda part: f"{part[1]}{put(part[2])}", url[3])

    return _URL.sub(shown, text)
