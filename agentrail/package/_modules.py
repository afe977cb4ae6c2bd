"""A package's modules: imported under a name of their own, and gone again when it is unloaded.

Two versions of a package may be loaded at the same time, so nothing is put on ``sys.path`` and no
module of a package has the name that its author gave it: the name is kept under a prefix that
belongs to this one loading.  What the package's code imports is looked for in the package first.

Only ``import`` statements and ``__import__`` know the names that the author gave: for
``importlib.import_module`` and pickles a module has its name under the prefix, ``__name__``.
"""

import builtins
import importlib
import linecache
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from itertools import count
from types import ModuleType
from typing import Final

from attrs import define, field

from agentrail.package._files import PackageFiles
from agentrail.package._resource import Resource

_NUMBERS: Final = count(1)
_INIT: Final = "__init__.py"


@define(slots=True, eq=False)
class Modules:
    """The modules of one loaded package.

    ``aliases`` are names by which the package's code may call the package itself.
    """

    files: PackageFiles
    id: str
    aliases: Sequence[str] = ()
    prefix: str = field(init=False)
    """What the names of all its modules begin with."""
    _finder: "_Finder | None" = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Choose a prefix that no other loading has."""
        self.prefix = f"_package_{self.id.replace('-', '_')}_{next(_NUMBERS)}"

    def load(self, name: str = "") -> ModuleType:
        """Import and return one of its modules; empty names the package's own.

        Raises:
            ImportError: there is no such module in it, or it was unloaded meanwhile.
            Exception: what the module's code raises.
        """
        if self._finder is None:
            self._finder = _Finder(self.files, self.prefix, self.aliases)
            sys.meta_path.insert(0, self._finder)
        return importlib.import_module(f"{self.prefix}.{name}" if name else self.prefix)

    def unload(self) -> None:
        """Take all its modules out of the interpreter; what still refers to them keeps them.

        An import that goes on in another thread finds nothing more, and leaves nothing behind.
        """
        finder, self._finder = self._finder, None
        if finder is not None:
            finder.closed = True
            # Another list, for a thread that walks through the old one must not skip an entry.
            sys.meta_path = [each for each in sys.meta_path if each is not finder]
        for name in self.loaded():
            sys.modules.pop(name, None)
        for file in list(linecache.cache):
            if file.startswith(f"<{self.prefix}>/"):
                linecache.cache.pop(file, None)
        loggers = logging.Logger.manager.loggerDict
        for name in filter(self._is_mine, list(loggers)):
            loggers.pop(name, None)

    def loaded(self) -> list[str]:
        """Return the names of its modules that are in the interpreter."""
        return list(filter(self._is_mine, list(sys.modules)))

    def _is_mine(self, name: str) -> bool:
        return name == self.prefix or name.startswith(f"{self.prefix}.")


class _Finder(MetaPathFinder):
    """Finds the modules of one loaded package, and no others."""

    def __init__(self, files: PackageFiles, prefix: str, aliases: Sequence[str]) -> None:
        self.files = files
        self.closed = False
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._prefix = prefix
        tops = {
            path.partition("/")[0].removesuffix(".py") for path in files if path.endswith(".py")
        }
        self._names = {name: f"{prefix}.{name}" for name in tops}
        for alias in aliases:
            self._names.setdefault(alias, prefix)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != self._prefix and not fullname.startswith(f"{self._prefix}."):
            return None
        inside = fullname.removeprefix(self._prefix).lstrip(".").replace(".", "/")
        within = f"{inside}/" if inside else ""
        if f"{within}{_INIT}" not in self.files and f"{inside}.py" in self.files:
            return self._spec(fullname, f"{inside}.py", is_package=False)
        # A directory without code of its own is a package too, of whatever is in it.
        if not inside or any(each.startswith(within) for each in self.files):
            return self._spec(fullname, f"{within}{_INIT}", is_package=True)
        return None

    def _spec(self, fullname: str, file: str, *, is_package: bool) -> ModuleSpec:
        where = f"<{self._prefix}>/{file}"
        loader = _Loader(self, file, where)
        spec = ModuleSpec(fullname, loader, origin=where, is_package=is_package)
        spec.has_location = True
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - as __import__ names them
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Be ``__import__`` for the package's code."""
        top, _, rest = name.partition(".")
        here = self._names.get(top)
        if level or here is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        full = f"{here}.{rest}" if rest else here
        if fromlist:
            return builtins.__import__(full, globals, locals, fromlist, 0)
        importlib.import_module(full)
        return sys.modules[here]


class _Loader(SourceLoader):
    """Reads a module from its package; no compiled file is read or written."""

    def __init__(self, finder: _Finder, file: str, where: str) -> None:
        self._finder = finder
        self._file = file
        self._where = where

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - the interface
        return self._where

    def get_data(self, path: str | bytes) -> bytes:
        """Return the content of a file of the package, by its path as in ``__file__``."""
        files = self._finder.files
        file = str(path).removeprefix(self._where.removesuffix(self._file))
        if file in files:
            return files.read(file)
        if path == self._where:
            return b""
        message = f"{path!r} is no file of the package"
        raise FileNotFoundError(message)

    def get_resource_reader(self, fullname: str) -> Resource:  # noqa: ARG002 - the interface
        """Return what ``importlib.resources`` reads the package's files by."""
        return Resource(self._finder.files, self._file.rpartition("/")[0])

    def exec_module(self, module: ModuleType) -> None:
        if self._finder.closed:
            message = f"{module.__name__} belongs to a package that was unloaded"
            raise ImportError(message)
        vars(module)["__builtins__"] = self._finder.builtins
        super().exec_module(module)
