"""What a user interface is told of commands, so that it can offer and complete them."""

from typing import Final

from agentrail.command._command import Command, Scope
from agentrail.command._parameter import Kind, Parameter
from agentrail.command._texts import Texts
from agentrail.messages import Wire

_YES_NO: Final = ("true", "false")


class ArgumentInfo(Wire, omit_defaults=False):
    """One argument of a command."""

    name: str
    """As it is written; an option with its dashes."""
    type: Kind
    description: str
    expected: str
    """What it must be, in words."""
    required: bool
    default: object
    """As text or JSON; null where there is none, or none that can be said."""
    choices: tuple[str, ...]
    """The values that it may have; empty where they cannot be listed."""
    option: bool
    """Whether it is given by its name, before or after the others."""
    many: bool
    """Whether it takes any number of values; an option is then given several times."""
    rest: bool
    """Whether it takes the rest of the line as it stands."""


class CommandInfo(Wire, omit_defaults=False):
    """A command."""

    name: str
    """As it is written, with its slash."""
    description: str
    usage: str
    scope: Scope
    keep: bool
    background: bool
    arguments: tuple[ArgumentInfo, ...]
    available: bool
    """Whether the caller may use it."""
    unavailable_reason: str
    """Why not, in words."""


def info_of(command: Command, roles: frozenset[str], texts: Texts) -> CommandInfo:
    """Return what somebody with these roles is told of a command."""
    available = command.open_to(roles)
    return CommandInfo(
        name=f"/{command.name}",
        description=command.description,
        usage=command.usage,
        scope=command.scope,
        keep=command.keep,
        background=command.background,
        arguments=tuple(_argument(each, texts) for each in command.parameters),
        available=available,
        unavailable_reason="" if available else texts.forbidden.format(name=command.name),
    )


def _argument(parameter: Parameter, texts: Texts) -> ArgumentInfo:
    return ArgumentInfo(
        name=parameter.label,
        type=parameter.kind,
        description=parameter.description,
        expected=parameter.expected(texts),
        required=parameter.required,
        default=parameter.default,
        choices=_YES_NO if parameter.kind == "boolean" else tuple(parameter.choices),
        option=not parameter.positional,
        many=parameter.many,
        rest=parameter.rest,
    )
