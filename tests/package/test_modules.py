"""The modules of packages: what they may import, who sees them, and that they go away."""

import gc
import importlib.util
import linecache
import logging
import sys
import textwrap
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import ConfigError, HookError
from agentrail.package import InProcess, files_of
from agentrail.package._modules import Modules
from tests.package.packages import Behind, make

pytestmark = pytest.mark.anyio


def cached() -> set[str]:
    """Return where modules are looked for; Python forgets now and then what is not there."""
    return {path for path, finder in sys.path_importer_cache.items() if finder is not None}


@pytest.fixture(autouse=True)
def _interpreter_as_before() -> Iterator[None]:
    """Every test here leaves the interpreter as it found it."""
    before = list(sys.meta_path), list(sys.path), cached()
    yield
    assert (list(sys.meta_path), list(sys.path), cached()) == before
    assert [name for name in sys.modules if name.startswith("_package_")] == []


@pytest.fixture
def behind(tmp_path: Path) -> Behind:
    return Behind(tmp_path / "own")


def modules(root: Path, files: Mapping[str, str], *aliases: str) -> Modules:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
    return Modules(files_of(root), "sample", aliases)


def value(found: Modules, module: str = "main", name: str = "found") -> object:
    """Returns what a module is left with, the package being unloaded."""
    try:
        return getattr(found.load(module), name)
    finally:
        found.unload()


TREE = {
    "alone.py": "name = 'alone'",
    "tools/__init__.py": "name = 'tools'",
    "tools/near.py": "name = 'near'",
    "tools/alone.py": "name = 'beside'",
    "tools/pick.py": "from .alone import name as near_by\nfrom alone import name",
    "tools/deep/__init__.py": "from ..near import name as above",
    "bare/inner.py": "name = 'inner'",
    "bare/below/far.py": "name = 'far'",
}
IMPORTS = {
    "import alone; found = alone.name": "alone",
    "import alone as other; found = other.name": "alone",
    "from alone import name as found": "alone",
    "from . import alone; found = alone.name": "alone",
    "from .alone import name as found": "alone",
    "import tools.near; found = tools.near.name, tools.name": ("near", "tools"),
    "import tools.near as near; found = near.name": "near",
    "from tools import near; found = near.name": "near",
    "from tools.near import *; found = name": "near",
    "from .tools import near; found = near.name": "near",
    "from tools.deep import above as found": "near",
    "from tools.pick import near_by, name; found = near_by, name": ("beside", "alone"),
    "import bare.inner; found = bare.inner.name": "inner",
    "from bare import inner; found = inner.name": "inner",
    "import bare.below.far as far; found = far.name": "far",
    "from bare.below import far; found = far.name": "far",
    "found = __import__('tools.near').near.name": "near",
    "found = __import__('tools.near', fromlist=['name']).name": "near",
    "import importlib; found = importlib.import_module('.tools.near', __package__).name": "near",
    "exec('import alone'); found = eval('alone.name')": "alone",
    "def inside():\n    import alone\n    return alone.name\nfound = inside()": "alone",
    "import own.tools; found = own.tools.name": "tools",
    "from own import alone; found = alone.name": "alone",
    "from own.tools.near import name as found": "near",
    "import json; found = json.dumps([])": "[]",
    "import os.path, collections.abc; found = os.path.join('a', 'b')": "a/b",
    "from agentrail import Message; found = Message.__name__": "Message",
}


@pytest.mark.parametrize("source", IMPORTS)
def test_each_way_to_import_finds_the_packages_own(tmp_path: Path, source: str) -> None:
    found = modules(tmp_path, {**TREE, "main.py": source}, "own")

    assert value(found) == IMPORTS[source]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("import nowhere_at_all", "nowhere_at_all"),
        ("import tools.nowhere", "tools.nowhere"),
        ("from tools import nowhere", "nowhere"),
        ("from .nowhere import x", "nowhere"),
        ("from .. import alone", "beyond top-level"),
        ("import test_modules_of_nobody", "test_modules_of_nobody"),
    ],
)
def test_what_is_not_there_is_an_import_error(tmp_path: Path, source: str, missing: str) -> None:
    with pytest.raises(ImportError, match=missing):
        value(modules(tmp_path, {**TREE, "main.py": source}))


def test_modules_may_import_each_other_in_a_circle(tmp_path: Path) -> None:
    found = modules(
        tmp_path,
        {
            "main.py": "import one\nfound = one.name()",
            "one.py": "import two\ndef name(): return two.name()",
            "two.py": "from own import one\nimport one as same\ndef name(): return one is same",
        },
        "own",
    )

    assert value(found) is True


def test_a_module_shuts_out_a_directory_only_if_that_has_no_code_of_its_own(tmp_path: Path) -> None:
    files = {
        "first.py": "kind = 'module'",
        "first/data.txt": "",
        "second.py": "kind = 'module'",
        "second/__init__.py": "kind = 'package'",
        "main.py": "import first, second; found = first.kind, second.kind",
    }

    assert value(modules(tmp_path, files)) == ("module", "package")


def test_two_versions_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    main = "import helper\nfrom own import helper as same\nassert same is helper\n"
    first = modules(tmp_path / "1", {"main.py": main, "helper.py": "version = 1"}, "own")
    second = modules(tmp_path / "2", {"main.py": main, "helper.py": "version = 2"}, "own")
    try:
        one, two = first.load("main"), second.load("main")

        assert (one.helper.version, two.helper.version) == (1, 2)
        with pytest.raises(ImportError):
            importlib.import_module("helper")
        first.unload()
        assert first.loaded() == []
        assert importlib.import_module(f"{second.prefix}.helper") is two.helper
    finally:
        first.unload()
        second.unload()


def test_a_package_named_as_a_module_of_the_host_gets_that_module(tmp_path: Path) -> None:
    """An id is no reason to lose ``calendar``."""

    async def load() -> object:
        package = make(
            tmp_path / "calendar",
            {"__init__.py": "import calendar\ndef start(): return calendar.MONDAY\n"},
            id="calendar",
        )
        behind = Behind(tmp_path)
        loaded = await InProcess().load(package, behind.context(package))
        try:
            return loaded.plugin.start()  # type: ignore[attr-defined]
        finally:
            await loaded.unload()

    assert anyio.run(load) == 0


def test_classes_find_their_module_by_its_name(tmp_path: Path) -> None:
    """As dataclasses, attrs, msgspec and pydantic do to read annotations that are texts."""
    source = """
        from __future__ import annotations
        import sys
        from dataclasses import KW_ONLY, InitVar, dataclass, fields
        from typing import ClassVar, NamedTuple, get_type_hints
        import attrs, msgspec

        @dataclass
        class Point:
            x: int
            shared: ClassVar[int] = 1
            _: KW_ONLY
            y: InitVar[int] = 0

        @attrs.frozen
        class Line:
            ends: list[Point]

        class Told(msgspec.Struct):
            name: str
            child: Told | None = None

        class Pair(NamedTuple):
            line: Line

        attrs.resolve_types(Line)
        found = (
            [each.name for each in fields(Point)] == ["x"],
            attrs.fields(Line).ends.type == list[Point],
            msgspec.json.decode(b'{"name": "a", "child": {"name": "b"}}', type=Told).child.name,
            get_type_hints(Pair)["line"] is Line,
            sys.modules[Point.__module__].Point is Point and Pair.__module__ == __name__,
        )
    """

    found = value(modules(tmp_path, {"main.py": source}))

    assert found == (True, True, "b", True, True)


def test_data_files_are_read_as_resources(tmp_path: Path) -> None:
    files = {
        "main.py": """
            import pkgutil
            from importlib import resources
            import parts
            root = resources.files(__package__)
            with resources.as_file(root / "texts" / "hi.txt") as path:
                on_disk = path.read_text()
            found = (
                root.joinpath("texts", "hi.txt").read_text(),
                resources.files(parts).joinpath("more.txt").read_bytes(),
                pkgutil.get_data(parts.__name__, "more.txt"),
                sorted(each.name for each in root.iterdir()),
                (root / "texts").is_dir(), (root / "nothing").is_file(), on_disk,
                (root / "texts/hi.txt").open().readline(),
            )
        """,
        "texts/hi.txt": "hi",
        "parts/__init__.py": "",
        "parts/more.txt": "more",
    }

    assert value(modules(tmp_path, files)) == (
        "hi",
        b"more",
        b"more",
        ["main.py", "parts", "texts"],
        True,
        False,
        "hi",
        "hi",
    )


def test_a_file_that_is_not_there_is_no_resource(tmp_path: Path) -> None:
    files = {"main.py": "from importlib import resources\nroot = resources.files(__package__)"}
    found = modules(tmp_path, files)
    root = found.load("main").root

    for path in ("nothing.txt", "../main.py", "/etc/passwd", ""):
        with pytest.raises(FileNotFoundError):
            (root / path).read_bytes()
    with pytest.raises(OSError, match="no file of the package"):
        found.load("main").__loader__.get_data("/etc/passwd")  # type: ignore[union-attr]
    found.unload()


def test_a_traceback_shows_the_lines_while_it_is_loaded(tmp_path: Path) -> None:
    found = modules(tmp_path, {"main.py": "def fail():\n    raise ValueError('so')  # here\n"})
    module = found.load("main")
    with pytest.raises(ValueError, match="so") as caught:
        module.fail()
    shown = "".join(traceback.format_exception(caught.value))
    found.unload()

    assert "raise ValueError('so')  # here" in shown
    assert f'File "<{found.prefix}>/main.py", line 2' in shown
    assert not [file for file in linecache.cache if found.prefix in file]


def test_nothing_is_written_beside_the_modules(tmp_path: Path) -> None:
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    try:
        value(modules(tmp_path, {**TREE, "main.py": "import tools.near\nfound = 1"}))
    finally:
        sys.dont_write_bytecode = before

    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*TREE, "main.py"}


async def test_what_was_unloaded_is_garbage(tmp_path: Path, behind: Behind) -> None:
    source = """
        import logging
        from agentrail import tool
        from . import helper
        log = logging.getLogger(__name__)
        class Part: pass
        @tool
        async def look(city: str) -> str:
            "Look."
            return helper.here(city)
        class Plugin:
            def __init__(self, context): self.context = context
            tools = [look]
            async def start(self): log.debug("started")
    """
    manifest = 'id = "sample"\nversion = "1.0.0"\nentry_point = "main:Plugin"\n'
    files = {
        "plugin.toml": manifest,
        "main.py": source,
        "helper.py": "def here(x): return x",
        "__init__.py": "",
    }
    package = make(tmp_path / "package", files)
    loaded = await InProcess().load(package, behind.context(package))
    mine = [each for name, each in sys.modules.items() if name.startswith("_package_sample_")]
    watched: list[weakref.ref[object]] = [weakref.ref(module) for module in mine]
    watched.append(weakref.ref(mine[-1].__loader__))
    watched.append(weakref.ref(type(loaded.plugin.start.__self__)))  # type: ignore[attr-defined]
    assert len(watched) == 5

    await loaded.unload()
    del mine, loaded
    async with anyio.create_task_group() as threads:  # each keeps the last thing that it did
        for _ in range(40):
            threads.start_soon(anyio.to_thread.run_sync, time.sleep, 0.01)
    gc.collect()

    assert [ref() for ref in watched] == [None] * 5
    kept = logging.Logger.manager.loggerDict
    assert not [name for name in kept if name.startswith("_package_sample_")]


async def test_unloading_twice_is_as_good_as_once(tmp_path: Path, behind: Behind) -> None:
    package = make(tmp_path / "package", {"__init__.py": "def start(): pass"})
    loaded = await InProcess().load(package, behind.context(package))

    await loaded.unload()
    await loaded.unload()


BROKEN = {
    "raise RuntimeError('no luck')": (RuntimeError, "no luck"),
    "import sys; sys.exit(3)": (HookError, "package 'sample' called sys.exit"),
    "import helper; raise SystemExit": (HookError, "called sys.exit"),
    "raise BaseExceptionGroup('g', [SystemExit()])": (HookError, "called sys.exit"),
    "def start(:": (SyntaxError, "main.py"),
    "import nowhere_at_all": (ImportError, "nowhere_at_all"),
    "x = 1": (ConfigError, "'main:Plugin' names nothing in the package"),
    "class Plugin: pass": (ConfigError, "Plugin has no hooks, no tools and no execute"),
    "Plugin = 3": (ConfigError, "int has no hooks"),
    "class Plugin:\n    def __init__(self, context): raise OSError('gone')": (OSError, "gone"),
    "class Plugin:\n    def __init__(self, one, two): pass": (TypeError, "two"),
    "import sys\nclass Plugin:\n    def __init__(self): sys.exit()": (HookError, "called sys"),
    "from tests.strays import by_task\nasync def Plugin(): await by_task()": (HookError, "package"),
    "from tests.strays import by_group\nasync def Plugin(): await by_group()": (HookError, "exit"),
    "class Plugin:\n    tools = [3]": (ConfigError, "3 is no tool"),
    "class Plugin:\n    def get_tools(self): return 3": (ConfigError, "must return a list"),
    "class Plugin:\n    def get_tools(self): return 1 / 0": (ZeroDivisionError, "division"),
    "class Plugin:\n    def get_tools(self): return [{'name': 'a'}]": (ConfigError, "handle_a"),
    "class Plugin:\n    def get_tools(self): return [{}]": (ConfigError, "has no name"),
    "class Plugin:\n    def on_turn_persist(self, ctx): pass": (ConfigError, "on_turn_persisted"),
    "import sys\nsys.modules[__name__] = 3": (ConfigError, "names nothing"),
    "raise StopIteration": (RuntimeError, "StopIteration"),
}


@pytest.mark.parametrize("source", BROKEN)
async def test_a_broken_package_says_why_and_leaves_nothing(
    source: str, tmp_path: Path, behind: Behind
) -> None:
    kind, said = BROKEN[source]
    manifest = 'id = "sample"\nversion = "1.0.0"\nentry_point = "main:Plugin"\n'
    package = make(
        tmp_path / "package", {"plugin.toml": manifest, "main.py": source, "helper.py": ""}
    )

    with pytest.raises(kind, match=said):
        await InProcess().load(package, behind.context(package))


@pytest.mark.parametrize("where", ["import", "constructor", "activation"])
async def test_a_load_that_hangs_ends_with_its_deadline(
    where: str, tmp_path: Path, behind: Behind, waiting: "Waiting"
) -> None:
    hang = f"__import__('sys').modules[{__name__!r}].Waiting.here()"
    source = {
        "import": f"{hang}\nimport late",
        "constructor": f"class Plugin:\n    def __init__(self): {hang}",
        "activation": f"class Plugin:\n    def on_activate(self, context): {hang}",
    }[where]
    manifest = 'id = "sample"\nversion = "1.0.0"\nentry_point = "main:Plugin"\n'
    package = make(
        tmp_path / "package", {"plugin.toml": manifest, "main.py": source, "late.py": ""}
    )

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(InProcess().load, package, behind.context(package))
            await anyio.to_thread.run_sync(waiting.entered.wait)
            scope.cancel()

    assert scope.cancelled_caught
    assert [name for name in sys.modules if name.startswith("_package_")] == []
    waiting.leave.set()  # what the thread imports from here on it does not get
    await anyio.to_thread.run_sync(waiting.left.wait)


class Waiting:
    """Where the code of a test's package stands still."""

    current: "Waiting"

    def __init__(self) -> None:
        self.entered, self.leave, self.left = (threading.Event() for _ in range(3))

    @classmethod
    def here(cls) -> None:
        waiting = cls.current
        waiting.entered.set()
        waiting.leave.wait()
        waiting.left.set()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    Waiting.current = Waiting()
    yield Waiting.current
    Waiting.current.leave.set()


def test_an_import_that_goes_on_after_the_unloading_leaves_nothing(tmp_path: Path) -> None:
    Waiting.current = waiting = Waiting()
    source = f"__import__('sys').modules[{__name__!r}].Waiting.here()\nimport late"
    found = modules(tmp_path, {"main.py": source, "late.py": ""})
    failures: list[Exception] = []

    def load() -> None:
        try:
            found.load("main")
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    waiting.entered.wait()
    found.unload()
    waiting.leave.set()
    thread.join()

    assert [type(error) for error in failures] == [ModuleNotFoundError]
    assert found.loaded() == []


def test_who_walks_through_the_finders_meanwhile_misses_none(tmp_path: Path) -> None:
    """As an import in another thread does while a package is unloaded."""
    others = list(sys.meta_path)
    found = modules(tmp_path, {"main.py": ""})
    found.load("main")
    walk = iter(sys.meta_path)
    next(walk)

    found.unload()

    assert list(walk) == others


def test_a_module_that_was_found_before_is_not_run_after_the_unloading(tmp_path: Path) -> None:
    found = modules(tmp_path, {"main.py": "", "late.py": "raise AssertionError"})
    found.load("main")
    spec = importlib.util.find_spec(f"{found.prefix}.late")
    assert spec is not None
    assert spec.loader is not None
    found.unload()

    with pytest.raises(ImportError, match="was unloaded"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


names = st.sampled_from(["a", "b", "c"])


@given(st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6))
def test_every_module_of_any_tree_can_be_imported_by_its_path(paths: set[str]) -> None:
    """Property: absolutely and relatively, and both give the same module."""
    import tempfile  # noqa: PLC0415

    # A module beside a directory of its name that has code would be two of one name.
    paths = {p for p in paths if not any(other.startswith(f"{p}/") for other in paths)}
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        lines: list[str] = []
        for number, path in enumerate(sorted(paths)):
            dotted = path.replace("/", ".")
            above, _, last = dotted.rpartition(".")
            lines += [f"import {dotted} as absolute_{number}"]
            lines += [f"from .{above} import {last} as relative_{number}"]
            lines += [f"assert absolute_{number} is relative_{number}"]
            (root / f"{path}.py").parent.mkdir(parents=True, exist_ok=True)
            (root / f"{path}.py").write_text(f"path = {path!r}")
        (root / "main.py").write_text("\n".join(lines))
        found = Modules(files_of(root), "sample")
        module: ModuleType = found.load("main")
        for number, path in enumerate(sorted(paths)):
            assert getattr(module, f"absolute_{number}").path == path
        found.unload()
