"""What is to be hidden: regular expressions that also work on a text that is still arriving."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import field, frozen, validators

_KEY_CHARS: Final = "A-Za-z0-9._~+/=-"
_DIGITS_OF_CARDS: Final = range(13, 20)


def _compiled(regex: str | re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(regex)


@frozen(slots=True)
class Pattern:
    r"""Something to hide; ``[name]`` is put in its place.

    Of text before a match, the regular expression may look at one character.

    Args:
        name: what it is.
        regex: finds it; a text or a compiled one.  It should need time in proportion to the text's
            length, whatever the text is: users and models can write what they want.
        longest: characters that a match has at most, what it looks ahead at among them.  So many
            of a text that is arriving are held back, unless ``begun`` says how few are needed.
        hints: a match holds one of these; a text without them is not searched.
        begun: finds the earliest place from which the end of a text may be the beginning of a
            match; it ends in ``\Z``.  None means that it may begin anywhere.
        accept: is given the text of a match; returns how many characters of it are to be hidden, 0
            when it is none after all.
    """

    name: str
    regex: re.Pattern[str] = field(converter=_compiled)
    longest: int = field(validator=validators.ge(1))
    hints: tuple[str, ...] = ()
    begun: re.Pattern[str] | None = None
    accept: Callable[[str], int] = len

    def spans(self, text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
        """Yield where the matches are that begin at ``start`` or later, and before ``limit``."""
        while (found := self.regex.search(text, start)) and found.start() < limit:
            size = self.accept(found[0])
            if size:
                yield found.start(), found.start() + size
            start = found.start() + (size or 1)

    def is_hinted_at(self, text: str) -> bool:
        """Tell whether the text may hold a match at all."""
        for hint in self.hints:  # a generator would take three times as long
            if hint in text:
                return True
        return not self.hints

    def unsettled(self, text: str, start: int) -> int:
        """Return where a match may begin of which the rest is still to come."""
        start = max(start, len(text) - self.longest)
        if self.begun is None:
            return start
        found = self.begun.search(text[start:])
        return start + found.start() if found else len(text)


def _card(text: str) -> int:
    """Return how much of the digits, spaces and hyphens are the number of a payment card."""
    for end in range(len(text), 0, -1):
        if text[end - 1].isdigit() and not text[end : end + 1].isdigit():
            digits = [int(char) for char in text[:end] if char.isdigit()]
            if len(digits) in _DIGITS_OF_CARDS and _luhn(digits):
                return end
    return 0


def _luhn(digits: list[int]) -> bool:
    """Tell whether the last digit is the check digit of ISO/IEC 7812-1."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004
    return (sum(doubled) + sum(digits[::-2])) % 10 == 0


EMAIL: Final = Pattern(
    "email",
    r"[A-Za-z0-9._%+'-]{1,64}+@(?:[A-Za-z0-9-]{1,63}+\.){1,8}[A-Za-z]{2,63}",
    longest=640,
    hints=("@",),
    begun=re.compile(r"(?<![A-Za-z0-9._%+'@-])[A-Za-z0-9._%+'@-]+\Z"),
)
"""An e-mail address."""

CARD: Final = Pattern(
    "card",
    # The digits come first, and what stands before them after: that is found twice as quickly.
    r"[2-6](?<![0-9].)(?:[ -]?[0-9]){12,18}(?![0-9])",
    longest=38,
    hints=("2", "3", "4", "5", "6"),
    begun=re.compile(r"[0-9][0-9 -]*\Z"),
    accept=_card,
)
"""The number of a payment card: 13 to 19 digits, alone or in groups, with a right check digit."""

_BEGINS: Final = (
    "sk- sk_ rk_ pk_ ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xox AKIA ASIA AIza hf_"
)

API_KEY: Final = Pattern(
    "api key",
    # A bearer token without a digit is a word: "bearer internationalization" is none.
    rf"(?:[Bb]earer|BEARER)[ \t]{{1,4}}(?=[{_KEY_CHARS}]{{0,99}}[0-9])[{_KEY_CHARS}]{{16,16000}}+"
    r"|(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,256}+"  # OpenAI, Anthropic
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,256}+"  # Stripe
    r"|gh[pousr]_[A-Za-z0-9]{36,256}+|github_pat_[A-Za-z0-9_]{22,256}+"
    r"|glpat-[A-Za-z0-9_-]{20,256}+"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,256}+"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[A-Za-z0-9_-]{35}"
    r"|hf_[A-Za-z0-9]{30,256}+)"
    # A JSON Web Token: its first two parts are JSON objects in base64.
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4000}+\.eyJ[A-Za-z0-9_-]{8,10000}+"
    r"\.[A-Za-z0-9_-]{8,1000}+",
    longest=16_384,
    hints=("earer", "EARER", "eyJ", *_BEGINS.split()),
    begun=re.compile(
        rf"(?:[Bb]earer|BEARER)[ \t]{{1,4}}[{_KEY_CHARS}]*\Z"
        rf"|(?:{_BEGINS.replace(' ', '|')})[A-Za-z0-9_-]{{0,270}}\Z"
        r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_.-]*\Z"
        r"|[A-Za-z0-9_-]{1,11}\Z"  # the longest of what keys begin with
    ),
)
"""A bearer token, a JSON Web Token, or a key of a service whose keys can be told by their form."""

_PRIVATE: Final = r"PRIVATE KEY(?: BLOCK)?-----"
_END: Final = rf"-----END [A-Z0-9 ]{{0,40}}{_PRIVATE}"

PRIVATE_KEY: Final = Pattern(
    "private key",
    # One that is cut off is hidden too, and what follows it: better too much than half a key.
    rf"-----BEGIN [A-Z0-9 ]{{0,40}}{_PRIVATE}(?s:.{{0,16000}}?{_END}|.{{0,16000}})",
    longest=16_384,
    hints=("-----BEGIN ",),
    begun=re.compile(
        r"-[-BEGIN ]{0,10}\Z"
        r"|-----BEGIN [A-Z0-9 ]{0,60}-{0,4}\Z"
        rf"|-----BEGIN [A-Z0-9 ]{{0,40}}{_PRIVATE}(?s:(?!{_END}).)*\Z"
    ),
)
"""A private key in PEM."""

SECRETS: Final = (EMAIL, CARD, API_KEY, PRIVATE_KEY)
"""What ``redact`` hides unless it is told what."""
