"""Settings are read from three formats and two more places, and refused with what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentrail.config import Source
from agentrail.errors import ConfigRefused
from agentrail.settings import (
    Reading,
    Settings,
    find_settings,
    read_settings,
    settings_schema,
    shown_settings,
)

YAML = """\
server:
  port: 9000
providers:
  house: {kind: openai, base_url: "http://house.example/v1"}
profiles:
  - id: assistant
    model: house:large
    limits: {steps: 3, cost: 0.5}
    permissions:
      - {ask: "send_*", reason: it leaves the house, arguments: {to: "*@example.com"}}
middlewares: [logging, {name: retry, attempts: 2}]
plugins:
  entries: [{name: greeter, enabled: false}]
telemetry: {capture_content: null}
"""

TOML = """\
middlewares = ["logging", {name = "retry", attempts = 2}]

[server]
port = 9000

[providers.house]
kind = "openai"
base_url = "http://house.example/v1"

[[profiles]]
id = "assistant"
model = "house:large"
limits = {steps = 3, cost = 0.5}

[[profiles.permissions]]
ask = "send_*"
reason = "it leaves the house"
arguments = {to = "*@example.com"}

[[plugins.entries]]
name = "greeter"
enabled = false
"""

JSON = json.dumps(
    {
        "server": {"port": 9000},
        "providers": {"house": {"kind": "openai", "base_url": "http://house.example/v1"}},
        "profiles": [
            {
                "id": "assistant",
                "model": "house:large",
                "limits": {"steps": 3, "cost": 0.5},
                "permissions": [
                    {
                        "ask": "send_*",
                        "reason": "it leaves the house",
                        "arguments": {"to": "*@example.com"},
                    }
                ],
            }
        ],
        "middlewares": ["logging", {"name": "retry", "attempts": 2}],
        "plugins": {"entries": [{"name": "greeter", "enabled": False}]},
    }
)


def read(directory: Path, text: str, name: str = "agentrail.yaml", **variables: str) -> Reading:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return read_settings(path, variables)


def refused(
    path: Path,
    variables: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, object]] | None = None,
) -> list[str]:
    with pytest.raises(ConfigRefused) as caught:
        read_settings(path, variables or {}, flags)
    return [f"{fault.code} {fault}" for fault in caught.value.faults]


def faults(directory: Path, text: str, **variables: str) -> list[str]:
    path = directory / "agentrail.yaml"
    path.write_text(text, encoding="utf-8")
    return refused(path, variables)


@pytest.mark.parametrize(
    "name", ["agentrail.yaml", "agentrail.yml", "agentrail.toml", "agentrail.json"]
)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    text = {"toml": TOML, "json": JSON}.get(name.rpartition(".")[2], YAML)

    settings = read(tmp_path, text, name).settings

    assert settings == read(tmp_path, YAML).settings
    assert settings.server.port == 9000
    assert settings.server.host == "127.0.0.1"
    assert settings.profiles[0].limits.cost == 0.5
    assert settings.profiles[0].permissions[0].arguments == {"to": "*@example.com"}
    assert settings.plugins.entries[0].enabled is False
    assert settings.telemetry.capture_content is None


def test_without_a_file_all_has_its_default() -> None:
    reading = read_settings(None, {})

    assert reading.settings == Settings()
    assert reading.path is None
    assert all(each.source == "" for each in shown_settings(reading))


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "").settings == Settings()


def test_a_later_place_counts_more(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.yaml"
    path.write_text("server:\n  host: a\n  port: 1\n  backend: asyncio\n")
    variables = {"AGENTRAIL_SERVER__PORT": "2", "AGENTRAIL_SERVER__BACKEND": "trio"}

    reading = read_settings(path, variables, {"server.port": ("--port", 3)})

    server = reading.settings.server
    assert (server.host, server.port, server.backend) == ("a", 3, "trio")
    sources = reading.layered.sources
    assert sources["server.host"] == Source("file", "agentrail.yaml", 2)
    assert sources["server.port"] == Source("flag", "--port")
    assert sources["server.backend"] == Source("environment", "AGENTRAIL_SERVER__BACKEND")


def test_a_variable_replaces_a_list_as_a_whole(tmp_path: Path) -> None:
    reading = read(tmp_path, YAML, AGENTRAIL_MIDDLEWARES='["metrics"]')

    assert reading.settings.middlewares == ("metrics",)


def test_the_master_switch_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert not read(tmp_path, YAML, AGENTRAIL_PLUGINS_ENABLED="no").settings.plugins.enabled


def test_secrets_of_packages_are_nobodys_settings(tmp_path: Path) -> None:
    reading = read(tmp_path, "", AGENTRAIL_SECRET_X__Y="canary", AGENTRAIL_SECRET_SERVER__PORT="1")

    assert reading.settings == Settings()


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    variables = {"AGENTRAIL_MODEL": "m", "AGENTRAIL_TOKEN": "t", "SERVER__PORT": "1"}

    assert read(tmp_path, "", **variables).settings == Settings()


def test_a_file_names_variables(tmp_path: Path) -> None:
    text = """\
server: {port: "${PORT}", host: "${HOST:::1}"}
providers: {house: {kind: openai, api_key: "Bearer ${KEY}", base_url: "http://$${x}"}}
"""
    settings = read(tmp_path, text, PORT="7", KEY="canary").settings

    assert (settings.server.port, settings.server.host) == (7, "::1")
    assert settings.providers["house"].api_key == "Bearer canary"
    assert settings.providers["house"].base_url == "http://${x}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "profiles:\n- id: a\n  model: x:y\n- model: x:y\n  id: a\n",
            "config_conflict agentrail.yaml:5: profiles.1.id: another profile has this id",
        ),
        (
            "profiles:\n- id: a\n  name: b\n  model: nope\n",
            "config_value agentrail.yaml:4: profiles.0.model: write a model as provider:model",
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  fallbacks:\n  - x:z\n  - 'x:'\n",
            (
                "config_value agentrail.yaml:6: profiles.0.fallbacks.1: "
                "write a model as provider:model"
            ),
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  permissions:\n  - allow: f\n    reason: r\n",
            (
                "config_conflict agentrail.yaml:6: profiles.0.permissions.0.reason: "
                "what is allowed needs no reason"
            ),
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  permissions:\n  - {}\n",
            (
                "config_conflict agentrail.yaml:5: profiles.0.permissions.0: "
                "write one of allow, ask and deny, not 0 of them"
            ),
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  permissions:\n  - allow: f\n    deny: g\n",
            (
                "config_conflict agentrail.yaml:5: profiles.0.permissions.0: "
                "write one of allow, ask and deny, not 2 of them"
            ),
        ),
        (
            "plugins:\n  entries:\n  - name: a\n  - enabled: true\n    name: a\n",
            "config_conflict agentrail.yaml:5: plugins.entries.1.name: another entry has this name",
        ),
        (
            "plugins:\n  entries:\n  - name: a\n    object: m:o\n    version: '1'\n",
            (
                "config_conflict agentrail.yaml:5: plugins.entries.0.version: "
                "a version is one of a package, which has no 'object'"
            ),
        ),
        (
            "providers:\n  a/b:\n    kind: openai\n",
            (
                "config_value agentrail.yaml:2: providers: "
                "the name of a provider stands before the colon of a model: "
                "it has no ':' and no '/', and no space around it"
            ),
        ),
        (
            "providers:\n  p: {kind: openai,\n      base_url: h.example/v1}\n",
            (
                "config_value agentrail.yaml:3: providers.p.base_url: "
                "it must begin with http:// or https://"
            ),
        ),
        (
            "providers:\n  p: {kind: openai,\n      api_key: schlüssel}\n",
            (
                "config_value agentrail.yaml:3: providers.p.api_key: "
                "it has characters that no key has: keys are printable ASCII"
            ),
        ),
        (
            "providers:\n  p: {kind: openai,\n      api_key: secret:HOUSE-KEY}\n",
            (
                "config_secret agentrail.yaml:3: providers.p.api_key: behind 'secret:' it has no "
                "name: write 1 to 128 ASCII letters, digits and _, and no digit first"
            ),
        ),
        (
            "profiles:\n- id: an agent\n  model: x:y\n",
            (
                "config_value agentrail.yaml:2: profiles.0.id: use ASCII letters, digits and "
                ". _ : @ + -, starting with a letter or digit"
            ),
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  tools: [m:f, m:g,\n    m:f]\n",
            "config_conflict agentrail.yaml:5: profiles.0.tools.2: this tool is there already",
        ),
        (
            "profiles:\n- id: a\n  model: x:y\n  limits:\n    max_tokens: 8192\n",
            (
                "config_conflict agentrail.yaml:5: profiles.0.limits.max_tokens: "
                "the answer alone would take the context_window of 8192"
            ),
        ),
        (
            "plugins:\n  entries:\n  - name: a\n    version: '1'\n",
            (
                "config_value agentrail.yaml:4: plugins.entries.0.version: "
                "it is no version: write MAJOR.MINOR.PATCH, as 1.4.0 or 2.0.0-rc.1"
            ),
        ),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_line(
    tmp_path: Path, text: str, told: str
) -> None:
    assert faults(tmp_path, text) == [told]


def test_all_that_is_wrong_is_told_at_once_and_in_order(tmp_path: Path) -> None:
    text = "server:\n  port: 70000\n  prot: 1\nprofiles:\n- id: a\nlimits:\n  body_bytes: no\n"

    told = faults(tmp_path, text, AGENTRAIL_SERVER__PROT="1", AGENTRAIL_DATA_DIR="")

    assert [each.split()[0] for each in told] == [
        "config_value",
        "config_unknown",
        "config_value",
        "config_unknown",
        "config_missing",
        "config_type",
    ]
    assert [each.split()[1].rstrip(":") for each in told] == [
        "AGENTRAIL_DATA_DIR",
        "AGENTRAIL_SERVER__PROT",
        "agentrail.yaml:2",
        "agentrail.yaml:3",
        "agentrail.yaml:5",
        "agentrail.yaml:7",
    ]


def test_a_text_is_no_number_and_no_switch(tmp_path: Path) -> None:
    """`no` is a text in YAML 1.2."""
    told = faults(tmp_path, "plugins:\n  enabled: no\nserver:\n  port: '1'\n")

    assert told == [
        "config_type agentrail.yaml:2: plugins.enabled: it must be a list or true or false",
        "config_type agentrail.yaml:4: server.port: it must be a whole number",
    ]


def test_what_is_found_without_being_named_has_one_of_four_names(tmp_path: Path) -> None:
    assert find_settings(tmp_path) is None
    for name in ("agentrail.yaml", "agentrail.yml", "agentrail.toml", "agentrail.json"):
        path = tmp_path / name
        path.touch()
        assert find_settings(tmp_path) == path
        path.unlink()


def test_two_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "agentrail.json").touch()
    (tmp_path / "agentrail.yaml").touch()

    with pytest.raises(ConfigRefused) as caught:
        find_settings(tmp_path)

    (fault,) = caught.value.faults
    assert fault.code == "config_conflict"
    assert str(fault) == (
        "agentrail.json: agentrail.yaml is there too: name one with --config, or remove the other"
    )


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.yaml"
    os.mkfifo(path)

    assert refused(path) == ["config_unreadable agentrail.yaml: it is no file"]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.yaml"
    path.mkdir()

    assert refused(path) == ["config_unreadable agentrail.yaml: it cannot be read: Is a directory"]


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.yaml"
    path.symlink_to(tmp_path / "gone.yaml")

    assert refused(path) == [
        "config_unreadable agentrail.yaml: it cannot be read: No such file or directory"
    ]


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    """Or the host would run without the settings that somebody believes to be in force."""
    path = tmp_path / "agentrail.yaml"
    path.symlink_to(tmp_path / "gone.yaml")

    assert find_settings(tmp_path) == path


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text("server: {port: 5}\n")
    path = tmp_path / "agentrail.yaml"
    path.symlink_to(tmp_path / "there.yaml")

    assert read_settings(path, {}).settings.server.port == 5


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_file_that_everybody_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever writes to it has the host run code."""
    path = tmp_path / "agentrail.yaml"
    path.touch()
    path.chmod(mode)

    assert refused(path) == [
        "config_unreadable agentrail.yaml: everybody may write to it: chmod o-w agentrail.yaml"
    ]

    path.chmod(mode & ~0o002)
    assert read_settings(path, {}).settings == Settings()


def test_where_a_link_leads_may_not_everybody_write_to(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").touch()
    (tmp_path / "there.yaml").chmod(0o666)
    path = tmp_path / "agentrail.yaml"
    path.symlink_to(tmp_path / "there.yaml")

    (told,) = refused(path)
    assert "everybody may write to it" in told


MOUNTED = """
import sys
from pathlib import Path
from agentrail.config import check_watch
from agentrail.errors import AgentrailError
from agentrail.settings import find_settings, read_settings

mounted = Path(sys.argv[1])
for act in (lambda: read_settings(find_settings(mounted), {}), lambda: check_watch([mounted])):
    try:
        act()
        print("yes")
    except AgentrailError:
        print("no")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare of util-linux is missing")
@pytest.mark.parametrize(("mode", "before"), [(0o644, ["yes", "no"]), (0o666, ["no", "no"])])
def test_a_file_is_read_and_watched_as_kubernetes_mounts_it(
    tmp_path: Path, mode: int, before: list[str]
) -> None:
    """To be read alone, so that nobody may write to it, though its mode says otherwise."""
    mounted, file = tmp_path / "mounted", tmp_path / "mounted" / "..2026" / "agentrail.yaml"
    file.parent.mkdir(parents=True)
    file.touch()
    file.chmod(mode)
    mounted.chmod(0o1777)
    (mounted / "..data").symlink_to("..2026")
    (mounted / "agentrail.yaml").symlink_to("..data/agentrail.yaml")
    look = [sys.executable, "-c", MOUNTED, str(mounted)]
    mount = f"mount --bind {mounted} {mounted} && mount -o remount,bind,ro {mounted}"
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mount} && "$@"', ""]

    plain, alone = (
        subprocess.run([*each, *look], check=True, capture_output=True, text=True).stdout.split()
        for each in ([], inside)
    )

    assert plain == before
    assert alone == ["yes", "yes"]


def test_a_file_of_2_megabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agentrail.yaml"
    path.write_bytes(b"#" * 2_000_000)

    with pytest.raises(ConfigRefused) as caught:
        read_settings(path, {})

    assert caught.value.status == 413
    assert [fault.code for fault in caught.value.faults] == ["document_too_large"]


def test_the_digest_goes_by_what_is_said_and_not_by_how(tmp_path: Path) -> None:
    one = read(tmp_path, "server: {port: 1, host: a}\n")
    same = read(tmp_path, "# a remark\nserver:\n  host: a\n  port: 1\n")
    other = read(tmp_path, "server: {port: 2, host: a}\n")

    assert one.digest == same.digest != other.digest
    assert len(one.digest) == 64


@pytest.mark.parametrize(
    "wrong",
    [
        "providers: {house: {kind: canary, api_key: canary}}",
        "providers: {house: {kind: openai, api_key: [canary]}}",
        "providers: {house: {kind: openai, api_key: {canary: canary}}}".replace("{canary:", "{k:"),
        "providers: {house: {kind: openai, base_url: 5, api_key: canary}}",
        "providers: canary",
        "server: {port: canary}",
        "server: {port: '${KEY}'}",
        "server: {port: '${canary-}'}",
        "providers: {house: {kind: openai, api_key: '${KEY}', x: '${KEY}'}}",
        "middlewares: [canary]",
        "data_dir: {x: canary}",
        "profiles: [{id: a, model: canary}]",
        "plugins: {entries: [{name: a, object: 'canary canary'}]}",
        "providers: {house: {kind: openai, api_key: 'canary}}",
        "providers: {house: {kind: openai, api_key: canary: canary}}",
        "providers: {house: {kind: openai, api_key: !canary canary}}".replace("!canary", "!tag"),
        "providers: {house: {kind: openai, api_key: *canary }}",
        "providers: {house: {kind: openai, 'canary-1': 1}}",
        "providers: {'canary:': {kind: openai}}",
        "providers: {house: {kind: openai, api_key: 'secret:canary-'}}",
        "providers: {house: {kind: openai, api_key: 'canary é'}}",
        "providers: {house: {kind: openai, base_url: canary}}",
        "profiles: [{id: 'a canary', model: 'x:y'}]",
        "plugins: {entries: [{name: a, version: canary}]}",
    ],
)
def test_no_fault_has_a_value(tmp_path: Path, wrong: str) -> None:
    told = faults(tmp_path, wrong, KEY="canary", AGENTRAIL_LIMITS__BODY_BYTES="canary")

    assert told
    assert [each for each in told if "canary" in each] == []


def test_the_schema_describes_every_mapping_and_closes_it() -> None:
    definitions = settings_schema()["$defs"]

    assert [
        name
        for name, each in definitions.items()
        if each["type"] == "object" and each.get("additionalProperties") is not False
    ] == []
