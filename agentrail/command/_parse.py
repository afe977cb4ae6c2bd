"""From a command's line to the arguments of its function."""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from attrs import define, field

from agentrail.command._parameter import Parameter
from agentrail.command._texts import CommandInvalid, Texts
from agentrail.command._words import Word, clip, split
from agentrail.errors import PayloadTooLarge

MAX_CHARS: Final = 32_768
"""The longest line of arguments."""

MAX_WORDS: Final = 1_000
"""The most words that are arguments; a text that is the rest of its line may have more."""


def read_line(
    name: str, parameters: Sequence[Parameter], line: str, texts: Texts
) -> dict[str, object]:
    """Return the arguments that a command's line gives, by the names of the parameters.

    What was left out is left out here too.  The time is linear in the line's length.

    Raises:
        CommandInvalid: the line does not fit the parameters; the text says where.
        PayloadTooLarge: it is longer than a line may be.
    """
    if len(line) > MAX_CHARS:
        raise PayloadTooLarge(texts.too_long.format(name=name, most=MAX_CHARS))
    has_text = any(each.rest for each in parameters)
    words = tuple(islice(split(line), None if has_text else MAX_WORDS + 1))
    if len(words) > MAX_WORDS and not has_text:
        raise PayloadTooLarge(texts.too_many.format(name=name, most=MAX_WORDS))
    return _Reading(parameters, line, words, texts).read()


@define(slots=True)
class _Reading:
    parameters: Sequence[Parameter]
    line: str
    words: Sequence[Word]
    texts: Texts
    _at: int = field(default=0, init=False)
    """The word that comes next."""
    _options: bool = field(default=True, init=False)
    """Whether there may be options; a ``--`` alone ends them."""
    _given: dict[str, list[str]] = field(factory=dict[str, list[str]], init=False)

    def read(self) -> dict[str, object]:
        while self._at < len(self.words):
            self._next()
        arguments: dict[str, object] = {}
        for parameter in self.parameters:
            if parameter.name in self._given:
                given = self._given[parameter.name]
                arguments[parameter.name] = parameter.convert(given, self.texts)
            elif parameter.required:
                raise self._fault(self.texts.missing, parameter)
        return arguments

    def _next(self) -> None:
        """Take one word, or as many as belong together."""
        word = self.words[self._at]
        if self._options and word.raw == "--":
            self._options = False
            self._at += 1
            return
        option = self._option(word)
        if option is not None:
            self._take_option(word, *option)
            return
        if word.option and self._options and not word.is_dashed:
            raise CommandInvalid(self.texts.unknown_option.format(option=clip(word.raw)))
        parameter = self._place()
        if parameter is None:
            raise CommandInvalid(self.texts.unexpected.format(value=clip(word.raw)))
        if parameter.rest:
            self._take_text(parameter)
        else:
            self._give(parameter, word.raw if word.option else self._text(word))
            self._at += 1

    def _option(self, word: Word) -> tuple[Parameter, bool] | None:
        """Return the parameter that an option names, and whether it says no to it."""
        if not word.option or not self._options:
            return None
        name = word.option.casefold().replace("_", "-")
        for parameter in self.parameters:
            if name == parameter.shown.casefold():
                return parameter, False
            if parameter.is_flag and name == f"no-{parameter.shown.casefold()}":
                return parameter, True
        return None

    def _place(self) -> Parameter | None:
        """Return the parameter that a word without a name is for."""
        for parameter in self.parameters:
            if parameter.positional and (parameter.many or parameter.name not in self._given):
                return parameter
        return None

    def _take_option(self, word: Word, parameter: Parameter, negated: bool) -> None:
        self._at += 1
        if negated and word.has_value:
            raise CommandInvalid(self.texts.no_value.format(argument=f"--{word.option}"))
        if word.has_value:
            self._give(parameter, self._text(word))
        elif parameter.is_flag:
            self._give(parameter, "false" if negated else "true")
        elif self._at == len(self.words) or self.words[self._at].option:
            raise self._fault(self.texts.needs_value, parameter)
        else:
            self._give(parameter, self._text(self.words[self._at]))
            self._at += 1

    def _take_text(self, parameter: Parameter) -> None:
        """Take the rest of the line as it stands, without the options at its end."""
        first, end = self._at, self._end_of_text()
        word = self.words[first]
        if end == first + 1 and word.quoted:
            text = word.text
        else:
            text = self.line[word.start : self.words[end - 1].end]
        self._give(parameter, text)
        self._at = end

    def _end_of_text(self) -> int:
        """Return where the options begin that end the line; the text has one word at least."""
        end, least = len(self.words), self._at + 1
        while end > least:
            word = self.words[end - 1]
            option = self._option(word)
            if option is not None and (option[0].is_flag or word.has_value):
                end -= 1
                continue
            before = self.words[end - 2]
            option = self._option(before)
            if word.option or option is None or option[0].is_flag or before.has_value:
                break
            end -= 2
        return end

    def _give(self, parameter: Parameter, text: str) -> None:
        if parameter.name in self._given and not parameter.many:
            raise CommandInvalid(self.texts.twice.format(argument=parameter.label))
        self._given.setdefault(parameter.name, []).append(text)

    def _text(self, word: Word) -> str:
        if word.is_open:
            raise CommandInvalid(self.texts.not_closed.format(value=clip(word.text)))
        return word.text

    def _fault(self, text: str, parameter: Parameter) -> CommandInvalid:
        expected = parameter.expected(self.texts)
        return CommandInvalid(text.format(argument=parameter.label, expected=expected))
