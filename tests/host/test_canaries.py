"""No object of a host shows a secret, and what is hidden is told apart."""

import json
import logging
import sys
from pathlib import Path

import pytest

from agentrail import AppConfig, Profile, create_app
from agentrail.errors import ConfigRefused
from agentrail.host import SettingsSource
from agentrail.model.anthropic import Anthropic
from agentrail.model.openai import OpenAICompatible, OpenAIResponses
from agentrail.plugin import PackageSettings
from agentrail.settings import Configuration
from tests.canaries import leaks

pytestmark = pytest.mark.anyio

CANARIES = {
    "named": "canary/of+what=has-a-name",
    "plain": "canary-of-plain-text-0123456789",
    "config": "a \"cänary\" of 'config'",
    "filled": "canary-of-a-variable",
    "password": "canary-of-a-password",
    "other": "canary-of-another-text",
}


def written(here: Path, plain: str, password: str = CANARIES["password"]) -> SettingsSource:
    url = f"https://ada:{password}@upstream.example/v1"
    providers = {
        "one": {"kind": "openai", "api_key": "secret:NAMED"},
        "two": {"kind": "anthropic", "api_key": plain},
        "three": {"kind": "openai-responses", "api_key": "${FILLED}", "base_url": url},
    }
    entry = {"name": "nobody", "config": {"password": CANARIES["config"], "k": "secret:NAMED"}}
    every = {"providers": providers, "plugins": {"entries": [entry]}, "reload": {"watch": False}}
    file = here / "agentrail.json"
    file.write_text(json.dumps(every))
    variables = {"AGENTRAIL_SECRET_NAMED": CANARIES["named"], "FILLED": CANARIES["filled"]}
    return SettingsSource(file, variables)


def config(here: Path) -> AppConfig:
    return AppConfig(
        profiles=[Profile(id="one", model="one:m")],
        packages=PackageSettings(),
        data_dir=here / "data",
    )


async def test_no_object_shows_a_secret(tmp_path: Path) -> None:
    app = create_app(config(tmp_path), written(tmp_path, CANARIES["plain"]))

    async with app.host as host:
        settled, configuration = host.settled, host.part(Configuration)
        assert settled is not None
        parts = [host, host.core, host.core.config, settled, settled.reading]
        parts += [settled.source, settled.secrets, configuration, configuration.state]
        parts += [*host.core.config.providers, host.core.models, host.core.composition]
        shown = {f"{type(part).__name__} {at}": f"{part!r} {part}" for at, part in enumerate(parts)}

    assert leaks(CANARIES, shown) == []


async def test_a_secret_at_which_an_error_is_cut_off_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def make(password):\n    raise ValueError('x' * 190 + password)\n"
    (tmp_path / "of_canaries.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    entry = {
        "name": "one",
        "object": "of_canaries:make",
        "config": {"password": CANARIES["plain"]},
    }
    file = tmp_path / "agentrail.json"
    file.write_text(json.dumps({"plugins": {"entries": [entry]}}))

    with pytest.raises(ConfigRefused) as refused:
        create_app(config(tmp_path), SettingsSource(file, {}))

    assert "xx[hidden]" in str(refused.value)


async def test_another_text_is_told_apart_and_not_told(tmp_path: Path) -> None:
    app = create_app(config(tmp_path), written(tmp_path, CANARIES["plain"]))
    async with app.host as host:
        configuration = host.part(Configuration)
        first = await configuration.get(1)
        written(tmp_path, CANARIES["other"])
        changed = await configuration.reload("ada")
        written(tmp_path, CANARIES["other"], password=CANARIES["other"])
        moved = await configuration.reload("ada")
        same = await configuration.reload("ada")
        written(tmp_path, CANARIES["plain"])
        again = await configuration.reload("ada")

    (change,) = changed.changes
    assert change.path == "providers.two.api_key"
    assert str(change.before).startswith("[hidden ")
    assert change.before != change.after
    (change,) = moved.changes
    assert change.path == "providers.three.base_url"
    assert same == moved
    assert list(again.settings) == list(first.settings)
    shown = {str(each.number): repr(each) for each in (first, changed, moved, again)}
    assert leaks(CANARIES, shown) == []


async def test_what_is_hidden_is_the_same_after_the_first_start(tmp_path: Path) -> None:
    """The first one makes the key that it is told apart with."""
    for _ in range(2):
        app = create_app(config(tmp_path), written(tmp_path, CANARIES["plain"]))
        async with app.host as host:
            revision = (await host.part(Configuration).reload("ada")).number
            assert revision == 1


@pytest.mark.parametrize("kind", [OpenAICompatible, OpenAIResponses, Anthropic])
def test_no_provider_shows_its_key(
    kind: type[OpenAICompatible | OpenAIResponses | Anthropic], caplog: pytest.LogCaptureFixture
) -> None:
    made = kind("one", f"https://u:{CANARIES['password']}@h.example", CANARIES["plain"])

    logging.getLogger("tests").warning("%s %r", made, made)

    assert leaks(CANARIES, {"the log": caplog.text}) == []
    assert "one" in caplog.text
