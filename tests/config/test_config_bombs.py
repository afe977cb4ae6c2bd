"""Documents that are made to execute something, to take for ever, or to take all memory."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(20)

MEMORY = 600 << 20
LARGEST = 16 << 20

CHILD = """
import resource, sys
from pathlib import Path
from agentrail.config import file_layer, filled_in, layered, read_document
from agentrail.errors import ConfigRefused

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))  # seconds
for name in sys.argv[3:]:
    try:
        document = read_document(name, Path(name).read_bytes(), int(sys.argv[2]))
        layer, _ = filled_in(file_layer(document), {}, {})
        layered([layer, layer])
        print("read")
    except ConfigRefused as error:
        print(error.faults[0].message)
"""
KEY = "k" * (1 << 20)
LONG_KEY = KEY * 4
ONES = "1," * 90_000
DEEP = "it is nested deeper than 32 levels"
LONG = "the names of its levels have more than 500 characters"
MANY = "it has more than 100000 values"
BOMBS = {
    "alias.yaml": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 12)),
        MANY,
    ),
    "text.yaml": (f"a: &x '{'y' * (1 << 20)}'\nb: [{'*x, ' * 90_000}]", MANY),
    "brackets.yaml": (f"a: {'[' * 5000}", DEEP),
    "many_brackets.yaml": (f"a: {'[' * 200_000}", DEEP),
    "braces.yaml": ("{a: " * 200_000, DEEP),
    "dashes.yaml": ("- " * 200_000, DEEP),
    "key.yaml": (f"? {KEY}\n: [{'1, ' * 90_000}]", LONG),
    "quoted_key.yaml": (f'"{KEY}": 1', "mapping values are not allowed in this context"),
    "keys.yaml": ("".join(f"k{n}: [1]\n" for n in range(49_000)), "read"),
    "tag.yaml": (
        f"a: !{KEY}",
        "no tag is taken: put a text that begins with ! or * in quotation marks",
    ),
    "directives.yaml": ("".join(f"%TAG !t{n}! tag:x\n" for n in range(5000)) + "--- {}", "read"),
    "brackets.json": ("[" * 200_000, DEEP),
    "braces.json": ('{"a":' * 200_000, DEEP),
    "key.json": ('{"' + KEY + '": [' + "1," * 90_000 + "1]}", LONG),
    # What is refused stands behind what would make paths of mebibytes each.
    "key_before.json": (
        f'{{"a": {{"{LONG_KEY}": [{ONES}1]}}, "b": {2**70}}}',
        "the number is too large",
    ),
    "text.json": ('{"a": "' + "\\u0041" * (2 << 20) + '"}', "read"),
    "list.json": ('{"a": [' + "1," * (2 << 20) + "1]}", MANY),
    "keys.json": ("{" + ",".join(f'"k{n}": [1]' for n in range(49_000)) + "}", "read"),
    "twice.json": ("{" + ",".join(['"a": 1'] * 500_000) + "}", "the key 'a' stands there twice"),
    "digits.json": ('{"a": ' + "9" * (1 << 20) + "}", "the number is too large"),
    "brackets.toml": (f"a = {'[' * 200_000}", DEEP),
    "braces.toml": (f"a = {'{a = ' * 200_000}", DEEP),
    "key.toml": (f"{KEY} = 1", LONG),
    "table.toml": (f"[{KEY}]\n" + "".join(f"a{n} = 1\n" for n in range(50_000)), LONG),
    "table_before.toml": (
        f"[q.x]\n[a.{LONG_KEY}]\n"
        + "".join(f"a{n} = 1\n" for n in range(150_000))
        + f"[q]\ny = {2**70}\n",
        "the number is too large",
    ),
    "parts.toml": (f"a{'.a' * 200_000} = 1", "it has a key of more than 32 parts"),
    "tables.toml": ("[[a]]\nb.c = 1\n" * 50_000, MANY),
    "digits.toml": (f"a = {'9' * (1 << 20)}", "a number in it is too large"),
    "spaces.toml": (" " * (2 << 20), "read"),
}


def in_child(directory: Path, texts: dict[str, str]) -> list[str]:
    """Read files in a process with little memory, and return what was said of each."""
    for name, text in texts.items():
        (directory / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(MEMORY), str(LARGEST), *texts],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_read_or_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    text, message = BOMBS[name]
    (said,) = in_child(tmp_path, {name: text})
    assert said == message


TAGS = [
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [pwned]]",
    "!!python/object/new:os.system ['touch pwned']",
    "!!python/object:pathlib.Path {}",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
    "!!python/tuple [1]",
    "!!set {a}",
    "!!omap [a: 1]",
    "!!binary aGk=",
    "!!timestamp 2024-01-01",
]


def test_no_tag_of_yaml_executes_anything(tmp_path: Path) -> None:
    texts = {f"{at}.yaml": f"a: {tag}\n" for at, tag in enumerate(TAGS)}
    texts |= {f"root{at}.yaml": f"--- {tag}\n" for at, tag in enumerate(TAGS)}
    texts |= {f"key{at}.yaml": f"? {tag}\n: 1\n" for at, tag in enumerate(TAGS)}
    said = in_child(tmp_path, texts)
    assert len(said) == len(texts)
    assert all(each.startswith(("no tag is taken", "a key must be a text")) for each in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(texts)


def test_the_limit_of_memory_holds_in_the_child(tmp_path: Path) -> None:
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; bytes(int(sys.argv[1]))", str(MEMORY)],
        capture_output=True,
        check=False,
    )
    assert b"MemoryError" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != MEMORY
