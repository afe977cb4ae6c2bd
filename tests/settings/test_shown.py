"""Settings are shown without what may be secret, and all else as it is."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from agentrail.secret import MOST_HIDDEN, Hider, read_secrets
from agentrail.settings import (
    Reading,
    hidden_values,
    read_settings,
    settings_schema,
    shown_settings,
)
from agentrail.settings._shown import digest_of

SECRET = """\
providers:
  house:
    kind: openai
    base_url: "https://ann:canary@house.example/v1?api-version=canary"
    api_key: canary
  key:
    kind: openai
    base_url: "http://key.example/v1"
profiles:
  - id: a
    model: house:m
    prompt: "Look at http://h.example/?sig=canary first."
    permissions: [{allow: log_in, arguments: {password: canary}}]
plugins:
  entries:
    - name: p
      config:
        pass: canary
        pwd: [canary, {x: canary}]
        dsn: "host=h password=canary"
        headers: {X-Bearer: canary}
        color: canary
        pin: 8642097531
        token: {expires: 31, header: 7, on: true}
        size: 31
        on: true
        nothing: null
        empty: ""
        named: secret:NAMED
"""


def read(directory: Path, text: str) -> Reading:
    path = directory / "agentrail.yaml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path, {})


def shown(directory: Path, text: str) -> Mapping[str, object]:
    return {each.path: each.value for each in shown_settings(read(directory, text))}


def test_no_secret_is_shown(tmp_path: Path) -> None:
    reading = read(tmp_path, SECRET)

    found = shown_settings(reading)

    told = json.dumps([[each.path, each.value, each.source] for each in found])
    assert "canary" not in told
    assert "8642097531" not in told
    assert "canary" not in repr(reading)


def test_what_may_be_secret_is_hidden_and_all_else_is_shown(tmp_path: Path) -> None:
    found = shown(tmp_path, SECRET)

    assert found["providers.house.api_key"] == "[hidden]"
    assert found["providers.house.base_url"] == (
        "https://[hidden]@house.example/v1?api-version=[hidden]"
    )
    assert found["providers.key.kind"] == "openai"
    assert found["providers.key.base_url"] == "http://key.example/v1"
    assert found["profiles.0.prompt"] == "Look at http://h.example/?sig=[hidden] first."
    assert found["profiles.0.permissions.0.arguments.password"] == "[hidden]"
    config = {
        path.removeprefix("plugins.entries.0.config."): value
        for path, value in found.items()
        if path.startswith("plugins.entries.0.config.")
    }
    assert config == {
        "pass": "[hidden]",
        "pwd.0": "[hidden]",
        "pwd.1.x": "[hidden]",
        "dsn": "[hidden]",
        "headers.X-Bearer": "[hidden]",
        "color": "[hidden]",
        "pin": "[hidden]",
        "token.expires": "[hidden]",
        "token.header": 7,
        "token.on": True,
        "size": 31,
        "on": True,
        "nothing": None,
        "empty": "",
        "named": "secret:NAMED",
    }


def test_what_is_hidden_is_told_apart_by_those_who_have_the_key(tmp_path: Path) -> None:
    text = "plugins: {entries: [{name: p, config: {a: red, b: blue, c: red}}]}\n"
    secrets = read_secrets(tmp_path, {})

    a, b, c = [
        each.value
        for each in shown_settings(read(tmp_path, text), secrets)
        if ".config." in each.path
    ]

    assert a == c != b
    assert str(a).startswith("[hidden ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a.b": 1}, {"a": {"b": 1}}),
        ({"s": [1]}, {"s": {"0": 1}}),
        ({"s": [{"a": 1}]}, {"s": {"0.a": 1}}),
        ({"password": 123456}, {"password": "123456"}),
        ({"password": 1}, {"password": 1.0}),
        ({"x": []}, {"x": {}}),
        ({"x": 1}, {"x": True}),
        ({"x": "1"}, {"x": "1 "}),
    ],
)
def test_settings_that_are_not_the_same_have_other_digests(
    tmp_path: Path, one: object, other: object
) -> None:
    secrets = read_secrets(tmp_path, {})

    def digest(config: object) -> str:
        entry = {"name": "p", "config": config}
        reading = read(tmp_path, json.dumps({"plugins": {"entries": [entry]}}))
        return digest_of(reading, shown_settings(reading, secrets))

    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_who_asks_is_hidden_whatever_is_in_a_password(tmp_path: Path) -> None:
    url = "https://user:it's-secret-9@h.example/v1?key=canary"
    text = json.dumps({"providers": {"p": {"kind": "openai", "base_url": url}}})
    secrets = read_secrets(tmp_path, {})

    reading = read(tmp_path, text)

    assert shown(tmp_path, text)["providers.p.base_url"] == (
        "https://[hidden]@h.example/v1?key=[hidden]"
    )
    told = str([each.value for each in shown_settings(reading, secrets)])
    assert "secret-9" not in told
    assert "canary" not in told
    assert "it's-secret-9" in set(hidden_values(reading))


def test_limits_on_tokens_are_no_secrets(tmp_path: Path) -> None:
    found = shown(tmp_path, "profiles: [{id: a, model: 'x:y', limits: {tokens: 5}}]\n")

    assert found["profiles.0.limits.tokens"] == 5
    assert found["profiles.0.limits.max_tokens"] is None


def test_where_secrets_are_is_no_secret(tmp_path: Path) -> None:
    found = shown(tmp_path, "secrets: {key_file: /k/secret.key, directory: /run/secrets}\n")

    assert found["secrets.key_file"] == "/k/secret.key"
    assert found["secrets.directory"] == "/run/secrets"


ANY = "token-key"
"""What anybody may call a provider, a role or a tool."""


def choices(part: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings that are one of several words, each with one of them."""
    if isinstance(part, list):
        for each in cast("list[object]", part):
            yield from choices(each, path)
        return
    if not isinstance(part, dict):
        return
    table = cast("dict[str, object]", part)
    if isinstance(name := table.get("$ref"), str):
        yield from choices(settings_schema()["$defs"][name.rpartition("/")[2]], path)
    if "enum" in table:
        yield path, str(cast("Sequence[object]", table["enum"])[-1])
    yield from choices(table.get("anyOf"), path)
    yield from choices(table.get("items"), f"{path}.0")
    yield from choices(table.get("additionalProperties"), f"{path}.{ANY}")
    for key, each in cast("dict[str, object]", table.get("properties", {})).items():
        yield from choices(each, f"{path}.{key}")


def put(path: str, value: str) -> object:
    """Return settings with a value at a path."""
    found: object = value
    for key in reversed(path.removeprefix(".").split(".")):
        found = [found] if key == "0" else {key: found}
    return found


@pytest.mark.parametrize(
    ("path", "word"),
    [each for each in choices(settings_schema()) if ".middlewares.0." not in each[0]],
)
def test_one_of_several_words_is_shown_whatever_it_stands_in(
    tmp_path: Path, path: str, word: str
) -> None:
    found = shown(tmp_path, json.dumps(put(path, word)))

    assert found[path.removeprefix(".")] == word


def test_what_a_middleware_is_given_is_shown(tmp_path: Path) -> None:
    steps = [
        {"name": "authorize", "rules": {"get_key": ["administer"]}, "otherwise": "allow"},
        {"name": "cache", "tools": ["read_token"]},
    ]

    found = shown(tmp_path, json.dumps({"middlewares": steps}))

    assert found["middlewares.0.name"] == "authorize"
    assert found["middlewares.0.rules.get_key.0"] == "administer"
    assert found["middlewares.0.otherwise"] == "allow"
    assert found["middlewares.1.tools.0"] == "read_token"


def test_what_may_be_secret_is_hidden_in_texts_and_ordinary_words_are_not(tmp_path: Path) -> None:
    text = """\
providers:
  monkey: {kind: openai, base_url: "http://u:abcd3fgh@h.example/v1?sig=a1b2c3d4", api_key: k-1}
  ollama: {kind: openai, base_url: "http://assistant@h.example/v1", api_key: ollama}
profiles:
  - {id: a, model: "ollama:m", prompt: "Say primary_key=customer_id, or api_key=YOUR_KEY."}
roles: {keyholder: [read, administer]}
plugins:
  entries:
    - name: p
      config:
        auth: production
        token: production 1
        key: 604800
        pin: 8642097531
        mode: experimental
        dsn: "host=h password=a-passw0rd"
        named: secret:NAMED
        cache: "redis://default@h.example/0"
        rows: "https://h.example/?primary_key=customer_id"
"""
    found = list(hidden_values(read(tmp_path, text)))

    assert found == [
        "u:abcd3fgh",
        "abcd3fgh",
        "a1b2c3d4",
        "k-1",
        "production 1",
        "8642097531",
        "host=h password=a-passw0rd",
        "a-passw0rd",
    ]


def test_of_very_many_values_that_may_be_secret_the_first_are_hidden(tmp_path: Path) -> None:
    keys = [f"a key {at}" for at in range(MOST_HIDDEN + 100)]
    entry = {"name": "p", "config": {"keys": keys * 2}}
    text = json.dumps({"plugins": {"entries": [entry]}})

    reading = read(tmp_path, text)

    assert list(hidden_values(reading)) == keys[:MOST_HIDDEN]
    hide = Hider()
    for value in hidden_values(reading):
        hide.add(value)
    assert hide("it is a key 99.") == "it is [hidden]."
    assert not [each for each in shown_settings(reading) if str(each.value).startswith("a key")]
