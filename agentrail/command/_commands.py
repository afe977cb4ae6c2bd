"""The plugin that answers messages which begin with a slash."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve

from agentrail.command._command import MAX_NAME, Command, command, key_of
from agentrail.command._info import CommandInfo, info_of
from agentrail.command._parameter import Parameter
from agentrail.command._run import Run
from agentrail.command._texts import ENGLISH, Texts
from agentrail.command._words import clip
from agentrail.errors import ConfigError, RequestError
from agentrail.requests import ChatRequest, ChatResponse, RequestContext

_LONGER: Final = 5.0
"""Seconds that the hook has more than the slowest command, which is to end by its own deadline."""

_UNKNOWN: Final = 404
_FORBIDDEN: Final = 403


class Commands:
    """Answers messages that begin with a slash; none of them reaches the model.

    ``/help`` is there by itself.  A message that names no command is answered with the names that
    are most like it, one that does not fit its command with what is expected, and a command that
    fails with why.

    Args:
        commands: those that there are besides ``/help``, in the order of its list.
        texts: the sentences of its own, for a translation.

    Raises:
        ConfigError: two commands have the same name, or one is none.
    """

    name = "slash-commands"
    critical = True
    """What fails in a way that nobody foresaw is refused, not asked of the model."""

    def __init__(self, commands: Iterable[Command], *, texts: Texts = ENGLISH) -> None:
        self.texts = texts
        self._commands: dict[str, Command] = {}
        for each in (_help_of(self), *commands):
            if not isinstance(each, Command):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"{each!r} is no command: put @command before the function")
            if each.key in self._commands:
                raise ConfigError(f"two commands are named {each.name!r}: rename one of them")
            self._commands[each.key] = each
        slowest = max(each.seconds for each in self._commands.values() if not each.background)
        self.deadlines: Mapping[str, float] = {"intercept_chat_request": slowest + _LONGER}

    async def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        """Answer a message that begins with a slash."""
        text = request.text.strip()
        if not text.startswith("/"):
            return None
        name, line = _parted(text)
        found = self._commands.get(key_of(name))
        if found is None:
            return ChatResponse(self._unknown(name, context.roles), status=_UNKNOWN)
        if not found.open_to(context.roles):
            return ChatResponse(self.texts.forbidden.format(name=found.name), status=_FORBIDDEN)
        try:
            arguments = found.read(line, self.texts)
        except RequestError as error:
            usage = self.texts.usage.format(usage=found.usage)
            return ChatResponse(f"{error.detail}\n{usage}", status=error.status)
        return await Run(found, arguments, context, self.texts).answer()

    def listing(self, roles: frozenset[str]) -> Sequence[CommandInfo]:
        """Return all commands, each with whether somebody with these roles may use it."""
        return [info_of(each, roles, self.texts) for each in self._commands.values()]

    def help(self, context: RequestContext, name: str = "") -> str:
        """Return the list of commands, or what there is to know of the one that is named."""
        found = self._commands.get(key_of(name.removeprefix("/")))
        if found is not None and found.open_to(context.roles):
            return "\n".join([found.usage, found.description, *self._arguments(found)])
        return "\n".join(
            f"/{each.name}: {each.description}" for each in self._open_to(context.roles)
        )

    def _arguments(self, found: Command) -> Iterable[str]:
        for each in found.parameters:
            said = [each.description] if each.description else []
            if not each.is_flag:
                said.append(each.expected(self.texts))
            if default := _shown(each):
                said.append(self.texts.default.format(value=default))
            yield f"{each.label}: {'; '.join(text.removesuffix('.') for text in said)}"

    def _unknown(self, name: str, roles: frozenset[str]) -> str:
        named = {each.key: f"/{each.name}" for each in self._open_to(roles)}
        # A longer one is like none of them, and takes long to compare.
        near = difflib.get_close_matches(key_of(name), named) if len(name) <= MAX_NAME else []
        told = [self.texts.unknown.format(name=clip(name))]
        if near:
            told.append(self.texts.nearest.format(names=", ".join(named[key] for key in near)))
        return " ".join([*told, self.texts.see_help])

    def _open_to(self, roles: frozenset[str]) -> Iterable[Command]:
        return [each for each in self._commands.values() if each.open_to(roles)]


def _help_of(commands: Commands) -> Command:
    """Return the command that lists the others, described by the texts."""
    made = command(commands.help, name="help", scope="user")
    parameters = tuple(
        evolve(each, description=commands.texts.help_name) for each in made.parameters
    )
    return evolve(made, description=commands.texts.help, parameters=parameters)


def _parted(text: str) -> tuple[str, str]:
    """Return the name after a line's slash, and what follows it."""
    line = text[1:]
    if not line or line[0].isspace():
        return "", line.strip()
    name, *rest = line.split(maxsplit=1)
    return name, rest[0] if rest else ""


def _shown(parameter: Parameter) -> str:
    """Return a default as it would be written; nothing where that says nothing."""
    if parameter.default in (None, "", False, []):
        return ""
    return str(parameter.default)
