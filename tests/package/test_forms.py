"""Each way to write a package, from its files on disk to a turn of a real host."""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from attrs import frozen

from agentrail import (
    AppConfig,
    ChatRequest,
    Message,
    Profile,
    ScriptedModel,
    create_app,
)
from agentrail.errors import ConfigError
from agentrail.hook import Plugin
from agentrail.messages import ToolCall, ToolResult
from tests.package.packages import Behind, loaded, make

pytestmark = pytest.mark.anyio


@pytest.fixture
def behind(tmp_path: Path) -> Behind:
    return Behind(tmp_path / "own", secrets={"KEY": "s3cr3t"})


@frozen
class Turn:
    """What the model was told in one turn."""

    tools: Mapping[str, object]
    """The parameters of each, by name."""
    told: Sequence[str]
    """The system messages before the answer."""
    results: Sequence[tuple[str, str]]
    """Of the calls: the outcome, and what came out."""


async def turn(plugins: Sequence[Plugin], *calls: tuple[str, object]) -> Turn:
    """Runs one turn in a host with the plugins, in which the model makes these calls."""
    asked = [
        Message.assistant((ToolCall(id=f"c{number}", name=name, arguments=arguments),))  # type: ignore[arg-type]
        for number, (name, arguments) in enumerate(calls)
    ]
    model = ScriptedModel([*asked, "done"])
    profile = Profile(id="assistant", model="scripted:test")
    app = create_app(AppConfig(profiles=[profile], providers=[model], plugins=plugins))
    async with app.host as host:
        answer = await host.chat(ChatRequest(message="Will it rain?", user_id="ann"))
    assert answer.message == "done"
    parts = [part for message in model.requests[-1].messages for part in message.parts]
    results = [part for part in parts if isinstance(part, ToolResult)]
    return Turn(
        {spec.name: spec.parameters for spec in model.requests[0].tools},
        [message.text for message in model.requests[0].messages if message.role == "system"],
        [(result.outcome, result.content) for result in results],
    )


HELLO_SCHEMA = {
    "type": "function",
    "function": {
        "name": "say_hello",
        "description": "Says hello.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    },
}


@pytest.mark.parametrize("single", [False, True])
async def test_a_module_with_get_manifest_and_get_tools(
    single: bool, tmp_path: Path, behind: Behind
) -> None:
    source = f"""
        import threading

        def say_hello(name: str) -> dict:
            return {{"text": f"Hello, {{name}}!", "thread": threading.current_thread() is not
                    threading.main_thread()}}

        async def say_bye(name):
            return f"Bye, {{name}}."

        def get_manifest():
            return {{
                "name": "hello_world",
                "version": "1.0.0",
                "description": "Says hello",
                "author": "SRE Team",
            }}

        def get_tools():
            bye = {{"name": "say_bye", "description": "", "parameters": {{"type": "object"}}}}
            return [
                {{"schema": {HELLO_SCHEMA!r}, "handler": say_hello}},
                {{"schema": bye, "handler": say_bye}},
            ]
    """
    package = make(tmp_path / "package", {"hello.py" if single else "__init__.py": source})
    async with loaded(package, behind) as result:
        seen = await turn(
            [result.plugin],
            ("hello_world__say_hello", {"name": "Ann"}),
            ("hello_world__say_bye", {"name": "Ann"}),
            ("hello_world__say_hello", {"name": 3}),
        )

    assert (package.manifest.author, str(package.manifest.version)) == ("SRE Team", "1.0.0")
    assert seen.tools["hello_world__say_hello"] == HELLO_SCHEMA["function"]["parameters"]  # type: ignore[index]
    assert json.loads(seen.results[0][1]) == {"text": "Hello, Ann!", "thread": True}
    assert seen.results[1] == ("ok", "Bye, Ann.")
    assert seen.results[2][0] == "error"
    assert 'name: 3 is not of type "string"' in seen.results[2][1]


async def test_an_agent_plugin_with_activation_and_handlers(tmp_path: Path, behind: Behind) -> None:
    source = f"""
        class HelloPlugin:
            async def on_activate(self, context):
                self.context = context
                self.greeting = context.get_config("greeting")
                await context.state.put("active", b"yes")

            def get_tools(self):
                return [{HELLO_SCHEMA!r}]

            async def handle_say_hello(self, name):
                return f"{{self.greeting}}, {{name}}!"

            async def on_deactivate(self):
                await self.context.state.put("active", b"no")
    """
    manifest = """
        id = "hello"
        version = "0.1.0"
        entry_point = "plugin:HelloPlugin"
        [permissions]
        config = ["greeting"]
    """
    package = make(tmp_path / "package", {"plugin.toml": manifest, "plugin.py": source})
    async with loaded(package, behind, {"greeting": "Moin"}) as result:
        assert behind.values.kept == {"active": b"yes"}
        seen = await turn([result.plugin], ("hello__say_hello", {"name": "Ann"}))

    assert seen.results == [("ok", "Moin, Ann!")]
    assert behind.values.kept == {"active": b"no"}


def told_plugin(root: Path, name: str, body: str, more: str = "") -> None:
    root.mkdir(parents=True)
    about: dict[str, object] = {
        "name": name,
        "version": "1.0.0",
        "author": {"name": "Ada", "email": "ada@example.org"},
        "description": "",
        "plugin_type": "hook",
        "entry_point": "main.py:Plugin",
        "permissions": {"filesystem": False, "network": False, "exec": False, "channels": []},
        "dependencies": ["httpx>=0.20"],
    }
    (root / "plugin.json").write_text(json.dumps(about))
    lines = ["import anyio, sys, threading", "class Plugin:", f"    {more or 'pass'}"]
    lines += ["    async def execute(self, context):", f"        {body}"]
    (root / "main.py").write_text("\n".join(lines))


async def test_the_result_of_execute_is_told_in_the_turn(tmp_path: Path, behind: Behind) -> None:
    body = """return {"for": context.user_id, "asked": context.input_data["user_message"],
            "through": context.channel_id, "session": bool(context.session_id),
            "rest": [context.parameters, context.environment, context.config], "café": 0.5}"""
    told_plugin(tmp_path / "package", "weather-plugin", body)
    async with loaded(make(tmp_path / "package", {}), behind) as result:
        seen = await turn([result.plugin])

    (text,) = seen.told
    assert re.fullmatch(
        r"=== Plugin Execution Results ===\n\n\[weather-plugin\]\nStatus: Success\n"
        r"Result: \{.*\}\nExecution Time: \d+\.\ds",
        text,
    )
    said = text.splitlines()[4].removeprefix("Result: ")
    assert '"café": 0.5' in said
    assert json.loads(said) == {
        "for": "ann",
        "asked": "Will it rain?",
        "through": "python",
        "session": True,
        "rest": [{}, {}, {}],
        "café": 0.5,
    }


class Meeting:
    """Where two that run at the same time meet, and one that is alone never leaves."""

    threads = threading.Barrier(2, timeout=20)
    here: list[anyio.Event]

    @classmethod
    async def tasks(cls, mine: int) -> None:
        cls.here[mine].set()
        await cls.here[1 - mine].wait()


MEETING = f"sys.modules[{__name__!r}].Meeting"


async def test_what_is_executed_runs_at_once_and_harms_nobody(
    tmp_path: Path, behind: Behind
) -> None:
    Meeting.here = [anyio.Event(), anyio.Event()]
    meeting = "await {m}.tasks({n}); return 'met {n}'"
    late = 'deadlines = {"context_providers": 0.2}'
    told_plugin(tmp_path / "1", "first", meeting.format(m=MEETING, n=0))
    told_plugin(tmp_path / "2", "slow", "await anyio.sleep_forever()", late)
    told_plugin(tmp_path / "3", "broken", "raise RuntimeError('no luck')")
    told_plugin(tmp_path / "4", "nothing", "return None")
    told_plugin(tmp_path / "5", "second", meeting.format(m=MEETING, n=1))
    told_plugin(tmp_path / "6", "circle", "a = []; a.append(a); return a")
    told_plugin(tmp_path / "7", "half", r"return '\ud83d'")
    told_plugin(tmp_path / "8", "odd", "return {'at': {1, }, 'of': context.user_id}")
    async with AsyncExitStack() as stack:
        plugins: list[Plugin] = []
        for number in range(1, 9):
            package = make(tmp_path / str(number), {})
            plugins.append((await stack.enter_async_context(loaded(package, behind))).plugin)
        seen = await turn(plugins)

    found = [tuple(text.splitlines()[2:5:2]) for text in seen.told]
    assert found == [
        ("[first]", "Result: met 0"),
        ("[second]", "Result: met 1"),
        ("[circle]", "Result: [[...]]"),
        ("[half]", "Result: ?"),
        ("[odd]", 'Result: {"at": "{1}", "of": "ann"}'),
    ]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_package_that_exits_does_not_take_the_host_along(
    kind: str, tmp_path: Path, behind: Behind
) -> None:
    manifest = 'id = "{}"\nversion = "1.0.0"\nentry_point = "main"\n'
    sources = {
        "a": f"import sys\n{kind} execute(context): sys.exit(3)",
        "b": f"import sys\n{kind} bye(): sys.exit(3)\n"
        "def get_tools(): return [{'name': 'bye', 'handler': bye}]",
    }
    async with AsyncExitStack() as stack:
        plugins: list[Plugin] = []
        for name, source in sources.items():
            files = {"plugin.toml": manifest.format(name), "main.py": source}
            package = make(tmp_path / name, files)
            plugins.append((await stack.enter_async_context(loaded(package, behind))).plugin)
        seen = await turn(plugins, ("b__bye", {}))

    assert seen.told == []
    ((outcome, content),) = seen.results
    assert outcome == "error"
    assert content.startswith("tool b__bye failed: HookError: tool b__bye called sys.exit()")


async def test_sync_executes_run_beside_each_other_too(tmp_path: Path, behind: Behind) -> None:
    files = {
        "main.py": f"import sys\nclass Plugin:\n    def execute(self, context):\n"
        f"        {MEETING}.threads.wait()\n        return 'met'\n"
    }
    manifest = 'id = "{}"\nversion = "1.0.0"\nentry_point = "main:Plugin"\n'
    async with AsyncExitStack() as stack:
        plugins: list[Plugin] = []
        for name in ("a", "b"):
            package = make(tmp_path / name, {"plugin.toml": manifest.format(name), **files})
            plugins.append((await stack.enter_async_context(loaded(package, behind))).plugin)
        seen = await turn(plugins)

    assert [text.splitlines()[4] for text in seen.told] == ["Result: met"] * 2


async def test_execute_stands_beside_hooks_and_a_life(tmp_path: Path, behind: Behind) -> None:
    body = "return f'started {self.started}, activated {self.on}'"
    life = """def initialize(self, config): self.started = config.id
    async def cleanup(self): self.context.emit('stopped', id=self.context.id)
    def __init__(self, size=3): self.size = size
    def on_request_start(self, ctx): self.on += 1
    def on_activate(self, context): self.context = context; self.on = self.size"""
    told_plugin(tmp_path / "package", "lively", body, life)
    async with loaded(make(tmp_path / "package", {}), behind) as result:
        seen = await turn([result.plugin])

    assert "Result: started lively, activated 4" in seen.told[0]
    assert behind.emitted == [("stopped", {"id": "lively"})]


TOOL_JSON = {
    "name": "custom_tool",
    "version": "1.0.0",
    "description": "Adds.",
    "entry_point": "plugin.py:CustomTool",
    "permissions": ["read", "write"],
    "schema": {
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize("method", ["execute", "run", "call", "__call__", "custom_tool"])
async def test_a_class_that_is_one_tool(method: str, tmp_path: Path, behind: Behind) -> None:
    source = f"""
        from agentrail import RequestContext
        class CustomTool:
            async def {method}(self, a: int, b: int, asked: RequestContext) -> int:
                return [a + b, asked.user_id]
    """
    files = {"plugin.json": json.dumps(TOOL_JSON), "plugin.py": source}
    package = make(tmp_path / "package", files)
    async with loaded(package, behind) as result:
        seen = await turn(
            [result.plugin],
            ("custom_tool__custom_tool", {"a": 2, "b": 3}),
            ("custom_tool__custom_tool", {"a": 2, "b": 3, "asked": "x"}),
        )

    assert package.manifest.permissions.write == ("data:",)
    assert seen.results[0] == ("ok", '[5,"ann"]')
    assert seen.results[1][0] == "error"
    assert seen.told == []


CONTEXT_PLUGINS = {
    "class": """
        from agentrail import tool
        class Plugin:
            priority = 3
            def __init__(self, context):
                self.context = context
                self.tools = [tool(self.look_up)]
            async def start(self): await self.context.state.put("ran", b"1")
            async def look_up(self, city: str) -> str:
                "Looks a city up."
                return f"{city}: {self.context.get_config('unit')}"
            def before_tool_call(self, call, ctx): self.context.logger.info("calls %s", call.name)
    """,
    "factory": """
        from agentrail import define_plugin, tool
        def Plugin(context):
            async def start(): await context.state.put("ran", b"1")
            @tool
            async def look_up(city: str) -> str:
                "Looks a city up."
                return f"{city}: {context.get_config('unit')}"
            return define_plugin("any name", start=start, tools=[look_up], priority=3)
    """,
    "async factory": """
        import anyio
        from agentrail import tool
        async def Plugin(ctx=None):
            await anyio.lowlevel.checkpoint()
            @tool
            async def look_up(city: str) -> str:
                "Looks a city up."
                return f"{city}: {ctx.get_config('unit')}"
            class Made:
                async def start(self): await ctx.state.put("ran", b"1")
                async def get_tools(self): return (look_up,)
                priority = 3
            return Made()
    """,
}


@pytest.mark.parametrize("form", CONTEXT_PLUGINS)
async def test_a_class_or_a_factory_that_takes_the_context(
    form: str, tmp_path: Path, behind: Behind
) -> None:
    manifest = """
        id = "cities"
        version = "2.0.0"
        entry_point = "cities.main:Plugin"
        permissions.config = ["unit"]
    """
    files = {
        "plugin.toml": manifest,
        "cities/__init__.py": "",
        "cities/main.py": CONTEXT_PLUGINS[form],
    }
    async with loaded(make(tmp_path / "package", files), behind, {"unit": "km"}) as result:
        plugin = result.plugin
        seen = await turn([plugin], ("cities__look_up", {"city": "Paris"}))

    assert (plugin.name, plugin.version, plugin.priority) == ("cities", "2.0.0", 3)  # type: ignore[attr-defined]
    assert behind.values.kept == {"ran": b"1"}
    assert seen.results == [("ok", "Paris: km")]


async def test_a_single_file_with_its_manifest_in_a_comment(tmp_path: Path, behind: Behind) -> None:
    source = '''
        # /// plugin
        # id = "notes"
        # version = "1.0.0"
        # ///
        """Notes."""
        from agentrail import tool

        @tool
        def note(text: str) -> str:
            "Notes."
            return text.upper()

        tools = [note]

        async def on_request_start(ctx): ctx.state["seen"] = True
    '''
    package = make(tmp_path / "package", {"notes.py": source})
    async with loaded(package, behind) as result:
        seen = await turn([result.plugin], ("notes__note", {"text": "so"}))

    assert seen.results == [("ok", "SO")]


TOOLS = {
    "a function": """
        from agentrail import tool
        @tool
        def up(text: str) -> str:
            "Up."
            return text.upper()
    """,
    "a class": """
        from agentrail.messages import ToolSpec
        class up:
            spec = ToolSpec(name="up", description="Up.", parameters={"type": "object"})
            async def call(self, arguments, context):
                return arguments["text"].upper()
    """,
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_an_entry_point_may_be_a_tool(kind: str, tmp_path: Path, behind: Behind) -> None:
    manifest = 'id = "letters"\nversion = "1.0.0"\nentry_point = "main:up"\n'
    package = make(tmp_path / "package", {"plugin.toml": manifest, "main.py": TOOLS[kind]})
    async with loaded(package, behind) as result:
        seen = await turn([result.plugin], ("letters__up", {"text": "so"}))

    assert seen.results == [("ok", "SO")]


async def test_functions_of_a_module_are_the_tools_that_the_manifest_declares(
    tmp_path: Path, behind: Behind
) -> None:
    manifest = """
        id = "sums"
        version = "1.0.0"
        entry_point = "main"
        [[contributes.tools]]
        name = "add"
        description = "Adds."
        parameters = { type = "object", properties = { a = { type = "integer" } } }
        [[contributes.tools]]
        name = "zero"
        description = "Zero."
    """
    source = "def handle_add(a=1): return a + 1\nasync def zero(): return 0"
    package = make(tmp_path / "package", {"plugin.toml": manifest, "main.py": source})
    async with loaded(package, behind) as result:
        seen = await turn([result.plugin], ("sums__add", {"a": 2}), ("sums__zero", {}))

    assert seen.results == [("ok", "3"), ("ok", "0")]

    bad = make(tmp_path / "bad", {"plugin.toml": manifest, "main.py": "def add(a): return a"})
    with pytest.raises(ConfigError, match=r"tool 'zero' is declared, and .* has no handle_zero"):
        async with loaded(bad, behind):
            pass


ENTRIES: dict[tuple[str, ...], tuple[str, str]] = {
    ("__init__.py",): ("", ""),
    ("__init__.py", "main.py"): ("", ""),
    ("main.py",): ("", "main"),
    ("__init__.py", "x.py"): ("x", "x"),
    ("x.py",): ("x.py:Plugin", "x"),
    ("a/x.py",): ("a/x.py:Plugin", "a.x"),
    ("a/x.py", "a/__init__.py"): ("a.x:Plugin", "a.x"),
    ("a/__init__.py",): ("a", "a"),
    ("a/__init__.py", "b.py"): ("a/__init__.py:Plugin", "a"),
    ("__init__.py", "c.py"): ("__init__.py:Plugin", ""),
}


@pytest.mark.parametrize("files", ENTRIES)
def test_an_entry_point_names_a_module(files: tuple[str, ...], tmp_path: Path) -> None:
    entry, module = ENTRIES[files]
    manifest = f'id = "sample"\nversion = "1.0.0"\nentry_point = "{entry}"\n'
    package = make(tmp_path, {"plugin.toml": manifest, **dict.fromkeys(files, "")})

    assert package.module == module
