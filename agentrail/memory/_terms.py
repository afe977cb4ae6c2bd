"""From text to what is looked for in it: the same words, however they are written."""

import re
import unicodedata
from typing import Final

_KEPT_MARKS: Final = frozenset({0, 7, 8, 9})
"""Combining classes of marks that are letters to their readers: vowel signs of the scripts of
India, nuktas, Japanese voicing marks, viramas.  The others are accents and vowel points."""

_LETTERS: Final = str.maketrans("\u0649\u0629", "\u064a\u0647", "\u0640")
"""Arabic letters that are written for each other, and the stroke that only stretches a word."""

_ARTICLE: Final = re.compile(r"^(?:[وفبك]?ال|لل)(?=\w{3})")
"""The Arabic article, with what may be written before it in the same word."""

# Thai, Lao, Burmese, Khmer, Hangul, kana, Han: scripts that do not part words, or do not part them
# from their endings.
_UNPARTED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
)
_WORD: Final = re.compile(rf"([{_UNPARTED}]+)|((?:(?![{_UNPARTED}])[\w\u0900-\u0dff])+)")


def clean(text: str) -> str:
    """Return the text as it can be stored: half a surrogate and NUL become question marks."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode("utf-8")


def terms(text: str) -> list[str]:
    """Return the words of a text, in order, as they are compared.

    Case, accents, vowel points and width do not count.  What is written without spaces becomes
    pairs of neighboring characters, and its last character.
    """
    found: list[str] = []
    for unparted, word in _WORD.findall(_folded(text)):
        if unparted:
            found.extend(unparted[at : at + 2] for at in range(len(unparted)))
        else:
            found.append(word if word.isascii() else _ARTICLE.sub("", word))
    return found


def phrases(query: str, most: int) -> list[str]:
    """Return what is looked for, each as an expression of the full-text index.

    They are quoted, so that nothing in the query is syntax to the index.  There are at most
    ``most``, none twice.
    """
    found: dict[str, None] = {}
    for unparted, word in _WORD.findall(_folded(query)):
        if len(unparted) == 1:
            found[f'"{unparted}"*'] = None
        elif unparted:
            found.update((f'"{unparted[at : at + 2]}"', None) for at in range(len(unparted) - 1))
        else:
            found[f'"{word if word.isascii() else _ARTICLE.sub("", word)}"'] = None
    return list(found)[:most]


def names(query: str, text: str) -> bool:
    """Tell whether all words of the query stand in the text, each as a whole.

    Case, accents, vowel points and width do not count.  Of what is written without spaces, the
    characters stand there side by side.
    """
    found = _WORD.findall(_folded(text))
    words = {word for _, word in found if word}
    runs = [unparted for unparted, _ in found if unparted]
    return all(
        word in words if word else any(unparted in run for run in runs)
        for unparted, word in set(_WORD.findall(_folded(query)))
    )


def _folded(text: str) -> str:
    """Return the text without what writers leave out or write differently."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join([char for char in apart if unicodedata.combining(char) in _KEPT_MARKS])
    return unicodedata.normalize("NFC", kept).translate(_LETTERS)
