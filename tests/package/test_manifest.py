"""Manifests: what is read from them, and what is refused with which code and at which line."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrail.errors import PackageRefused
from agentrail.package._document import read_document
from agentrail.package._manifest import Manifest, parse_manifest
from agentrail.package._semver import Range, Version

GOOD = 'id = "weather"\nversion = "1.2.0"\n'


def parse(text: str | bytes, file: str = "plugin.toml") -> Manifest:
    raw = text if isinstance(text, bytes) else text.encode()
    return parse_manifest(read_document(file, raw))


def refusal(text: str | bytes, file: str = "plugin.toml") -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        parse(text, file)
    return caught.value


def test_a_manifest_says_everything_that_the_host_asks() -> None:
    manifest = parse(
        """
        id = "weather"
        name = "Weather"
        version = "1.2.0-rc.1"
        description = "Tells the weather."
        author = { name = "Ada", email = "ada@example.org" }
        license = "MIT"
        type = "integration"
        tags = ["context", "weather"]
        entry_point = "weather.plugin:Plugin"
        requires_host = ">=0.1,<2"
        enabled = false
        [permissions]
        network = ["https://api.example.com", "https://*.example.org:8443"]
        config = ["units.temperature"]
        secrets = ["WEATHER_KEY"]
        database = ["messages"]
        filesystem = { read = ["data:"], write = ["data:", "scratch:"] }
        channels = { publish = ["weather.changed"], subscribe = ["geo.*"] }
        [resources]
        memory_mb = 128
        [dependencies]
        python = ["httpx>=0.27,<1"]
        plugins = ["geo>=2,<3"]
        [config]
        units = { temperature = "celsius" }
        [config_schema]
        type = "object"
        [activation]
        events = ["onTool:forecast"]
        [[contributes.tools]]
        name = "forecast"
        description = "Tells the weather of tomorrow."
        parameters = { type = "object", properties = { place = { type = "string" } } }
        """
    )

    assert manifest.id == "weather"
    assert manifest.author == "Ada <ada@example.org>"
    assert not manifest.enabled
    assert not manifest.version.is_release
    assert manifest.permissions.network == ("https://api.example.com", "https://*.example.org:8443")
    assert manifest.permissions.write == ("data:", "scratch:")
    assert manifest.permissions.publish == ("weather.changed",)
    assert [str(plugin) for plugin in manifest.plugins] == ["geo>=2,<3"]
    assert manifest.tools[0].name == "forecast"
    assert Version.parse("1.0.0") in manifest.requires_host


def test_what_a_manifest_does_not_ask_for_it_does_not_get() -> None:
    permissions = parse(GOOD).permissions

    assert not any(
        (permissions.network, permissions.config, permissions.secrets, permissions.database)
    )
    assert not any((permissions.read, permissions.write, permissions.exec, permissions.native))


def test_the_json_of_a_plugin_with_an_author_table_and_switches_means_the_same() -> None:
    manifest = parse(
        json.dumps(
            {
                "name": "weather-plugin",
                "version": "1.0.0",
                "author": {"name": "Ada", "email": "ada@example.org"},
                "description": "Tells the weather.",
                "plugin_type": "tool",
                "entry_point": "main.py:WeatherPlugin",
                "enabled": True,
                "permissions": {
                    "filesystem": False,
                    "network": True,
                    "exec": False,
                    "channels": ["discord", "slack"],
                },
                "dependencies": ["requests>=2.28.0", "pydantic>=2.0.0"],
                "tags": ["weather"],
            }
        ),
        "plugin.json",
    )

    assert (manifest.id, manifest.type, manifest.entry_point) == (
        "weather-plugin",
        "tool",
        "main.py:WeatherPlugin",
    )
    assert manifest.permissions.network == ("*",)
    assert manifest.permissions.subscribe == ("discord", "slack")
    assert manifest.permissions.read == ()
    assert manifest.requirements == ("requests>=2.28.0", "pydantic>=2.0.0")


def test_the_json_of_a_single_tool_declares_that_tool() -> None:
    parameters = {"type": "object", "properties": {"x": {"type": "integer"}}}
    manifest = parse(
        json.dumps(
            {
                "name": "custom_tool",
                "version": "1.0.0",
                "description": "Does something.",
                "entry_point": "plugin.py:CustomTool",
                "permissions": ["read", "write"],
                "schema": {"parameters": parameters},
            }
        ),
        "plugin.json",
    )

    assert [(tool.name, tool.parameters) for tool in manifest.tools] == [
        ("custom_tool", parameters)
    ]
    assert manifest.permissions.read == manifest.permissions.write == ("data:",)


def test_a_single_file_carries_its_manifest_in_a_comment() -> None:
    manifest = parse(
        '"""Doc."""\n\n# /// plugin\n# id = "x"\n#\n# version = "0.1.0"\n# ///\n', "x.py"
    )

    assert (manifest.id, str(manifest.version)) == ("x", "0.1.0")


def test_every_fault_is_told_with_its_line() -> None:
    error = refusal('id = "W"\nversion = "1"\npermisions = 1\n[permissions]\nexec = ["sh -c"]\n')

    assert [(fault.code, fault.line, fault.key) for fault in error.faults] == [
        ("manifest_id", 1, "id"),
        ("manifest_version", 2, "version"),
        ("manifest_schema", 3, "permisions"),
        ("permission_exec", 5, "permissions.exec"),
    ]
    assert "did you mean 'permissions'?" in str(error)
    assert "plugin.toml:2: version: " in str(error)


def test_the_lines_of_json_and_of_a_comment_are_found_too() -> None:
    in_json = refusal(
        '{\n"name": "a",\n"version": "x",\n"permissions":\n{"network": ["*"]}}', "plugin.json"
    )
    in_comment = refusal('import os\n# /// plugin\n# id = "a"\n# version = "1"\n# ///\n', "a.py")

    assert [fault.line for fault in in_json.faults] == [3, 5]
    assert [fault.line for fault in in_comment.faults] == [4]


IDS = [
    "W",
    "a/b",
    "-a",
    "a-",
    "a b",
    "a.b",
    "é",
    "a\\u200db",
    "../a",
    "a" * 65,
    "",
    "agentrail",
    "events",
    "host",
]
VERSIONS = [
    "1.0",
    "01.0.0",
    "1.0.0+evil",
    "latest",
    "../1",
    "9" * 300,
    "1.0.0-",
    "1.0.0-01",
    "v1.0.0",
]
ORIGINS = [
    "*",
    "https://*",
    "https://*.com",
    "http://169.254.169.254",
    "https://169.254.169.254",
    "https://127.0.0.1",
    "https://10.0.0.1",
    "https://[::1]",
    "https://[::ffff:127.0.0.1]",
    "https://2130706433",
    "https://0x7f.1",
    "https://017700000001",
    "https://good.example@evil",
    "https://good.example#@evil",
    "https://good.example\\\\evil",
    "https://good.example\\u0000.evil",
    "https://good.example\\n.evil",
    "https://good.example%2eevil",
    "https://g\\u043e\\u043ed.example",
    "https://good。example",
    "https://good.example:0",
    "https://good.example:70000",
    "https://good.example/path",
    "https://Good.example",
    "http://good.example",
    "ftp://good.example",
    "good.example",
    "https://-bad.example",
    "https://a..b",
    "",
]
LISTS = {
    "permission_network": ("network", ORIGINS),
    "permission_exec": ("exec", ["sh -c", "/bin/sh", "../sh", "", "a;b"]),
    "permission_config": ("config", ["a..b", "*", "", "__class__.x y"]),
    "permission_secret": ("secrets", ["a-b", "A B", "$HOME", "", "x" * 65]),
    "permission_database": ("database", ["a;drop", "main.x", "*", "sqlite master"]),
}
FILES = ["..", "/etc", "~", "$HOME", "data:*", "data:/../x", "*", ""]
TOPICS = ["**", "#", "$SYS/#", "a/b", "a..b", "*", "A.b"]
ENTRIES = [
    "..x:y",
    'pkg.mod:__import__("os")',
    "pkg:cls().run",
    "/etc/x.py:A",
    "../x.py:A",
    "a b:c",
    "a:b:c",
]
REQUIREMENTS = [
    "pkg @ git+https://example.org/x",
    "-r other.txt",
    "--index-url https://example.org",
    "-e .",
    "--find-links .",
    "pkg ==",
    "./x.whl",
    "",
]


def table() -> list[tuple[str, str]]:
    """Return bad manifests, each with the code that it is refused with."""

    def listed(values: list[str], form: str, code: str) -> list[tuple[str, str]]:
        return [(GOOD + form % f'"{value}"', code) for value in values]

    bad = [(f'id = "{each}"\nversion = "1.0.0"\n', "manifest_id") for each in IDS]
    bad += [(f'id = "a"\nversion = "{each}"\n', "manifest_version") for each in VERSIONS]
    for code, (key, values) in LISTS.items():
        bad += listed(values, f"[permissions]\n{key} = [%s]\n", code)
    for way in ("read", "write"):
        form = f"[permissions.filesystem]\n{way} = [%s]\n"
        bad += listed(FILES, form, "permission_filesystem")
    for way in ("publish", "subscribe"):
        bad += listed(TOPICS, f"[permissions.channels]\n{way} = [%s]\n", "permission_channel")
    bad += [(GOOD + f"entry_point = '{each}'\n", "manifest_entrypoint") for each in ENTRIES]
    bad += listed(REQUIREMENTS, "[dependencies]\npython = [%s]\n", "dependency_forbidden")
    bad += [
        ("", "manifest_id"),
        ('version = "1.0.0"\n', "manifest_id"),
        ('id = "a"\n', "manifest_version"),
        ("id = 3\nversion = 1.0\n", "manifest_schema"),
        (GOOD + 'id = "b"\n', "manifest_schema"),
        ("\ufeff" + GOOD, "manifest_schema"),
        (GOOD + "garbage", "manifest_schema"),
        (GOOD + 'type = "virus"\n', "manifest_schema"),
        (GOOD + "enabled = 1\n", "manifest_schema"),
        (GOOD + 'tags = ["A B"]\n', "manifest_schema"),
        (
            GOOD + "tags = [" + '"a",' * 0 + ",".join(f'"t{i}"' for i in range(99)) + "]\n",
            "manifest_schema",
        ),
        (GOOD + 'name = "' + "x" * 10_000 + '"\n', "manifest_schema"),
        (GOOD + 'description = "a\\u0000b"\n', "manifest_schema"),
        (GOOD + "permissions = 3\n", "manifest_schema"),
        (GOOD + "[permissions]\nunknown = true\n", "manifest_schema"),
        (GOOD + "[permissions]\nnative = 1\n", "manifest_schema"),
        (GOOD + "[permissions]\nexec = true\n", "manifest_schema"),
        (GOOD + "manifest_version = 2\n", "host_incompatible"),
        (GOOD + 'requires_host = "recent"\n', "host_incompatible"),
        (GOOD + 'tier = "in_process"\n', "tier_not_allowed"),
        (GOOD + "[resources]\nmemory_mb = 999999\n", "resource_limit"),
        (GOOD + "[resources]\nmemory_mb = -1\n", "resource_limit"),
        (GOOD + '[resources]\nmemory_mb = "512MB"\n', "resource_limit"),
        (GOOD + "[resources]\ncpu = nan\n", "resource_limit"),
        (GOOD + '[dependencies]\nplugins = ["weather"]\n', "dependency_cycle"),
        (GOOD + '[dependencies]\nplugins = ["geo>=1", "geo<1"]\n', "dependency_conflict"),
        (GOOD + '[dependencies]\nplugins = ["geo~1"]\n', "dependency_forbidden"),
        (GOOD + '[activation]\nevents = ["onEverything"]\n', "manifest_schema"),
        (GOOD + "[activation]\nevent = []\n", "manifest_schema"),
        (GOOD + "config_schema = 3\n", "manifest_schema"),
        (GOOD + '[config_schema]\n"$ref" = "http://127.0.0.1:9/x"\n', "manifest_schema"),
        (GOOD + '[config_schema]\n"$ref" = "file:///etc/passwd"\n', "manifest_schema"),
        (GOOD + '[config_schema]\n"$schema" = "http://127.0.0.1:9/x"\n', "manifest_schema"),
        (GOOD + '[config_schema]\n"$id" = "http://127.0.0.1:9/x"\n', "manifest_schema"),
        (GOOD + '[config_schema]\ntype = "nothing"\n', "manifest_schema"),
        (GOOD + '[config_schema]\npattern = "["\n', "manifest_schema"),
        (GOOD + "[[contributes.tools]]\nname = 'a b'\n", "manifest_schema"),
        (GOOD + "[[contributes.tools]]\ndescription = 'x'\n", "manifest_schema"),
        (GOOD + "[contributes]\ntools = [1]\n", "manifest_schema"),
        (GOOD + "x = " + "[" * 20_000, "manifest_schema"),
        (GOOD + "x = " + "[" * 40 + "]" * 40 + "\n", "manifest_schema"),
        (GOOD + "#" * 70_000, "manifest_too_large"),
    ]
    return bad


@pytest.mark.parametrize(("text", "code"), table())
def test_a_bad_manifest_is_refused_with_its_code(text: str, code: str) -> None:
    assert refusal(text).code == code


BAD_JSON = {
    "[1]": "manifest_schema",
    "": "manifest_schema",
    "{": "manifest_schema",
    '{"name": "a", "name": "b", "version": "1.0.0"}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "x": NaN}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "x": ' + "9" * 5000 + "}": "manifest_schema",
    '{"name": "a", "version": null}': "manifest_schema",
    "[" * 60_000: "manifest_schema",
    '{"name": "A", "version": "1.0.0"}': "manifest_id",
    '{"name": "a", "version": "1.0.0", "permissions": ["root"]}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "dependencies": ["-e ."]}': "dependency_forbidden",
    '{"name": "a", "version": "1.0.0", "dependencies": ["a; %s"]}'
    % ("(" * 190): "dependency_forbidden",
    '{"name": "a", "version": "1.0.0", "dependencies": ["a; %s"]}'
    % ("(" * 20_000): "dependency_forbidden",
    '{"name": "\\ud800", "id": "a", "version": "1.0.0"}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "description": "\\udc00"}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "x-\\ud800": 1}': "manifest_schema",
    '{"name": "a", "version": "1.0.0", "x-%s": 1}' % ("k" * 600): "manifest_schema",
}


@pytest.mark.parametrize("text", BAD_JSON)
def test_a_bad_json_manifest_is_refused_with_its_code(text: str) -> None:
    assert refusal(text, "plugin.json").code == BAD_JSON[text]


def test_bytes_that_are_no_text_are_refused() -> None:
    assert refusal(b"\xff\xfe" + GOOD.encode("utf-16")).code == "manifest_schema"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1\n", "manifest_missing"),
        ("# /// plugin\n# id = 'a'\n", "manifest_missing"),
        ("# /// plugin\n# id = 'a'\n# ///\n" * 2, "manifest_duplicate"),
    ],
)
def test_a_file_needs_one_whole_comment_block(text: str, code: str) -> None:
    assert refusal(text, "a.py").code == code


@pytest.mark.parametrize(
    "origin", ["https://a.example", "https://a.example:8443", "http://localhost:8000"]
)
def test_a_plain_origin_is_taken(origin: str) -> None:
    assert parse(GOOD + f'[permissions]\nnetwork = ["{origin}"]\n').permissions.network == (origin,)


@given(st.binary(max_size=400), st.sampled_from(["plugin.toml", "plugin.json", "a.py"]))
def test_no_bytes_fail_in_another_way(raw: bytes, file: str) -> None:
    with suppress(PackageRefused):
        assert parse(raw, file).id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = [
    *("id", "name", "version", "permissions", "dependencies", "schema", "author", "contributes"),
    *("activation", "resources", "config", "config_schema", "plugin_type", "tags", "type"),
]


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_no_json_fails_in_another_way(data: dict[str, object]) -> None:
    with suppress(PackageRefused):
        assert parse(json.dumps(data), "plugin.json").id


numbers = st.integers(0, 30)
previews = st.sampled_from(
    ["", "-alpha", "-alpha.1", "-alpha.beta", "-beta.2", "-beta.11", "-rc.1"]
)
versions = st.builds("{}.{}.{}{}".format, numbers, numbers, numbers, previews).map(Version.parse)


@given(versions, versions, versions)
def test_versions_have_one_order(one: Version, two: Version, three: Version) -> None:
    assert (one < two) + (two < one) + (one == two) == 1
    assert not (one < two < three) or one < three


def test_versions_are_ordered_as_semantic_versioning_says() -> None:
    written = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"]
    written += ["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"]

    assert [str(version) for version in sorted(map(Version.parse, reversed(written)))] == written


@pytest.mark.parametrize(
    ("versions", "version", "inside"),
    [
        (">=1.2,<2", "1.2.0", True),
        (">=1.2,<2", "2.0.0", False),
        (">1", "1.0.0", False),
        ("!=1.1.1", "1.1.1", False),
        ("==1.1", "1.1.0", True),
        ("", "0.0.1", True),
    ],
)
def test_a_range_holds_what_meets_all_its_bounds(versions: str, version: str, inside: bool) -> None:
    assert (Version.parse(version) in Range.parse(versions)) is inside


COSTLY = {
    "openings without an end": ("# /// plugin\n" * 80_000, "a.py", "manifest_missing"),
    "keys of many parts": ("a" + ".a" * 30_000 + " = 1", "plugin.toml", "manifest_schema"),
    "quoted keys of many parts": ('"a". ' * 12_000 + "a = 1", "plugin.toml", "manifest_schema"),
    "tables of many parts": ("[a" + ".a" * 30_000 + "]", "plugin.toml", "manifest_schema"),
    "one long word": ("a" * 65_000, "plugin.toml", "manifest_schema"),
    "many quotes": ('"' * 65_000, "plugin.toml", "manifest_schema"),
    "a key at the end once more": (
        "{" + ",".join(f'"{n}":1' for n in range(7_000)) + ',"6999":2}',
        "plugin.json",
        "manifest_schema",
    ),
    "unknown keys": (
        GOOD + "".join(f"k{n} = 1\n" for n in range(6_000)),
        "plugin.toml",
        "manifest_schema",
    ),
    "wrong entries": (GOOD + f"tags = [{'1,' * 25_000}]", "plugin.toml", "manifest_schema"),
    "a long block": (
        "# /// plugin\n# a = [\n" + "# 1,\n" * 80_000 + "# ]\n# ///\n",
        "a.py",
        "manifest_too_large",
    ),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", COSTLY)
def test_what_would_take_the_square_of_its_length_is_refused(kind: str) -> None:
    text, file, code = COSTLY[kind]

    refused = refusal(text, file)

    assert refused.code == code
    assert "of many parts" not in kind or "a key of more than 32 parts" in str(refused)


def test_what_a_manifest_writes_cannot_steer_a_terminal() -> None:
    refused = refusal(
        '{"id": "a", "version": "1.0.0", "\\u001b[31mred\\n\\u202e": 1}', "plugin.json"
    )

    assert "red" in str(refused)
    assert all(line.isprintable() for line in str(refused).split("\n"))
    assert str(refused).count("\n") == 1


def test_a_comment_block_has_the_lines_that_an_editor_shows() -> None:
    """Other ends of lines than a newline, which Python knows too, are none."""
    block = "# /// plugin\r\n# id = 'a'\r\n# version = '1.0.0'\r\n# name = 'b\u2028xxtype = 1'\r\n"

    assert parse(f"import os\r\n{block}# ///\r\n", "a.py").name == "b\u2028xxtype = 1"
    assert refusal(f"{block}# nmae = 1\n# ///\n", "a.py").faults[0].line == 5
