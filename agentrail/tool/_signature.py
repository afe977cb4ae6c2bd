"""What a typed function says about itself: its description, its arguments and their schema."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Union, get_type_hints

import msgspec
from attrs import frozen
from msgspec import UNSET, Struct, UnsetType

from agentrail.errors import ConfigError
from agentrail.requests import RequestContext
from agentrail.tool._docstring import parse_docstring

Field = tuple[str, object] | tuple[str, object, object]
"""A parameter for ``msgspec.defstruct``: name, type and, where it may be left out, a default."""


@frozen(slots=True)
class Signature:
    """A function, as a tool or a command needs to know it."""

    where: str
    """The function's full name, for messages."""
    description: str
    parameters: tuple[tuple[inspect.Parameter, object], ...]
    """Those that the caller fills in, each with its type."""
    arguments: type[Struct]
    """Has a field for each of them."""
    schema: dict[str, object]
    """The same as a JSON Schema."""
    contexts: tuple[str, ...]
    """The parameters that are given the request's context."""


def read_signature(function: Callable[..., object], kind: str = "tool") -> Signature:
    """Return what the function says about itself; ``kind`` is what is made of it, for messages.

    Raises:
        ConfigError: it says too little, or something that its callers cannot be told.
    """
    if not inspect.isroutine(function):
        raise ConfigError(f"@{kind} makes a {kind} of a function, and {function!r} is none")
    where = f"{kind} {function.__module__}.{function.__qualname__}"
    description, described = parse_docstring(function.__doc__ or "")
    if not description:
        raise ConfigError(f"{where} needs a docstring: its first paragraph is its description")
    parameters = inspect.signature(function).parameters
    for name in described.keys() - parameters.keys():
        raise ConfigError(f"{where}: the docstring describes {name!r}, which is no parameter")
    hints = _hints(where, function, parameters)
    shown = [each for each in parameters.values() if hints[each.name] is not RequestContext]
    fields = [_field(each, hints[each.name]) for each in shown]
    # The blank keeps the name apart from those of the types in the schema.
    arguments = msgspec.defstruct(
        f"{function.__name__} arguments", fields, forbid_unknown_fields=True, kw_only=True
    )
    return Signature(
        where=where,
        description=description,
        parameters=tuple((each, hints[each.name]) for each in shown),
        arguments=arguments,
        schema=_schema(arguments, shown, described),
        contexts=tuple(name for name in parameters if hints[name] is RequestContext),
    )


def _hints(
    where: str, function: Callable[..., object], parameters: Mapping[str, inspect.Parameter]
) -> dict[str, object]:
    """Return the types of the parameters, each of which has one that JSON can tell."""
    try:
        hints: dict[str, object] = get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise ConfigError(f"{where}: an annotation cannot be resolved: {error}") from error
    for name, parameter in parameters.items():
        fault = f"{where}: parameter {name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{fault} cannot be passed by name: use none of *, ** and /")
        if name not in hints:
            raise ConfigError(f"{fault} needs an annotation: callers are told its type")
        if hints[name] is RequestContext:
            continue
        if hints[name] is object:
            hints[name] = Any  # which msgspec takes in unions, too
        try:
            msgspec.json.schema(hints[name], schema_hook=_anything)
        except TypeError as error:
            reason = str(error).splitlines()[-1]
            raise ConfigError(f"{fault} has no JSON Schema: {reason}") from error
    return hints


def _field(parameter: inspect.Parameter, hint: object) -> Field:
    if parameter.default is parameter.empty:
        return (parameter.name, hint)
    # Left out by the model means left out of the call: the default stays the function's own.
    return (parameter.name, Union[hint, UnsetType], UNSET)  # noqa: UP007 - hint is a value


def _anything(kind: type) -> dict[str, object]:
    """Return the schema of ``object``, which msgspec converts to but does not describe."""
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError


def _schema(
    arguments: type[Struct], parameters: list[inspect.Parameter], described: Mapping[str, str]
) -> dict[str, object]:
    """Return one object: the types that it refers to are in its ``$defs``."""
    (top,), types = msgspec.json.schema_components(
        (arguments,), schema_hook=_anything, ref_template="#/$defs/{name}"
    )
    schema = types.pop(top["$ref"].rpartition("/")[2])
    del schema["title"]
    for parameter in parameters:
        about = schema["properties"][parameter.name]
        if parameter.name in described:
            about.setdefault("description", described[parameter.name])
        if parameter.default is not parameter.empty:
            try:
                about["default"] = msgspec.to_builtins(parameter.default, str_keys=True)
            except TypeError:  # a default that the model could not write stays unsaid
                continue
    return {**schema, "$defs": types} if types else schema
