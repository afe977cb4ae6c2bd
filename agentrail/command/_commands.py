"""The plugin that answers messages which begin with a slash."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from agentrail.command._command import MAX_NAME, Command, command, key_of
from agentrail.command._info import CommandInfo, info_of
from agentrail.command._locale import in_language
from agentrail.command._parameter import Parameter
from agentrail.command._run import Background, Run
from agentrail.command._texts import ENGLISH, Texts
from agentrail.command._words import clip
from agentrail.errors import ConfigError, RequestError
from agentrail.requests import ChatRequest, ChatResponse, RequestContext

_LONGER: Final = 5.0
"""Seconds that the hook has more than the slowest command, which is to end by its own deadline."""

_UNSEEN: Final = "\ufeff\u061c\u200b\u200e\u200f\u202a\u202b\u2066\u2067\u2068"
"""What keyboards of right-to-left scripts, and what is pasted, may have before the slash."""

_UNKNOWN: Final = 404
_FORBIDDEN: Final = 403


class Commands:
    """Answers messages that begin with a slash; none of them reaches the model.

    ``/help`` is there by itself.  A message that names no command is answered with the names that
    are most like it, one that does not fit its command with what is expected, and a command that
    fails with why.

    Args:
        commands: those that there are besides ``/help``, in the order of its list.
        texts: the sentences of its own, for a translation; or several of these by languages, of
            which a request gets the one for its locale, or else the first.
        in_background: how many commands of one user may run in the background at a time.

    Raises:
        ConfigError: two commands have the same name, or one is none; or the texts describe one
            that there is not.
    """

    name = "slash-commands"
    critical = True
    """What fails in a way that nobody foresaw is refused, not asked of the model."""

    def __init__(
        self,
        commands: Iterable[Command],
        *,
        texts: Texts | Mapping[str, Texts] = ENGLISH,
        in_background: int = 4,
    ) -> None:
        named: dict[str, Command] = {}
        for each in (command(self.help, name="help", scope="user"), *commands):
            if not isinstance(each, Command):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigError(f"{each!r} is no command: put @command before the function")
            if each.key in named:
                raise ConfigError(f"two commands are named {each.name!r}: rename one of them")
            named[each.key] = each
        if in_background < 1:
            raise ConfigError(f"in_background must be 1 or more, not {in_background!r}")
        spoken = {"": texts} if isinstance(texts, Texts) else texts
        if not spoken:
            raise ConfigError("texts has no language: give one Texts, or some by their languages")
        self._languages = {tag: _Language.of(each, named) for tag, each in spoken.items()}
        self._background = Background(in_background)
        slowest = max(each.seconds for each in named.values() if not each.background)
        self.deadlines: Mapping[str, float] = {"intercept_chat_request": slowest + _LONGER}

    async def intercept_chat_request(
        self, request: ChatRequest, context: RequestContext
    ) -> ChatResponse | None:
        """Answer a message that begins with a slash."""
        text = request.text.strip().lstrip(_UNSEEN).lstrip()
        if not text.startswith("/"):
            return None
        name, line = _parted(text)
        language = in_language(self._languages, context.locale)
        texts, found = language.texts, language.commands.get(key_of(name))
        if found is None or not found.open_to(context.roles):
            return language.without(name, context.roles)
        try:
            arguments = found.read(line, texts)
        except RequestError as error:
            usage = texts.usage.format(usage=found.usage)
            return ChatResponse(f"{error.detail}\n{usage}", status=error.status)
        return await Run(found, arguments, context, texts, self._background).answer()

    def listing(self, roles: frozenset[str], locale: str = "") -> Sequence[CommandInfo]:
        """Return all commands, each with whether somebody with these roles may use it."""
        language = in_language(self._languages, locale)
        return [info_of(each, roles, language.texts) for each in language.commands.values()]

    def help(self, context: RequestContext, name: str = "") -> ChatResponse:
        """Return the list of commands, or what there is to know of the one that is named."""
        language = in_language(self._languages, context.locale)
        name, more = _parted(f"/{name.strip().removeprefix('/')}")
        found = language.commands.get(key_of(name))
        if not name or (found is None and more):  # as in "/help me, please"
            return ChatResponse(language.listed(context.roles))
        if found is None or not found.open_to(context.roles):
            return language.without(name, context.roles)
        return ChatResponse("\n".join([found.usage, found.description, *language.told(found)]))


@frozen(slots=True)
class _Language:
    """The commands in one language."""

    texts: Texts
    commands: Mapping[str, Command]
    """By their keys."""

    @classmethod
    def of(cls, texts: Texts, named: Mapping[str, Command]) -> "_Language":
        """Return the commands as the texts describe them.

        Raises:
            ConfigError: they describe one that there is not.
        """
        told = {"help": texts.help, "help.name": texts.help_name, **texts.descriptions}
        commands = {
            key: evolve(
                each,
                description=told.pop(each.name, each.description),
                parameters=tuple(
                    evolve(one, description=told.pop(f"{each.name}.{one.shown}", one.description))
                    for one in each.parameters
                ),
            )
            for key, each in named.items()
        }
        if told:
            listed = ", ".join(map(repr, told))
            raise ConfigError(
                f"Texts.descriptions has {listed}: no command, nor an argument of one"
            )
        return cls(texts, commands)

    def listed(self, roles: frozenset[str]) -> str:
        """Return the list of the commands that somebody with these roles may use."""
        return "\n".join(f"/{each.name}: {each.description}" for each in self._open_to(roles))

    def told(self, found: Command) -> Iterable[str]:
        """Yield what there is to know of a command's arguments, a line each."""
        for each in found.parameters:
            said = [each.description] if each.description else []
            if not each.is_flag:
                said.append(each.expected(self.texts))
            if default := _shown(each):
                said.append(self.texts.default.format(value=default))
            yield f"{each.label}: {'; '.join(text.removesuffix('.') for text in said)}"

    def without(self, name: str, roles: frozenset[str]) -> ChatResponse:
        """Return the answer to a name that there is not, or not for somebody with these roles."""
        found = self.commands.get(key_of(name))
        if found is not None:
            return ChatResponse(self.texts.forbidden.format(name=found.name), status=_FORBIDDEN)
        named = {each.key: f"/{each.name}" for each in self._open_to(roles)}
        # A longer one is like none of them, and takes long to compare.
        near = difflib.get_close_matches(key_of(name), named) if len(name) <= MAX_NAME else []
        told = [self.texts.unknown.format(name=clip(name))]
        if near:
            told.append(self.texts.nearest.format(names=", ".join(named[key] for key in near)))
        return ChatResponse(" ".join([*told, self.texts.see_help]), status=_UNKNOWN)

    def _open_to(self, roles: frozenset[str]) -> Iterable[Command]:
        return [each for each in self.commands.values() if each.open_to(roles)]


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
