"""A parameter of a command: what it takes, and how words become its value."""

import inspect
import math
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Final, Literal, Union, cast, get_args, get_origin

import msgspec
from attrs import frozen
from msgspec import inspect as kinds

from agentrail.command._texts import CommandInvalid, Texts
from agentrail.command._words import clip
from agentrail.errors import ConfigError

Kind = Literal["string", "integer", "number", "boolean", "date", "datetime", "choice"]
"""What a value is."""

_KINDS: Final[Mapping[type[kinds.Type], Kind]] = {
    kinds.StrType: "string",
    kinds.IntType: "integer",
    kinds.FloatType: "number",
    kinds.BoolType: "boolean",
    kinds.DateType: "date",
    kinds.DateTimeType: "datetime",
    kinds.EnumType: "choice",
    kinds.LiteralType: "choice",
}
_SIGNS: Final = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_LENGTHS: Final = {"min_length": "≥", "max_length": "≤"}


@frozen(slots=True, eq=False)
class Parameter:
    """One parameter."""

    name: str
    """The function's name for it."""
    shown: str
    """The same as it is written in a command, without dashes before it."""
    description: str
    kind: Kind
    required: bool
    default: object
    """What stands in for it, as text or as JSON would have it; None where nothing can be said."""
    choices: Mapping[str, object]
    """The values that it may have, by what is written for them."""
    positional: bool
    """Whether it can be given without its name."""
    many: bool
    """Whether it takes any number of values."""
    bounds: str
    """Limits of a value, such as ``≥ 1, ≤ 10``; of a text, of its length."""
    pattern: str
    """The regular expression that a text has to match."""
    count: str
    """Limits of the number of values."""
    hint: object
    """What one value is converted to."""
    whole: object
    """What all of them are converted to, where it takes many."""
    rest: bool = False
    """Whether it takes the rest of the line, as it stands."""

    @property
    def is_flag(self) -> bool:
        """Whether its name alone says all."""
        return self.kind == "boolean" and not self.many

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.shown if self.positional else f"--{self.shown}"

    @property
    def usage(self) -> str:
        """How it is written."""
        if self.is_flag:
            usage = f"--{self.shown}"
        else:
            value = "|".join(self.choices) if self.choices else self.shown
            usage = f"<{value}>" if self.positional else f"--{self.shown} <{value}>"
        more = "…" if self.many else ""
        return f"{usage}{more}" if self.required else f"[{usage}{more}]"

    def expected(self, texts: Texts) -> str:
        """Return what one value must be."""
        if self.kind == "choice":
            return texts.choice.format(choices=", ".join(self.choices))
        text: str = getattr(texts, self.kind)
        limits = [self.bounds] if self.bounds else []
        if limits and self.kind == "string":
            limits = [texts.length.format(bounds=self.bounds)]
        if self.pattern:
            limits.append(self.pattern)
        return f"{text} ({', '.join(limits)})" if limits else text

    def convert(self, given: Sequence[str], texts: Texts) -> object:
        """Return the value that the words stand for.

        Raises:
            CommandInvalid: they stand for none; the text names the parameter and what it takes.
        """
        values = [self._one(text, texts) for text in given]
        if not self.many:
            return values[0]
        try:
            return msgspec.convert(values, self.whole)
        except msgspec.ValidationError as error:
            text = texts.count.format(argument=self.label, bounds=self.count)
            raise CommandInvalid(text) from error

    def _one(self, text: str, texts: Texts) -> object:
        if self.kind == "choice":
            if text in self.choices:
                return self.choices[text]
            folded = [name for name in self.choices if name.casefold() == text.casefold()]
            if len(folded) == 1:
                return self.choices[folded[0]]
        else:
            try:
                value: object = msgspec.convert(text, self.hint, strict=False)
            except (msgspec.ValidationError, UnicodeEncodeError):  # half a surrogate pair
                value = math.nan
            if not isinstance(value, float) or math.isfinite(value):
                return value
        expected = self.expected(texts)
        raise CommandInvalid(
            texts.wrong.format(argument=self.label, expected=expected, value=clip(text))
        )


def read_parameter(
    where: str, parameter: inspect.Parameter, hint: object, description: str
) -> Parameter:
    """Return what a function's parameter takes.

    Raises:
        ConfigError: its type cannot be written in a command's line.
    """
    whole = _without_none(hint)
    info, item = _unwrapped(kinds.type_info(whole)), whole
    many = isinstance(info, kinds.CollectionType | kinds.VarTupleType)
    count = ""
    if isinstance(info, kinds.CollectionType | kinds.VarTupleType):
        count = _bounds(info, _LENGTHS)
        info, item = _unwrapped(info.item_type), next(iter(get_args(_bare(whole))), str)
    if type(info) not in _KINDS:
        raise ConfigError(
            f"{where}: parameter {parameter.name!r} has a type that nobody can write in a command: "
            "use str, int, float, bool, a date, an Enum, a Literal, or a list of one of these"
        )
    kind = _KINDS[type(info)]
    by_name = parameter.kind is parameter.KEYWORD_ONLY or (kind == "boolean" and not many)
    choices = _choices(info)
    required = parameter.default is parameter.empty
    return Parameter(
        name=parameter.name,
        shown=parameter.name.strip("_").replace("_", "-"),
        description=description,
        kind=kind,
        required=required,
        default=None if required else _said(parameter.default, choices),
        choices=choices,
        positional=not by_name,
        many=many,
        bounds=_bounds(info, _SIGNS) or _bounds(info, _LENGTHS),
        pattern=getattr(info, "pattern", None) or "",
        count=count,
        hint=item,
        whole=whole,
    )


def _without_none(hint: object) -> object:
    """Return a type without its None, which nobody can write."""
    if get_origin(hint) in (Union, types.UnionType):
        left = tuple(each for each in get_args(hint) if each is not types.NoneType)
        return Union[left] if left else hint  # noqa: UP007 - it is made here
    return hint


def _bare(hint: object) -> object:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _unwrapped(info: kinds.Type) -> kinds.Type:
    while isinstance(info, kinds.Metadata):
        info = info.type
    return info


def _bounds(info: kinds.Type, signs: Mapping[str, str]) -> str:
    limits = [(sign, getattr(info, name, None)) for name, sign in signs.items()]
    return ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)


def _choices(info: kinds.Type) -> dict[str, object]:
    """Return what may be written, and what it stands for."""
    if isinstance(info, kinds.EnumType):
        members: list[Enum] = list(info.cls)
        return {_written(member): member for member in members}
    if isinstance(info, kinds.LiteralType):
        return {str(value): value for value in info.values}
    return {}


def _written(member: Enum) -> str:
    """Return an enum's text, or else its name."""
    value = cast("object", member.value)
    return value if isinstance(value, str) else member.name.lower().replace("_", "-")


def _said(default: object, choices: Mapping[str, object]) -> object:
    """Return a default as JSON would have it."""
    for name, value in choices.items():
        if value is default or value == default:
            return name
    try:
        return cast("object", msgspec.to_builtins(default, str_keys=True))
    except TypeError:
        return None
