"""What settings declare is made of the application's code, and put over an application."""

import importlib
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from attrs import evolve

from agentrail import (
    AgentHost,
    AppConfig,
    Profile,
    RequestLimits,
    ScriptedModel,
    create_app,
    define_plugin,
)
from agentrail.agent import Limits, Prices
from agentrail.errors import ConfigRefused
from agentrail.hook import Call
from agentrail.host._configured import configured
from agentrail.plugin import PackageSettings
from agentrail.requests import ChatRequest, ChatResponse, ModelReply, ModelRequest, RequestContext
from agentrail.secret import read_secrets
from agentrail.settings import Declared, Reading, declared, read_settings
from agentrail.tool import Rule

CODE = '''
from agentrail import ChatResponse, define_plugin, tool

number = 5
made = []


def forecast(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


def undescribed(city: str) -> str:
    return city


@tool
def now() -> str:
    """Tell the time."""
    return "noon"


def remember(ctx, history):
    return ()


async def seen(request, call_next):
    made.append(type(request).__name__)
    return await call_next(request)


def answer(text="hello"):
    made.append(text)
    return define_plugin(
        "greeter", intercept_chat_request=lambda request, context: ChatResponse(text)
    )


class Greeter:
    def __init__(self, word="class"):
        self.name = "greeter"
        self.word = word


class tools:
    inner = forecast


whole = define_plugin("whole")


def broken():
    raise ValueError("no such greeting")


def leaves():
    raise SystemExit(3)


def five():
    return 5
'''


@pytest.fixture
def code(tmp_path: Path) -> Generator[Path]:
    """A directory with a module `mine_of_settings`, from which modules are imported."""
    (tmp_path / "mine_of_settings.py").write_text(CODE, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("mine_of_settings", None)


def reading(directory: Path, text: str, **variables: str) -> Reading:
    path = directory / "agentrail.yaml"
    path.write_text(text.replace("mine:", "mine_of_settings:"), encoding="utf-8")
    return read_settings(path, variables)


def made(directory: Path, text: str) -> Declared:
    return declared(reading(directory, text), read_secrets(directory, {}))


def test_a_profile_is_made_with_all_that_it_says(code: Path) -> None:
    text = """\
profiles:
  - id: a
    model: house:large
    name: Ann
    prompt: Be short.
    tools: ["mine:forecast", "mine:now", "mine:tools.inner"]
    context_providers: ["mine:remember"]
    limits: {steps: 2, tokens: 9}
    context_window: 100
    images: true
    compact: false
    temperature: 0.5
    fallbacks: ["x:y"]
    prices: {input: 1, output: 2, cache_read: 0.5}
    permissions:
      - {allow: now}
      - {ask: "fore*", reason: it rains, arguments: {city: "B*"}}
      - {deny: "*", reason: nothing else}
"""
    (profile,) = made(code, text).profiles

    assert [tool.spec.name for tool in profile.tools] == ["forecast", "now", "forecast"]
    assert [getattr(each, "__name__", "") for each in profile.context_providers] == ["remember"]
    assert evolve(profile, tools=(), context_providers=()) == Profile(
        id="a",
        model="house:large",
        name="Ann",
        prompt="Be short.",
        limits=Limits(steps=2, tokens=9),
        context_window=100,
        images=True,
        compact=False,
        temperature=0.5,
        fallbacks=("x:y",),
        prices=Prices(input=1, output=2, cache_read=0.5),
        permissions=[
            Rule("allow", "now", {}),
            Rule("ask", "fore*", {"city": "B*"}, "it rains"),
            Rule("deny", "*", {}, "nothing else"),
        ],
    )


def test_what_a_profile_leaves_out_is_as_in_code(code: Path) -> None:
    (profile,) = made(code, "profiles: [{id: a, model: 'x:y'}]\n").profiles

    assert evolve(profile, tools=(), context_providers=(), permissions=()) == Profile(
        id="a", model="x:y"
    )


def test_providers_are_made_of_each_kind(code: Path) -> None:
    text = """\
providers:
  one: {kind: openai, base_url: "http://one.example/v1", api_key: k}
  two: {kind: openai-responses}
  three: {kind: anthropic}
"""
    providers = made(code, text).providers

    assert [(each.name, type(each).__name__) for each in providers] == [
        ("one", "OpenAICompatible"),
        ("two", "OpenAIResponses"),
        ("three", "Anthropic"),
    ]
    assert "canary" not in repr(made(code, text.replace("api_key: k", "api_key: canary")))


def test_plugins_are_taken_or_made(code: Path) -> None:
    text = """\
plugins:
  entries:
    - {name: whole, object: "mine:whole"}
    - {name: made, object: "mine:answer", config: {text: hi}}
    - {name: class, object: "mine:Greeter", config: {word: w}}
    - {name: off, object: "nowhere:at_all", enabled: false}
    - {name: package, config: {a: 1}}
"""
    plugins = made(code, text).plugins

    assert {name: plugin.name for name, plugin in plugins.items()} == {
        "whole": "whole",
        "made": "greeter",
        "class": "greeter",
    }
    assert getattr(plugins["class"], "word", None) == "w"
    assert sys.modules["mine_of_settings"].made == ["hi"]


def test_with_the_master_switch_off_no_plugin_is_imported(code: Path) -> None:
    text = "plugins: {enabled: false, entries: [{name: a, object: 'nowhere:at_all'}]}\n"

    assert made(code, text).plugins == {}


def test_middleware_is_made_in_order_and_authorize_for_tools_alone(code: Path) -> None:
    text = """\
middlewares:
  - logging
  - {name: object, object: "mine:seen"}
  - {name: slow_log, seconds: 2}
  - {name: metrics, enabled: false}
  - {name: authorize, rules: {"*": [admin]}, otherwise: deny}
  - rate_limit
  - cache
  - {name: retry, tools: [now]}
  - redact
"""
    found = made(code, text)

    assert len(found.model_middleware) == 7
    assert len(found.tool_middleware) == 8
    seen = sys.modules["mine_of_settings"].seen
    around_models: list[object] = [*found.model_middleware]
    around_tools: list[object] = [*found.tool_middleware]
    assert around_models[1] is seen
    del around_tools[3]
    assert around_models == around_tools


def test_all_objects_that_are_missing_or_wrong_are_told_at_once(code: Path) -> None:
    text = """\
profiles:
  - id: a
    model: x:y
    tools:
      - mine:forecast
      - mine:undescribed
      - mine:number
      - mine:gone
      - nowhere.at_all:x
    context_providers:
      - mine:number
plugins:
  entries:
    - name: a
      object: mine:number
    - name: b
      object: mine:whole
      config: {a: 1}
    - {name: c, object: "mine:broken"}
    - {name: d, object: "mine:leaves"}
    - {name: e, object: "mine:five"}
    - {name: f, object: "mine:Greeter", config: {wrod: w}}
middlewares:
  - {name: object, object: "mine:number"}
"""
    with pytest.raises(ConfigRefused) as caught:
        made(code, text)

    assert {fault.code for fault in caught.value.faults} == {"config_object"}
    assert {(fault.line, fault.key) for fault in caught.value.faults} == {
        (6, "profiles.0.tools.1"),
        (7, "profiles.0.tools.2"),
        (8, "profiles.0.tools.3"),
        (9, "profiles.0.tools.4"),
        (11, "profiles.0.context_providers.0"),
        (15, "plugins.entries.0.object"),
        (18, "plugins.entries.1.config"),
        (19, "plugins.entries.2"),
        (20, "plugins.entries.3"),
        (21, "plugins.entries.4.object"),
        (22, "plugins.entries.5"),
        (24, "middlewares.0.object"),
    }
    assert "ValueError: no such greeting" in caught.value.detail
    assert "No module named 'nowhere'" in caught.value.detail


def test_code_that_ends_the_process_as_it_is_imported_is_told(code: Path) -> None:
    (code / "leaves_at_once.py").write_text("raise SystemExit(4)\n", encoding="utf-8")

    with pytest.raises(ConfigRefused, match="SystemExit: 4"):
        made(code, "plugins: {entries: [{name: a, object: 'leaves_at_once:x'}]}\n")


# Over an application.


def greet(_request: ChatRequest, _context: RequestContext) -> ChatResponse:
    return ChatResponse("from the code")


def application() -> AppConfig:
    return AppConfig(
        profiles=[Profile(id="assistant", model="scripted:m")],
        providers=[ScriptedModel.repeat("from the model")],
        plugins=[
            define_plugin("greeter", intercept_chat_request=greet),
            define_plugin("other"),
        ],
        data_dir=Path("own"),
        session_wait=7.0,
        stop_grace=8.0,
        hook_spans="errors",
        slow_hook=0.7,
        capture_content=True,
        limits=RequestLimits(attachments=3, message_chars=50),
    )


def over(code: Path, text: str, config: AppConfig | None = None, **variables: str) -> AppConfig:
    read = reading(code, text, **variables)
    return configured(config or application(), read, read_secrets(code, {}))[0]


def names(config: AppConfig) -> list[str]:
    return [plugin.name for plugin in config.plugins]


def test_settings_that_say_nothing_change_nothing(code: Path) -> None:
    config = application()

    assert evolve(over(code, "", config), model_middleware=(), tool_middleware=()) == config


def test_only_what_is_said_counts_more_than_the_application(code: Path) -> None:
    text = (
        "stop_grace: 1\nlimits: {attachments: 4}\ntelemetry: {slow_hook: 0.2, hook_spans: null}\n"
    )

    config = over(code, text, AGENTRAIL_DATA_DIR="elsewhere")

    assert (config.stop_grace, config.session_wait) == (1, 7.0)
    assert config.data_dir == Path("elsewhere")
    assert config.limits == RequestLimits(attachments=4, message_chars=50)
    assert (config.slow_hook, config.hook_spans, config.capture_content) == (0.2, "errors", True)


def test_a_default_that_is_said_counts_more_too(code: Path) -> None:
    assert over(code, "session_wait: 30.0\n").session_wait == 30.0


def test_a_plugin_is_switched_off(code: Path) -> None:
    assert names(over(code, "plugins: {entries: [{name: greeter, enabled: false}]}\n")) == ["other"]


def test_entries_give_the_order_of_those_that_they_name(code: Path) -> None:
    entries = "{name: other}, {name: new, object: 'mine:Greeter'}, {name: greeter}"
    text = f"plugins: {{entries: [{entries}]}}\n"
    config = over(code, text)

    assert [type(plugin).__name__ for plugin in config.plugins][-1] == "Greeter"
    assert names(config)[:2] == ["other", "greeter"]


def test_a_plugin_is_replaced_in_its_place(code: Path) -> None:
    config = over(code, "plugins: {entries: [{name: greeter, object: 'mine:Greeter'}]}\n")

    assert names(config) == ["greeter", "other"]
    assert getattr(config.plugins[0], "word", None) == "class"


def test_a_plugin_is_added_behind_the_applications(code: Path) -> None:
    config = over(code, "plugins: {entries: [{name: whole, object: 'mine:whole'}]}\n")

    assert names(config) == ["greeter", "other", "whole"]


def test_the_master_switch_takes_all_plugins_and_packages(code: Path) -> None:
    config = evolve(application(), packages=PackageSettings())
    text = "plugins: {entries: [{name: whole, object: 'mine:whole'}]}\n"

    config = over(code, text, config, AGENTRAIL_PLUGINS_ENABLED="false")

    assert names(config) == []
    assert config.packages is not None
    assert not config.packages.enabled


def test_the_master_switch_alone_takes_no_packages_in(code: Path) -> None:
    assert over(code, "plugins: {enabled: true}\n").packages is None


def test_packages_are_set_as_far_as_it_is_said(code: Path) -> None:
    own = PackageSettings(uploads=False, config={"a": {"x": 1}, "b": {"y": 2}})
    text = "plugins: {directory: there, entries: [{name: a, config: {z: 3}}]}\n"

    packages = over(code, text, evolve(application(), packages=own)).packages

    assert packages is not None
    assert (packages.uploads, packages.watch) == (False, False)
    assert [Path(each) for each in packages.directories] == [Path("there")]
    assert packages.config == {"a": {"z": 3}, "b": {"y": 2}}


def test_an_application_that_takes_no_packages_takes_none(code: Path) -> None:
    text = "plugins: {entries: [{name: greeter, enabled: false}]}\n"

    assert over(code, text).packages is None


@pytest.mark.parametrize(
    ("entry", "key", "told"),
    [
        # It would be given to nobody, and have the host take packages.
        ("{name: other, config: {a: 1}}", "config", "the application's code has made this plugin"),
        ("{name: grteer, enabled: false}", "name", "the application has no plugin of this name"),
        ("{name: package, version: '1.0.0'}", "name", "the application has no plugin of this name"),
    ],
)
def test_an_entry_that_would_do_nothing_is_told_with_its_line(
    code: Path, entry: str, key: str, told: str
) -> None:
    with pytest.raises(ConfigRefused) as caught:
        over(code, f"plugins:\n  entries:\n  - {entry}\n")

    (fault,) = caught.value.faults
    assert (fault.line, fault.key) == (3, f"plugins.entries.0.{key}")
    assert fault.message.startswith(told)


def test_middleware_is_put_around_the_applications(code: Path) -> None:
    async def own(request: ModelRequest, call: Call[ModelRequest, ModelReply]) -> ModelReply:
        return await call(request)

    config = evolve(application(), model_middleware=[own])

    config = over(code, "middlewares: [{name: object, object: 'mine:seen'}]\n", config)

    seen = sys.modules["mine_of_settings"].seen
    assert list(config.model_middleware) == [seen, own]
    assert list(config.tool_middleware) == [seen]


def test_a_provider_takes_the_place_of_the_applications(code: Path) -> None:
    config = over(code, "providers: {scripted: {kind: openai}, more: {kind: anthropic}}\n")

    assert [(each.name, type(each).__name__) for each in config.providers] == [
        ("scripted", "OpenAICompatible"),
        ("more", "Anthropic"),
    ]


def test_a_profile_that_is_there_twice_is_told_with_its_line(code: Path) -> None:
    text = "profiles:\n- {id: b, model: 'x:y'}\n- {id: assistant, model: 'x:y'}\n"

    with pytest.raises(ConfigRefused) as caught:
        over(code, text)

    assert [str(fault) for fault in caught.value.faults] == [
        "agentrail.yaml:3: profiles.1: the application has a profile of this id"
    ]


@pytest.mark.anyio
async def test_a_host_of_settings_answers(code: Path) -> None:
    text = """\
data_dir: DATA
profiles: [{id: second, model: "scripted:m", tools: ["mine:now"]}]
plugins: {entries: [{name: greeter, enabled: false}]}
middlewares: [{name: object, object: "mine:seen"}]
""".replace("DATA", str(code / "data"))
    host: AgentHost = create_app(over(code, text)).host

    async with host:
        answers = [
            (await host.chat(ChatRequest(message="hi", agent_id=agent))).message
            for agent in ("assistant", "second")
        ]

    assert answers == ["from the model"] * 2
    assert sys.modules["mine_of_settings"].made == ["ModelRequest"] * 2
    assert (code / "data" / "sessions.db").exists()


@pytest.mark.anyio
async def test_a_plugin_of_settings_answers(code: Path) -> None:
    text = """\
data_dir: DATA
plugins: {entries: [{name: greeter, object: "mine:answer", config: {text: from settings}}]}
""".replace("DATA", str(code / "data"))
    host = create_app(over(code, text)).host

    async with host:
        answer = await host.chat(ChatRequest(message="hi"))

    assert answer.message == "from settings"
