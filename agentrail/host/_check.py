"""Whether an application's parts are what the annotations of their fields say.

Nothing is called or opened.  What is wrong here would otherwise fail in a turn, or not at all.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Final, Literal, cast, get_args, get_origin

import attrs

from agentrail.errors import CompositionError
from agentrail.hook import Tool
from agentrail.host._config import AppConfig
from agentrail.profile import Profile
from agentrail.route import Route
from agentrail.tool import Rule

_PLAIN: Final[Mapping[object, tuple[str, tuple[type, ...]]]] = {
    str: ("a text", (str,)),
    bool: ("True or False", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    Path: ("a path", (Path,)),
}
"""What such a value is called, and what it may be."""

_INSTEAD: Final[Mapping[object, str]] = {
    Tool: "is no tool: decorate it with @tool",
    Rule: "is no permission: write allow(...), ask(...) or deny(...)",
}
"""What is said where one is missing that is seldom made by the name of its type."""

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("context",),
    "context_providers": ("context", "messages"),
    "model_middleware": ("request", "call_next"),
    "tool_middleware": ("request", "call_next"),
    "endpoint": ("request", "host"),
    "on_plugin_error": ("failure",),
    "packages.secrets": ("name",),
}
"""What the functions in these fields are called with."""

_SHOWN: Final = 60
"""How many characters of a wrong value are shown."""


def check_kinds(config: AppConfig) -> None:
    """Return when every field of an application's parts holds what it says.

    Raises:
        CompositionError: one does not; it lists them all.
    """
    faults = tuple(_faults(config, AppConfig, "create_app"))
    days = config.session_days if not faults else None
    if days is not None and not days > 0:  # all sessions would go at once
        faults = (f"AppConfig: session_days must be over 0, not {days:g}",)
    if faults:
        raise CompositionError(faults)


def _field_faults(part: object, kind: type[attrs.AttrsInstance], at: str) -> Iterator[str]:
    """Yield what is wrong with the fields that a part has by ``kind``, and not by a subclass."""
    if isinstance(part, AppConfig):
        where = "AppConfig: "
    elif isinstance(part, Profile):
        where = f"profile {part.id!r}: "
    elif isinstance(part, Route):
        where = f"route {part.path!r}: "
    else:
        where = f"{at}."
    for field in attrs.fields(kind):
        yield from _faults(getattr(part, field.name), field.type, where + field.name)


def _faults(value: object, kind: object, at: str) -> Iterator[str]:
    """Yield what is wrong with the value of a field, or of an item of one, that is at ``at``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is object:
        return
    if origin is UnionType:
        yield from _union_faults(value, arguments, at)
    elif origin in {Sequence, Mapping}:
        yield from _item_faults(value, cast("type", origin), arguments[-1], at)
    elif origin is Callable:
        yield from _function_faults(value, at)
    elif origin is Literal:
        if value not in arguments:
            yield f"{at} must be one of {', '.join(map(repr, arguments))}, not {_shown(value)}"
    elif kind in _PLAIN:
        name, types = _PLAIN[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
            yield f"{at} must be {name}, not {_shown(value)}"
    else:
        yield from _object_faults(value, cast("type", kind), at)


def _union_faults(value: object, kinds: Sequence[object], at: str) -> Iterator[str]:
    if value is None and NoneType in kinds:
        return
    some = [kind for kind in kinds if kind is not NoneType]
    faults = [list(_faults(value, kind, at)) for kind in some]
    if [] in faults:
        return
    if len(some) == 1 or callable(value):
        yield from faults[-1]
    else:
        names = [_PLAIN[kind][0] if kind in _PLAIN else "a function" for kind in some]
        yield f"{at} must be {' or '.join(names)}, not {_shown(value)}"


def _item_faults(value: object, kind: type, item_kind: object, at: str) -> Iterator[str]:
    if not isinstance(value, kind) or isinstance(value, str | bytes):
        name = "a list" if kind is Sequence else "a mapping"
        yield f"{at} must be {name}, not {_shown(value)}"
        return
    mapping = cast("Mapping[object, object]", value)
    items = (
        mapping.items()
        if isinstance(value, Mapping)
        else enumerate(cast("Sequence[object]", value))
    )
    for key, item in items:
        yield from _faults(item, item_kind, f"{at}[{key!r}]")


def _function_faults(value: object, at: str) -> Iterator[str]:
    names = _ARGUMENTS[at.rpartition(": ")[2].partition("[")[0]]
    if isinstance(value, type):
        yield f"{at}: {_class(value)}"
    elif not callable(value):
        yield f"{at} must be a function of ({', '.join(names)}), not {_shown(value)}"
    else:
        try:
            signature = inspect.signature(value)
        except ValueError:  # none to be had, as for some functions written in C
            return
        fault = f"{at}: {_shown(value)} must take ({', '.join(names)})"
        if _makes(signature.return_annotation, names):
            yield f"{fault}, as what it returns does: write {_shown(value)}(...)"
        elif not _takes(signature, names):
            yield fault


def _takes(signature: inspect.Signature, names: Sequence[str]) -> bool:
    try:
        signature.bind(*names)
    except TypeError:
        return False
    return True


def _makes(returned: object, names: Sequence[str]) -> bool:
    """Tell whether a function that returns this makes the one that is meant."""
    if get_origin(returned) is Callable:
        taken = get_args(returned)[0]
        return isinstance(taken, list) and len(cast("list[object]", taken)) == len(names)
    # Of its own: every class can be called.
    if not isinstance(returned, type) or "__call__" not in dir(returned):
        return False
    return _takes(inspect.signature(returned.__call__), ("self", *names))


def _object_faults(value: object, kind: type, at: str) -> Iterator[str]:
    if isinstance(value, type):
        yield f"{at}: {_class(value)}"
    elif attrs.has(kind):
        if isinstance(value, kind):
            yield from _field_faults(value, kind, at)
        else:
            yield f"{at}: {_shown(value)} {_INSTEAD.get(kind, f'is no {kind.__name__}')}"
    else:
        lacks = [name for name in dir(kind) if name[0] != "_" and not hasattr(value, name)]
        if lacks:
            instead = f"is no {kind.__name__}: it has no {lacks[0]!r}"
            yield f"{at}: {_shown(value)} {_INSTEAD.get(kind, instead)}"


def _class(value: type) -> str:
    return f"{value.__name__} is a class: write {value.__name__}()"


def _shown(value: object) -> str:
    """Return a value as a message names it."""
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    name = type(value).__name__
    if type(value).__module__ != "builtins":
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
