"""What settings say of packages: which are on, in which version, and with which configuration."""

import logging
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

import pytest

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail.errors import ConfigRefused, PackageError, PackageStateError
from agentrail.host import AgentHost, SettingsSource
from agentrail.messages import ToolResult
from agentrail.plugin import PackageSettings
from agentrail.registry import Packages, configure
from agentrail.settings import Configuration
from agentrail.storage import Database
from tests.registry.shop import ADA, LAZY, call, host_of, upload, write

pytestmark = pytest.mark.anyio

CONFIGURED = """
def get_tools():
    raise AssertionError
def plugin(context):
    from agentrail import define_plugin, tool
    word = context.config.get("word", "nothing")
    if word == "bad":
        raise ValueError("it will not do")
    @tool
    def tell() -> str:
        \"\"\"Tells.\"\"\"
        return f"{context.config.get('word', 'nothing')}"
    return define_plugin("p", tools=[tell])
"""
ENTRY = 'entry_point = ":plugin"\n'
SCHEMA = """
[permissions]
config = ["word"]
[config_schema]
type = "object"
additionalProperties = false
[config_schema.properties.word]
type = "string"
maxLength = 10
"""


def host_with(directory: Path, text: str) -> AgentHost:
    """Return a host with settings, whose model calls the tool and then tells what it said."""
    save(directory, text)
    answers = (["call", "fine"] for _ in repeat(None))
    replies = (call("p__tell") if each == "call" else each for pair in answers for each in pair)
    config = AppConfig(
        profiles=[Profile(id="a", model="scripted:m")],
        providers=[ScriptedModel(replies, record=False)],
        packages=PackageSettings(),
        store=MemorySessionStore(),
        data_dir=directory / "data",
    )
    return create_app(config, SettingsSource(directory / "agentrail.yaml", {})).host


def save(directory: Path, *lines: str) -> None:
    text = "\n".join(["reload: {watch: false}", *lines])
    (directory / "agentrail.yaml").write_text(text, encoding="utf-8")


def entry(**said: object) -> str:
    told = ", ".join(f"{key}: {value}" for key, value in said.items())
    return f"plugins: {{entries: [{{name: p, {told}}}]}}"


async def reload(host: AgentHost, directory: Path, *lines: str) -> None:
    save(directory, *lines)
    await host.part(Configuration).reload("ada")


async def faults(host: AgentHost, directory: Path, *lines: str) -> Sequence[str]:
    with pytest.raises(ConfigRefused) as caught:
        await reload(host, directory, *lines)
    return [fault.message for fault in caught.value.faults]


async def said(host: AgentHost) -> str:
    """Return what the package's tool says in a turn; nothing when it is not there."""
    reply = await host.chat(ChatRequest(message="hi"))
    rows = await host.core.store.messages(reply.session_id or "")
    parts = [part for row in rows for part in row.message.parts]
    told = [part.content for part in parts if isinstance(part, ToolResult)]
    return told[0] if told and "no tool" not in told[0] else ""


async def test_settings_switch_a_package_whatever_administrators_said(tmp_path: Path) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)

        await reload(host, tmp_path, entry(enabled="false"))
        assert await said(host) == ""
        assert not (await packages.get("p")).enabled
        with pytest.raises(PackageStateError, match="the settings say that package 'p' is off"):
            await packages.switch("p", ADA, on=True)

        await reload(host, tmp_path, entry(enabled="true"))
        assert await said(host) == "p 1.0.0"

        await packages_off_and_on(host, tmp_path)


async def packages_off_and_on(host: AgentHost, directory: Path) -> None:
    """What settings do not say any more is as administrators said."""
    await reload(host, directory)
    packages = host.part(Packages)
    assert (await packages.get("p")).enabled
    await packages.switch("p", ADA, on=False)
    assert await said(host) == ""


async def test_settings_name_the_version_that_is_used(tmp_path: Path) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA, version="2.0.0")
        await packages.switch("p", ADA, on=True)
        assert await said(host) == "p 2.0.0"

        await reload(host, tmp_path, entry(version="1.0.0"))
        assert await said(host) == "p 1.0.0"
        for change in (packages.upgrade, packages.rollback):
            with pytest.raises(PackageStateError, match=r"is 1\.0\.0: change it there"):
                await change("p", ADA, version="2.0.0")

        await reload(host, tmp_path)
        assert await said(host) == "p 2.0.0"


async def test_what_settings_say_holds_from_the_start_on(tmp_path: Path) -> None:
    async with host_with(tmp_path, "") as host:
        await upload(host.part(Packages), "p")
        await upload(host.part(Packages), "p", "2.0.0")

    async with host_with(tmp_path, entry(enabled="true", version="1.0.0")) as host:
        assert await said(host) == "p 1.0.0"


async def test_a_package_that_is_not_here_is_told_and_keeps_no_host_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "agentrail.registry"):
        async with host_with(tmp_path, entry(enabled="true")) as host:
            assert "the settings name package 'p', and there is none" in caplog.text
            await upload(host.part(Packages), "p")
            told = await faults(host, tmp_path, entry(version="3.0.0"))
            assert told == [
                "the settings name package 'p', and it has no version 3.0.0: upload it first"
            ]


async def test_a_version_that_nobody_approved_is_refused_and_nothing_changes(
    tmp_path: Path,
) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await packages.switch("p", ADA, on=True)
        await upload(packages, "p", "2.0.0", ready=False)

        (told,) = await faults(host, tmp_path, entry(version="2.0.0"))

        assert "approve it first" in told
        assert await said(host) == "p 1.0.0"
        assert (await packages.get("p")).version == "1.0.0"


@pytest.mark.parametrize("lazy", ["", LAZY])
async def test_another_configuration_loads_a_package_anew_and_a_bad_one_changes_nothing(
    tmp_path: Path, lazy: str
) -> None:
    more = ENTRY + lazy + SCHEMA
    async with host_with(tmp_path, entry(config="{word: one}")) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=more, source=CONFIGURED)
        await packages.switch("p", ADA, on=True)
        assert await said(host) == "one"

        await reload(host, tmp_path, entry(config="{word: two}"))
        assert await said(host) == "two"

        (told,) = await faults(host, tmp_path, entry(config="{word: much longer than it may be}"))
        assert "does not fit its schema" in told
        assert "much longer" not in told
        assert await said(host) == "two"
        if not lazy:  # else it is loaded when it is called
            (told,) = await faults(host, tmp_path, entry(config="{word: bad}"))
            assert "it will not do" in told
            assert await said(host) == "two"


async def test_what_a_package_depends_on_is_not_switched_off_beneath_it(tmp_path: Path) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await upload(packages, "q", more='dependencies.plugins = ["p>=1.0"]\n')
        await packages.switch("p", ADA, on=True)
        await packages.switch("q", ADA, on=True)

        (told,) = await faults(host, tmp_path, entry(enabled="false"))

        assert "package 'q' 1.0.0 depends on another package" in told
        assert await said(host) == "p 1.0.0"
        both = "plugins: {entries: [{name: p, enabled: false}, {name: q, enabled: false}]}"
        await reload(host, tmp_path, both)
        assert await said(host) == ""


async def test_an_administrator_sets_the_configuration_of_a_package(tmp_path: Path) -> None:
    async with host_with(tmp_path, entry(config="{word: one}")) as host:
        packages = host.part(Packages)
        await upload(packages, "p", more=ENTRY + SCHEMA, source=CONFIGURED)
        await packages.switch("p", ADA, on=True)

        info = await configure(packages, "p", {"word": "three"}, ADA)

        assert await said(host) == "three"
        for wrong in ({"word": 5}, {"word": "bad"}, {"other": 1}):
            with pytest.raises(PackageStateError if wrong != {"word": "bad"} else Exception):
                await configure(packages, "p", wrong, ADA)
            assert await said(host) == "three"
            assert (await packages.get("p")).revision == info.revision

    async with host_with(tmp_path, entry(config="{word: one}")) as host:
        assert await said(host) == "three"


async def test_a_list_of_names_lets_those_alone_run(tmp_path: Path) -> None:
    async with host_with(tmp_path, "plugins: {enabled: []}") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await upload(packages, "q")
        with pytest.raises(PackageStateError, match="the settings say that package 'q' is off"):
            await packages.switch("q", ADA, on=True)

        await reload(host, tmp_path, "plugins: {enabled: [p]}")
        assert [(info.id, info.enabled) for info in await packages.list()] == [
            ("p", True),
            ("q", False),
        ]
        assert await said(host) == "p 1.0.0"
        assert await faults(host, tmp_path, "plugins: {enabled: [p, r]}") == [
            "the settings name package 'r', and there is none of that name: upload it first"
        ]

        await reload(host, tmp_path)
        assert await said(host) == ""


async def test_the_file_that_was_asked_for_is_taken_as_it_stands(tmp_path: Path) -> None:
    asked = """
server:
  host: "0.0.0.0"
  port: 3000

plugins:
  directory: "{}"
  enabled: ["plugin1", "plugin2"]

middlewares:
  - logging
  - cache
"""
    for name in ("plugin1", "plugin2", "plugin3"):
        write(tmp_path / "plugins", name)

    async with host_with(tmp_path, asked.format(tmp_path / "plugins")) as host:
        states = {info.id: info.state for info in await host.part(Packages).list()}

    assert states == {"plugin1": "active", "plugin2": "active", "plugin3": "disabled"}


async def failed(directory: Path, said_of_it: str, *, on: bool = False) -> AgentHost:
    """Return a host, not started, whose package cannot do with its configuration."""
    async with host_with(directory, "") as host:
        await upload(host.part(Packages), "p", more=ENTRY + SCHEMA, source=CONFIGURED)
        if on:
            await host.part(Packages).switch("p", ADA, on=True)
    return host_with(directory, said_of_it)


BAD, GOOD = "{word: bad}", "{word: good}"


async def test_a_package_that_failed_is_tried_again_with_another_configuration(
    tmp_path: Path,
) -> None:
    async with await failed(tmp_path, entry(enabled="true", config=BAD)) as host:
        packages = host.part(Packages)
        assert (await packages.get("p")).state == "failed"

        (told,) = await faults(host, tmp_path, entry(enabled="true", config="{word: [bad]}"))
        assert "does not fit its schema" in told
        info = await packages.get("p")
        assert (info.state, info.error) == ("failed", "ValueError: it will not do")

        await reload(host, tmp_path, entry(enabled="true", config=GOOD))
        assert await said(host) == "good"
        info = await packages.get("p")
        assert (info.state, info.error, info.why_off) == ("active", "", "")


async def test_a_package_that_failed_is_left_alone_while_nothing_else_is_said_of_it(
    tmp_path: Path,
) -> None:
    async with await failed(tmp_path, entry(config=BAD), on=True) as host:
        await reload(host, tmp_path, entry(config=BAD), "stop_grace: 3")
        info = await host.part(Packages).get("p")
        assert (info.state, info.why_off) == ("failed", "it failed: ValueError: it will not do")

        (told,) = await faults(host, tmp_path, entry(enabled="true", config=BAD))
        assert "it will not do" in told


async def test_a_package_that_failed_is_tried_again_with_another_version(tmp_path: Path) -> None:
    async with await failed(tmp_path, entry(config=BAD), on=True) as host:
        await upload(host.part(Packages), "p", "2.0.0", more=SCHEMA)
        await reload(host, tmp_path, entry(config=BAD, version="2.0.0"))
        assert await said(host) == "p 2.0.0"


async def test_a_package_that_failed_is_tried_again_when_packages_may_run_again(
    tmp_path: Path,
) -> None:
    async with await failed(tmp_path, entry(config=BAD), on=True) as host:
        none = entry(config=GOOD).replace("entries", "enabled: false, entries")
        await reload(host, tmp_path, none)
        assert (await host.part(Packages).get("p")).why_off == "the settings let no package run"
        await reload(host, tmp_path, entry(config=GOOD))
        assert await said(host) == "good"


async def test_a_package_and_what_it_depends_on_are_put_on_when_packages_may_run_again(
    tmp_path: Path,
) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "q")
        await upload(packages, "p", more='dependencies.plugins = ["q>=1.0"]\n')
        await packages.switch("q", ADA, on=True)
        await reload(host, tmp_path, "plugins: {enabled: false}")
        await reload(host, tmp_path, "plugins: {entries: [{name: p, enabled: true}]}")
        assert [(await packages.get(name)).state for name in "pq"] == ["active", "active"]


async def test_a_package_that_failed_is_tried_again_when_an_administrator_configures_it(
    tmp_path: Path,
) -> None:
    async with await failed(tmp_path, entry(config=BAD), on=True) as host:
        packages = host.part(Packages)
        await configure(packages, "p", {"word": "good"}, ADA)
        assert await said(host) == "good"
        assert (await packages.get("p")).state == "active"


async def test_administrators_may_switch_a_package_as_settings_say(tmp_path: Path) -> None:
    async with await failed(tmp_path, entry(enabled="true", config=BAD)) as host:
        packages = host.part(Packages)
        with pytest.raises(PackageStateError, match="the settings say that package 'p' is on"):
            await packages.switch("p", ADA, on=False)
        with pytest.raises(PackageError, match="it will not do"):
            await packages.switch("p", ADA, on=True)

        await reload(host, tmp_path, entry(enabled="true", config=GOOD))
        assert (await packages.switch("p", ADA, on=True)).state == "active"

        await reload(host, tmp_path, entry(enabled="false"))
        assert (await packages.switch("p", ADA, on=False)).state == "disabled"


async def test_what_administrators_chose_is_used_when_settings_name_no_version_any_more(
    tmp_path: Path,
) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await upload(packages, "p", "2.0.0")
        await packages.upgrade("p", ADA, version="1.0.0")
        await packages.switch("p", ADA, on=True)
        await packages.upgrade("p", ADA, version="2.0.0")

        await reload(host, tmp_path, entry(version="1.0.0"))
        await packages.switch("p", ADA, on=False)
        info = await packages.switch("p", ADA, on=True)
        assert (info.version, info.previous) == ("1.0.0", None)

        await reload(host, tmp_path)
        assert await said(host) == "p 2.0.0"
        info = await packages.get("p")
        assert (info.version, info.previous) == ("2.0.0", "1.0.0")


async def test_what_settings_alone_chose_stays_when_an_administrator_switched_it_on(
    tmp_path: Path,
) -> None:
    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p")
        await upload(packages, "p", "2.0.0")
        await reload(host, tmp_path, entry(version="1.0.0"))
        await packages.switch("p", ADA, on=True)
        await reload(host, tmp_path)
        assert await said(host) == "p 1.0.0"


async def test_a_package_tells_why_it_is_off(tmp_path: Path) -> None:
    async def why(name: str = "p") -> str:
        return (await packages.get(name)).why_off

    async with host_with(tmp_path, "") as host:
        packages = host.part(Packages)
        await upload(packages, "p", ready=False)
        assert await why() == "approve it first"
        await packages.approve("p", ADA, promote=True)
        assert await why() == "nobody has switched it on"
        await packages.switch("p", ADA, on=True)
        assert await why() == ""
        await packages.switch("p", ADA, on=False)
        assert await why() == "an administrator said so"
        await upload(packages, "q", more='dependencies.plugins = ["p>=1.0"]\n')
        with pytest.raises(PackageStateError):
            await packages.switch("q", ADA, on=True)
        assert (await why("q")).startswith("it failed: ")
        assert (await why("q")).endswith("depends on other packages: p>=1.0 is not on")
        await reload(host, tmp_path, entry(enabled="false"))
        assert await why() == "the settings say so"


KEYED = """
def plugin(context):
    from agentrail import define_plugin, tool
    given = context.config["keys"][0]["key"]
    if given == "a-bad-secret":
        raise ValueError(f"{given} will not do")
    @tool
    def tell() -> str:
        \"\"\"Tells.\"\"\"
        return "the right one" if given == "a-good-secret" else given
    return define_plugin("p", tools=[tell])
"""


async def test_an_administrator_names_a_secret_in_the_configuration_of_a_package(
    tmp_path: Path,
) -> None:
    kept: dict[str, str] = {"GOOD": "a-good-secret", "BAD": "a-bad-secret"}
    host = host_of(
        tmp_path, *[call("p__tell"), "fine"] * 4, settings=PackageSettings(secrets=kept.get)
    )

    def keys(key: str) -> dict[str, object]:
        return {"keys": [{"key": key}]}

    async with host:
        packages = host.part(Packages)
        more = ENTRY + '[permissions]\nconfig = ["keys"]\n[config]\nkeys = [{key = "none"}]\n'
        await upload(packages, "p", more=more, source=KEYED)
        await packages.switch("p", ADA, on=True)
        assert await said(host) == "none"

        await configure(packages, "p", keys("secret:GOOD"), ADA)
        assert await said(host) == "the right one"
        stored = await host.part(Database).read(
            lambda connection: connection.execute("select config from package").fetchall()
        )
        assert stored == [('{"keys":[{"key":"secret:GOOD"}]}',)]

        with pytest.raises(PackageStateError, match="'LOST', which nobody has: 'agentrail secret"):
            await configure(packages, "p", keys("secret:LOST"), ADA)
        with pytest.raises(PackageError, match=r"\{\{secret:BAD\}\} will not do"):
            await configure(packages, "p", keys("secret:BAD"), ADA)
        assert await said(host) == "the right one"

    del kept["GOOD"]
    async with host_of(tmp_path, settings=PackageSettings(secrets=kept.get)) as host:
        info = await host.part(Packages).get("p")
        assert (info.state, "'GOOD', which nobody has" in info.error) == ("failed", True)


async def test_a_manifest_names_no_secret_of_the_host(tmp_path: Path) -> None:
    kept: dict[str, str] = {"GOOD": "a-good-secret"}
    host = host_of(tmp_path, call("p__tell"), "fine", settings=PackageSettings(secrets=kept.get))
    async with host:
        packages = host.part(Packages)
        named = '[config]\nkeys = [{key = "secret:GOOD"}]\n'
        more = ENTRY + '[permissions]\nconfig = ["keys"]\n' + named
        await upload(packages, "p", more=more, source=KEYED)
        await packages.switch("p", ADA, on=True)
        assert await said(host) == "secret:GOOD"
