"""Every sentence that commands answer with, so that they can be said in another language."""

import string
from collections.abc import Mapping
from typing import Final

import attrs
from attrs import field, frozen

from agentrail.errors import ConfigError, RequestError


class CommandInvalid(RequestError):
    """A command's line does not fit it; the text is one of ``Texts``, for whoever wrote it."""

    code = "command_invalid"


@frozen(kw_only=True)
class Texts:
    """The sentences; what stands in braces is filled in, and a translation may leave it out.

    ``descriptions`` are those of the application's commands, by name, and of their arguments, by
    ``command.argument``; what is not there is described as its function describes it.

    Raises:
        ConfigError: a sentence has something in braces that is not filled in there.
    """

    # Help.
    help: str = "List the commands, or tell how one is used."
    help_name: str = "the command to tell about"
    default: str = "default {value}"

    # Commands that are not run.
    unknown: str = "There is no command /{name}."
    nearest: str = "Did you mean {names}?"
    see_help: str = "/help lists the commands."
    forbidden: str = "/{name} is for administrators."
    usage: str = "Usage: {usage}"

    # Arguments that do not fit.
    too_long: str = "/{name} takes up to {most} characters."
    too_many: str = "/{name} takes up to {most} words."
    unknown_option: str = "There is no option {option}."
    no_value: str = "{argument} takes no value."
    needs_value: str = "{argument} needs a value: {expected}."
    twice: str = "{argument} is given twice."
    unexpected: str = "Nothing is expected at {value}."
    not_closed: str = "The quotation mark at {value} is not closed."
    missing: str = "{argument} is missing: {expected}."
    wrong: str = "{argument} must be {expected}, not {value}."
    count: str = "{argument} takes {bounds} values."

    # What is expected.
    string: str = "a text"
    integer: str = "a whole number"
    number: str = "a number"
    boolean: str = "true or false"
    date: str = "a date such as 2026-01-31"
    datetime: str = "a time such as 2026-01-31T18:30:00"
    choice: str = "one of {choices}"
    length: str = "{bounds} characters"

    # How a command ended.
    done: str = "Done."
    failed: str = "/{name} failed: {reason}"
    broke: str = "/{name} failed; the host's log says why."
    large: str = "its answer has more than {most} characters"
    late: str = "/{name} took longer than {seconds} s and was ended."
    started: str = "/{name} runs in the background; this session will say when it is done."
    busy: str = "{most} of your commands run in the background; wait until one of them is done."
    finished: str = "/{name} is done: {result}"
    stopped: str = "/{name} was ended, because the host stopped."

    # What functions say of themselves.
    descriptions: Mapping[str, str] = field(factory=dict[str, str])

    def __attrs_post_init__(self) -> None:
        """Find what would fail only when the sentence is needed."""
        for each in attrs.fields(Texts):
            if each.name == "descriptions":
                continue
            try:
                given = _filled_in(getattr(self, each.name))
            except ValueError as error:
                raise ConfigError(f"Texts.{each.name} cannot be filled in: {error}") from error
            if strange := given - _filled_in(str(each.default)):
                listed = ", ".join(sorted(f"{{{name}}}" for name in strange))
                raise ConfigError(f"Texts.{each.name} is not given {listed}")


def _filled_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


ENGLISH: Final = Texts()
"""What commands say unless they are told otherwise."""
