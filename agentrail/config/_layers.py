"""Settings from several places as one, each value with the place that it came from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from attrs import field, frozen

from agentrail.config._document import Document, inside, shown
from agentrail.errors import Fault


@frozen(slots=True)
class Source:
    """Where a value came from."""

    kind: Literal["default", "file", "environment", "flag"]
    name: str = ""
    """The file, the variable or the option."""
    line: int | None = None
    """In the file, from 1."""

    def __str__(self) -> str:
        """Return the place as one writes it."""
        return self.name if self.line is None else f"{self.name}:{self.line}"


@frozen(slots=True)
class Layer:
    """Settings of one place; what is in a later layer counts more."""

    data: Mapping[str, object] = field(repr=False)
    source: Callable[[str], Source] = field(repr=False)
    """Returns where the value of a path came from."""


@frozen(slots=True)
class Layered:
    """Settings of all places together."""

    data: Mapping[str, object] = field(repr=False)
    sources: Mapping[str, Source] = field(repr=False)
    """By the path of each value that is no mapping, and of each mapping."""

    def source(self, path: str) -> Source:
        """Return where a value came from, or what it stands in; else it is the default."""
        while path:
            if path in self.sources:
                return self.sources[path]
            path = path.rpartition(".")[0]
        return Source("default")

    def fault(self, code: str, message: str, path: str = "", key: str | None = None) -> Fault:
        """Return a fault with its place; ``key`` is told of it when the path is not to be."""
        source = self.source(path)
        return Fault(code, message, source.name, source.line, shown(path if key is None else key))


def file_layer(document: Document) -> Layer:
    """Return the settings of a file."""
    lines = dict(document.lines())

    def source(path: str) -> Source:
        # In TOML a value that is in another's has no line of its own.
        while path not in lines and "." in path:
            path = path.rpartition(".")[0]
        return Source("file", document.file, lines.get(path))

    return Layer(document.data, source)


def nearest(sources: Mapping[str, Source], path: str) -> Source | None:
    """Return the source that says a path, or what is above or below it."""
    at = path
    while at:
        if at in sources:
            return sources[at]
        at = at.rpartition(".")[0]
    return next((source for at, source in sources.items() if at.startswith(f"{path}.")), None)


def layered(layers: Sequence[Layer]) -> Layered:
    """Return the settings of layers: mappings are merged, all else replaces what is below."""
    data, sources = dict[str, object](), dict[str, Source]()
    for layer in layers:
        _merge(data, layer.data, "", layer, sources)
    return Layered(data, sources)


def _merge(
    below: dict[str, object],
    above: Mapping[str, object],
    path: str,
    layer: Layer,
    sources: dict[str, Source],
) -> None:
    for key, value in above.items():
        at = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            table = below.get(key)
            if not isinstance(table, dict):
                _forget(table, at, sources)
                table = below[key] = dict[str, object]()
            sources.setdefault(at, layer.source(at))
            inner = cast("dict[str, object]", value)
            _merge(cast("dict[str, object]", table), inner, at, layer, sources)
        else:
            _forget(below.get(key), at, sources)
            below[key] = value
            _note(value, at, layer, sources)


def _note(value: object, path: str, layer: Layer, sources: dict[str, Source]) -> None:
    """Note the place of a value, and of all that is in a list."""
    sources[path] = layer.source(path)
    for at, each in inside(path, value):
        _note(each, at, layer, sources)


def _forget(value: object, path: str, sources: dict[str, Source]) -> None:
    """Forget the place of a value that is replaced, and of all that is in it."""
    sources.pop(path, None)
    for at, each in inside(path, value):
        _forget(each, at, sources)
