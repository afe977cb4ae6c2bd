"""A command made of a typed function."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, cast, overload

from attrs import evolve, frozen

from agentrail.command._parameter import Parameter, read_parameter
from agentrail.command._parse import read_line
from agentrail.command._texts import ENGLISH, Texts
from agentrail.errors import ConfigError
from agentrail.requests import RequestContext
from agentrail.tool import Signature, call_function, read_signature

Scope = Literal["session", "user", "admin"]
"""What a command is about: this session, the user, or the host, which is for admins alone."""

ADMIN: Final = "admin"
"""The role that a command of that scope demands."""

SECONDS: Final = 60.0
"""What a command may take by default; more than it may have to wait for its session."""

BACKGROUND_SECONDS: Final = 3600.0
"""What a command in the background may take by default."""

MAX_NAME: Final = 64
"""The longest name, in characters."""

_NAME = re.compile(r"\w[\w-]*")


@frozen(kw_only=True, eq=False)
class Command:
    """A command; ``attrs.evolve`` makes one with another description or name of it."""

    name: str
    """As it is typed after the slash; capitals make no difference, nor does ``_`` for ``-``."""
    description: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., object]
    """What it was made of."""
    contexts: tuple[str, ...]
    """The function's parameters that are given the request's context."""
    scope: Scope
    keep: bool
    """Whether the command and its answer go into the session's history."""
    background: bool
    """Whether it is answered at once, and runs on when the request has ended."""
    seconds: float
    """What a run of it may take."""

    @property
    def key(self) -> str:
        """Its name as it is looked up."""
        return key_of(self.name)

    @property
    def usage(self) -> str:
        """How it is written: options first, what may be left out in brackets."""
        ordered = sorted(self.parameters, key=lambda parameter: parameter.positional)
        return " ".join([f"/{self.name}", *(parameter.usage for parameter in ordered)])

    def open_to(self, roles: frozenset[str]) -> bool:
        """Tell whether somebody with these roles may use it."""
        return self.scope != "admin" or ADMIN in roles

    def read(self, line: str, texts: Texts = ENGLISH) -> dict[str, object]:
        """Return the arguments that stand after the command's name, for ``function``.

        Raises:
            CommandInvalid: they do not fit; the text says which one, and what is expected.
            PayloadTooLarge: the line is too long.
        """
        return read_line(self.name, self.parameters, line, texts)

    async def call(self, arguments: Mapping[str, object], context: RequestContext) -> object:
        """Return what the function returns; a sync one runs in a worker thread."""
        given = {**arguments, **dict.fromkeys(self.contexts, context)}
        is_async = inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(
            self.function
        )
        return await call_function(self.function, given, is_async=is_async)


def key_of(name: str) -> str:
    """Return a command's name as it is looked up."""
    return name.casefold().replace("_", "-")


@overload
def command(
    function: Callable[..., object],
    /,
    *,
    name: str | None = None,
    scope: Scope = "session",
    keep: bool = False,
    background: bool = False,
    seconds: float | None = None,
) -> Command: ...


@overload
def command(
    *,
    name: str | None = None,
    scope: Scope = "session",
    keep: bool = False,
    background: bool = False,
    seconds: float | None = None,
) -> Callable[[Callable[..., object]], Command]: ...


def command(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    scope: Scope = "session",
    keep: bool = False,
    background: bool = False,
    seconds: float | None = None,
) -> Command | Callable[[Callable[..., object]], Command]:
    """Return a command made of the function; given only options, return what makes it.

    The docstring's first paragraph is the description, and its ``Args:`` section (Google style)
    describes the parameters.  Parameters are given in their order; those that are keyword-only,
    and those of type ``bool``, as ``--name``.  The last one in the order takes, when it is a
    ``str``, the rest of the line as it stands.  A parameter annotated ``RequestContext`` is given
    the request's context.

    The function returns the answer: a text, a ``ChatResponse``, or a value that is told as JSON;
    an async generator of texts is an answer that comes in pieces.  What it raises is an answer
    too.

    Args:
        function: a function, sync or async, or an async generator; a sync one runs in a worker
            thread, in which ``context.services`` must not be used.
        name: the command's name; by default the function's, with ``-`` for ``_``.
        scope: what it is about; ``admin`` demands the role ``admin``.
        keep: whether the command and its answer go into the session's history.
        background: whether it is answered at once and runs on when the request has ended; its
            result is added to the session then.
        seconds: what a run may take; by default 60, in the background 3600.

    Raises:
        ConfigError: the function cannot be a command as it is; says why.
    """
    if function is None:
        make = functools.partial(
            command, name=name, scope=scope, keep=keep, background=background, seconds=seconds
        )
        return cast("Callable[[Callable[..., object]], Command]", make)
    signature = read_signature(function, "command")
    if inspect.isgeneratorfunction(function):
        raise ConfigError(f"{signature.where} is a generator: make it an async one")
    name = function.__name__.strip("_").replace("_", "-") if name is None else name
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{signature.where}: {name!r} is no name for a command: use up to {MAX_NAME} letters, "
            "digits, '_' and '-', and no slash"
        )
    if seconds is None:
        seconds = BACKGROUND_SECONDS if background else SECONDS
    if seconds <= 0:
        raise ConfigError(f"{signature.where}: seconds must be over 0, not {seconds!r}")
    return Command(
        name=name,
        description=signature.description,
        parameters=_parameters(signature),
        function=function,
        contexts=signature.contexts,
        scope=scope,
        keep=keep,
        background=background,
        seconds=seconds,
    )


def _parameters(signature: Signature) -> tuple[Parameter, ...]:
    """Return the parameters, of which the last one in the order may take all that is left.

    Raises:
        ConfigError: a line could be read in more than one way.
    """
    described = cast("Mapping[str, Mapping[str, str]]", signature.schema["properties"])
    parameters = [
        read_parameter(signature.where, each, hint, described[each.name].get("description", ""))
        for each, hint in signature.parameters
    ]
    placed = [number for number, each in enumerate(parameters) if each.positional]
    for number in placed[:-1]:
        if parameters[number].many:
            fault = f"{signature.where}: parameter {parameters[number].name!r}"
            raise ConfigError(f"{fault} takes many values: make it the last one or keyword-only")
    if placed and not parameters[placed[-1]].many and parameters[placed[-1]].kind == "string":
        parameters[placed[-1]] = evolve(parameters[placed[-1]], rest=True)
    _check_names(signature.where, parameters)
    return tuple(parameters)


def _check_names(where: str, parameters: Sequence[Parameter]) -> None:
    seen: set[str] = set()
    for each in parameters:
        names = [each.shown, f"no-{each.shown}"] if each.is_flag else [each.shown]
        for name in names:
            if name.casefold() in seen:
                raise ConfigError(f"{where}: two parameters would be written --{name}")
            seen.add(name.casefold())
