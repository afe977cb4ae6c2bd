"""Reading the keys of a manifest one by one, and noting every fault instead of the first."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from attrs import define, field

from agentrail.config import Document, shown
from agentrail.errors import Fault

T = TypeVar("T")

_MOST: Final = 50
"""How many faults are told of one manifest."""

Check = Callable[[str], str | None]
"""Returns what is wrong with a text."""


@define(slots=True)
class Fields:
    """One table of a manifest, and the faults that were found in it so far."""

    document: Document
    data: Mapping[str, object]
    faults: list[Fault]
    path: str = ""
    _asked: set[str] = field(factory=set[str])

    def fault(self, key: str, message: str, code: str = "manifest_schema") -> None:
        """Note a fault of a key, unless there are so many that nobody reads them."""
        if len(self.faults) >= _MOST:
            return
        path = f"{self.path}.{key}" if self.path and key else self.path or key
        self.faults.append(self.document.fault(code, message, path))

    def has(self, key: str) -> bool:
        """Tell whether the table has the key."""
        return key in self.data

    def text(
        self,
        key: str,
        default: str = "",
        *,
        longest: int = 200,
        required: bool = False,
        code: str = "manifest_schema",
        check: Check | None = None,
    ) -> str:
        """Return a text; ``code`` is of what ``check`` finds."""
        value = self._get(key, str)
        if value is None:
            if required and not self.has(key):
                self.fault(key, f"{key!r} is missing", code)
            return default
        if len(value) > longest or "\0" in value:
            self.fault(key, f"it may have {longest} characters, and no null among them", code)
        elif check is not None and (wrong := check(value)) is not None:
            self.fault(key, wrong, code)
        else:
            return value
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self._get(key, bool)
        return default if value is None else value

    def number(self, key: str, default: float, most: float) -> float:
        """Return a number over 0 and not over ``most``."""
        self._asked.add(key)
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            self.fault(key, f"it must be a number over 0, and at most {most:g}", "resource_limit")
            return default
        return float(value)

    def texts(
        self, key: str, *, code: str = "manifest_schema", check: Check | None = None, most: int = 64
    ) -> tuple[str, ...]:
        """Return a list of texts, each once."""
        values = cast("list[object]", self._get(key, list) or ())
        if len(values) > most:
            self.fault(key, f"it has {len(values)} entries; at most {most} are taken", code)
        found: dict[str, None] = {}
        for value in values[:most]:
            if not isinstance(value, str):
                self.fault(key, f"its entries must be texts, not {_kind(value)}", code)
            elif check is not None and (wrong := check(value)) is not None:
                self.fault(key, wrong, code)
            else:
                found[value] = None
        return tuple(found)

    def table(self, key: str) -> "Fields":
        """Return a table in this one, empty when there is none."""
        value = cast("dict[str, object] | None", self._get(key, dict))
        path = f"{self.path}.{key}" if self.path else key
        return Fields(self.document, value or {}, self.faults, path)

    def tables(self, key: str) -> "Sequence[Fields]":
        """Return the tables of a list."""
        found: list[Fields] = []
        for value in cast("list[object]", self._get(key, list) or ()):
            if isinstance(value, dict):
                path = f"{self.path}.{key}" if self.path else key
                table = cast("dict[str, object]", value)
                found.append(Fields(self.document, table, self.faults, path))
            else:
                self.fault(key, f"its entries must be tables, not {_kind(value)}")
        return found

    def anything(self, key: str) -> object:
        """Return what stands there, whatever it is."""
        self._asked.add(key)
        return self.data.get(key)

    def no_more(self, known: Iterable[str] = ()) -> None:
        """Note every key that nobody asked for; ``x-`` keys are the author's own."""
        asked = {*self._asked, *known}
        for key in self.data:
            if len(self.faults) >= _MOST:
                return
            if key not in asked and not key.startswith("x-"):
                near = difflib.get_close_matches(key, asked, n=1, cutoff=0.6)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                self.fault(key, f"there is no key {shown(key, 80)!r} here{meant}")

    def _get(self, key: str, kind: type[T]) -> T | None:
        self._asked.add(key)
        value = self.data.get(key)
        if value is None and key not in self.data:
            return None
        if isinstance(value, kind):
            return value
        self.fault(key, f"it must be {_KINDS[kind]}, not {_kind(value)}")
        return None


_KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
