"""Settings from environment variables, and environment variables in settings."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from agentrail.config._document import is_unicode, shown
from agentrail.config._layers import Layer, Source, nearest
from agentrail.config._schema import Schema, coerced, properties_at, types_at
from agentrail.errors import Fault

PREFIX: Final = "AGENTRAIL_"
BETWEEN: Final = "__"

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::(.*))?", re.DOTALL)


def environment_layer(
    variables: Mapping[str, str], schema: Schema, aliases: Mapping[str, str]
) -> tuple[Layer, Sequence[Fault]]:
    """Return the settings of variables, as ``AGENTRAIL_SERVER__PORT``, and what is wrong there.

    Between two levels are two underscores; ``aliases`` are other names of settings.  A variable
    with one level that is no setting is somebody else's.
    """
    data, sources, faults = dict[str, object](), dict[str, Source](), list[Fault]()
    for variable in sorted(variables):
        path = _path(variable, schema, aliases)
        if path is None:
            continue
        at = ".".join(path)
        source = Source("environment", shown(variable))
        if not is_unicode(variable + variables[variable]):
            faults.append(Fault("config_value", "it is not UTF-8", source.name, key=shown(at)))
        elif (listed := _list_above(path, schema)) is not None:
            whole = shown(PREFIX + BETWEEN.join(listed).upper())
            message = f"a single item of a list has no variable: set {whole}"
            faults.append(Fault("config_unknown", message, source.name, key=shown(at)))
        elif not types_at(schema, path):
            faults.append(_unknown(variable, path, schema))
        elif at in sources or not _put(data, path, coerced(variables[variable], schema, path)):
            message = f"{nearest(sources, at)} says it too: set one of them"
            faults.append(Fault("config_conflict", message, source.name, key=shown(at)))
        else:
            sources[at] = source
    return Layer(data, lambda path: nearest(sources, path) or Source("environment")), faults


def _path(variable: str, schema: Schema, aliases: Mapping[str, str]) -> list[str] | None:
    if variable in aliases:
        return aliases[variable].split(".")
    if not variable.startswith(PREFIX):
        return None
    path = variable.removeprefix(PREFIX).lower().split(BETWEEN)
    return path if len(path) > 1 or types_at(schema, path) else None


def _list_above(path: Sequence[str], schema: Schema) -> Sequence[str] | None:
    """Return the list that something is in, by its path; None when it is in none."""
    above = (path[:end] for end in range(1, len(path)))
    return next((each for each in above if types_at(schema, each) - {"null"} == {"array"}), None)


def _unknown(variable: str, path: Sequence[str], schema: Schema) -> Fault:
    wrong = next(at for at in range(len(path)) if not types_at(schema, path[: at + 1]))
    known = properties_at(schema, path[:wrong])
    near = difflib.get_close_matches(path[wrong], known, n=1)
    hint = ""
    if near:
        right = BETWEEN.join([*path[:wrong], *near, *path[wrong + 1 :]])
        hint = f"; did you mean {shown(PREFIX + right.upper())}?"
    message = f"there is no such setting{hint}"
    return Fault("config_unknown", message, shown(variable), key=shown(".".join(path)))


def _put(data: dict[str, object], path: Sequence[str], value: object) -> bool:
    *above, last = path
    for key in above:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            return False
        data = cast("dict[str, object]", inner)
    if last in data:
        return False
    data[last] = value
    return True


def filled_in(
    layer: Layer, variables: Mapping[str, str], schema: Schema
) -> tuple[Layer, Sequence[Fault]]:
    """Return settings with the variables that they name, as ``${NAME}`` or ``${NAME:default}``.

    ``$${`` stands for ``${``.
    """
    faults: list[Fault] = []

    def text(value: str, path: Sequence[str]) -> object:
        def variable(match: re.Match[str]) -> str:
            found, problem = _found(match, variables)
            if problem:
                source = layer.source(".".join(path))
                at = shown(".".join(path))
                faults.append(Fault("config_variable", problem, source.name, source.line, at))
            return found

        filled = _REFERENCE.sub(variable, value)
        whole = _REFERENCE.fullmatch(value)
        return coerced(filled, schema, path) if whole and whole[2] else filled

    def fill(value: object, path: Sequence[str]) -> object:
        if isinstance(value, str):
            return text(value, path)
        if isinstance(value, dict):
            table = cast("dict[str, object]", value)
            return {key: fill(inner, [*path, key]) for key, inner in table.items()}
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [fill(inner, [*path, str(at)]) for at, inner in enumerate(items)]
        return value

    data = cast("dict[str, object]", fill(dict(layer.data), []))
    return Layer(data, layer.source), faults


def _found(reference: re.Match[str], variables: Mapping[str, str]) -> tuple[str, str]:
    """Return the text that a reference stands for, and what is wrong with it."""
    if reference[1] is None:
        return "${", ""
    named = _NAME.fullmatch(reference[1]) if reference[2] else None
    if named is None:
        # What stands there is part of the value, which may be secret.
        return "", "write ${NAME} or ${NAME:default}, and $${ for what is no variable"
    found = variables.get(named[1], cast("str | None", named[2]))
    name = shown(named[1])
    if found is None:
        return "", f"the variable {name} is not set: set it, or write ${{{name}:…}}"
    if not is_unicode(found):
        return "", f"the variable {name} is not UTF-8"
    return found, ""
