"""What may be a secret, going by its name, or by where it stands in a URL."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_SECRET: Final = re.compile(
    r"[a-z]*pass(?:w(?:d|ords?)|phrase)|pass(?:code)?|pwd?|pin|secrets?|cred(?:ential)?s?"
    r"|(?:access|api|auth|pass|private|secret)?(?:key|token)s?|auth(?:orization)?|bearer"
    r"|cookies?|dsn|sig(?:nature)?|jwt|otp"
)

_ABOUT: Final = re.compile(
    r"ur[il]|file|path|directory|name|id|type|method|header|size|count|limit|seconds|ttl"
)
"""The last word of what is something else than the secret that it is about."""

_ORDINARY: Final = re.compile(r"[A-Za-z]{,11}|[0-9.]{,7}")

_URL: Final = re.compile(r"://[^\s\"'<>]+")
_USER: Final = re.compile(r"(?<=://)[^/?#\s]+(?=@)")
_QUERY: Final = re.compile(r"([?&;](?:[^=&;#]*+=)?+|#[^=&;#]*=)([^&;#]+)")
_GIVEN: Final = re.compile(r"(?<![\w.-])([\w.-]++)\s*+=\s*+('[^']*+'|\"[^\"]*+\"|[^\s;&#,'\"]++)")
"""As ``password=…``, in a URL or in what else programs connect with."""


def tells_secret(name: str, *, above: bool = False) -> bool:
    """Return whether a name may be that of a secret, as ``apiKey`` is, and ``key_file`` is not.

    ``above`` is whether what it is in may be one: then it may be too, but for what is like the
    latter.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if words and (words[0] in {"max", "min"} or _ABOUT.fullmatch(words[-1])):
        return False
    return above or any(map(_SECRET.fullmatch, words))


def is_ordinary(value: str) -> bool:
    """Return whether a value is a single word or a small number, as in any text."""
    return _ORDINARY.fullmatch(value) is not None


def credentials_in(text: str) -> Iterator[str]:
    """Yield who asks in the URLs of a text, their passwords, and what ``password=…`` gives.

    They are yielded without percent signs too.
    """
    for user in _USER.findall(text):
        for each in (user, unquote(user)):
            yield from (each, *each.split(":", 1)[1:])
    for name, value in _GIVEN.findall(text):
        given = value.strip("'\"")
        if tells_secret(name) and not is_ordinary(given):
            yield from (given, unquote(given))


def without_credentials(text: str, put: Callable[[str], str]) -> str:
    """Return a text with what ``put`` returns in the place of who asks in each URL.

    The same goes for the values in a URL's query.
    """

    def shown(url: re.Match[str]) -> str:
        known = _USER.sub(lambda user: put(user[0]), url[0])
        return _QUERY.sub(lambda part: f"{part[1]}{put(part[2])}", known)

    return _URL.sub(shown, text)
