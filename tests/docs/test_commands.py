"""The commands of the tutorial and of the README do what the pages say."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from agentrail.model import weights
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.timeout(300)

BIN = Path(sys.executable).parent
STEPS = ("profile", "with_tool", "with_plugin", "with_route")


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1", **more}


def run(command: str, cwd: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def served(cwd: Path, *arguments: str) -> Generator[str]:
    """Serves the application of a directory, at the address that it yields."""
    process = subprocess.Popen(
        [BIN / "agentrail", "serve", *arguments, "--port", "0"],
        cwd=cwd,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = ""
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"at (http://[\d.:]+)", line):
                address = found[1]
                break
        assert address, "".join(said)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def session(text: str) -> list[tuple[str, str]]:
    """Returns a console block's commands, each with what it prints."""
    pieces = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(pieces[::2], pieces[1::2], strict=True))


def test_the_tutorial_works(tmp_path: Path) -> None:
    """Each step's file is app.py; the commands under it print what the page shows."""
    page = ROOT / "docs/tutorial/01-first-host.md"
    consoles = [session(block.text) for block in blocks(page, "console")]
    *chats, [(serve, _)], questions = consoles
    assert len(chats) == len(STEPS) - 1

    for step, commands in zip(STEPS, chats, strict=False):
        source = ROOT / f"docs/snippets/first_host/{step}.py"
        (tmp_path / "app.py").write_text(source.read_text("utf-8"), "utf-8")
        for command, printed in commands:
            assert run(command, tmp_path) == printed

    last = ROOT / f"docs/snippets/first_host/{STEPS[-1]}.py"
    (tmp_path / "app.py").write_text(last.read_text("utf-8"), "utf-8")
    assert serve == "agentrail serve"
    with served(tmp_path) as address:
        for command, printed in questions:
            wanted = command.replace("http://127.0.0.1:8642", address)
            assert wanted != command
            assert run(f"{wanted} --silent --show-error", tmp_path) == printed
        # Readers ask more than the page does.
        again, printed = questions[0]
        again = again.replace("http://127.0.0.1:8642", address)
        assert [run(f"{again} --silent", tmp_path) for _ in range(3)] == [printed] * 3


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.text.splitlines()]


def test_the_readme_works(tmp_path: Path) -> None:
    """What `make serve` ends in is served, and asked what the README asks."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    weights.install()
    asked = commands(ROOT / "README.md")
    curls = [command for command in asked if command.startswith("curl")]
    (show,) = [each for each in asked if " sessions show " in each]

    with served(ROOT, "--data-dir", str(tmp_path)) as address:
        *told, story, rest = [
            f"{each.replace('http://127.0.0.1:8642', address)} --silent" for each in curls
        ]
        chat, command, *both = [json.loads(run(each, tmp_path)) for each in told]
        begun = run(f"{story} | head -n 7", tmp_path)
        turn_id = re.findall(r'"turnId":"(\w+)"', begun)[0]
        last = re.findall(r"^id: (\d+)$", begun, re.MULTILINE)[-1]
        ended = run(f"TURN={turn_id}; LAST={last}; {rest}", tmp_path)
        _, *arguments = shlex.split(show)
        seen = run(shlex.join(["agentrail", *arguments, "--data-dir", str(tmp_path)]), ROOT)
    assert chat["outcome"] == "completed"
    assert command["outcome"] == "intercepted"
    assert [each["sessionId"] for each in both] == ["me", "me"]
    assert begun.startswith("id: 1\nevent: turn.start\n")
    assert ended.startswith(f"id: {int(last) + 1}\n")
    assert "\nevent: turn.end\n" in ended
    assert "My name is Ada." in seen


def test_the_readme_talks_in_the_terminal(tmp_path: Path) -> None:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    weights.install()
    (talk,) = [each for each in commands(ROOT / "README.md") if " chat " in each]
    _, *arguments = shlex.split(talk)

    answer = run(shlex.join(["agentrail", *arguments, "--data-dir", str(tmp_path)]), ROOT)

    assert answer.strip()


def test_the_readme_names_the_tests() -> None:
    assert "make check test" in commands(ROOT / "README.md")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for verb in ("serve", "check", "test"):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE)
