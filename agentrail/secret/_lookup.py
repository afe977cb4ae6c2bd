"""Where the values of secrets are looked up: variables, files, and what is sealed."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from secrets import token_bytes
from typing import Final, Literal

from attrs import define, field

from agentrail.errors import ConfigError
from agentrail.secret._files import read_file
from agentrail.secret._hide import Hider, encoded
from agentrail.secret._keys import KEY_FILE, KEY_VARIABLE, KeyRing, read_keys, sealed_with
from agentrail.secret._names import NAME, PREFIX
from agentrail.secret._vault import about, sealed_in
from agentrail.storage import read_only

DATABASE: Final = "host.db"
"""The file of a data directory that has what administrators decide, sealed secrets among it."""

_NEWLINE: Final = re.compile(r"\r?\n\Z")


@define(slots=True, eq=False)
class Secrets:
    """The secrets of a host, from where each is found first.

    The environment variable ``AGENTRAIL_SECRET_<NAME>`` comes before the file ``<NAME>`` in the
    directory, and that before what is sealed.  Variables are looked at each time; what is sealed is
    what was there when this was made, and a file what it was when it was first asked for.  One that
    is empty is not there.  It may be used from several threads.
    """

    directory: Path | None
    _variables: Mapping[str, str] = field(repr=False)
    _ring: KeyRing | None
    _sealed: Mapping[str, bytes] = field(repr=False)
    _listed: frozenset[str] | None = field(default=None, init=False, repr=False)
    """The names of the files, once they were asked for."""
    _files: dict[str, str] = field(factory=dict[str, str], init=False, repr=False)
    hidden: Hider = field(factory=Hider, repr=False, kw_only=True)
    """Hides what was handed out, and whatever else is to be hidden in this host."""

    def value(self, name: str) -> str | None:
        """Return a value, or None when nobody has it; from then on it is hidden.

        Raises:
            ConfigError: it is there and cannot be read or opened.
        """
        _, value = self._found(name)
        if value is not None:
            self.hidden.add(value, f"{{{{secret:{name}}}}}")
        return value

    def source(self, name: str) -> Literal["environment", "file", "store"] | None:
        """Return where a value is found, or None when nobody has it.

        Raises:
            ConfigError: it is there and cannot be read or opened.
        """
        return self._found(name)[0]

    def fingerprint(self, name: str) -> str:
        """Return 12 hexadecimal digits that tell a value from others; nothing if nobody has it.

        They say nothing of it to others than those with the key of this host.  A host without a key
        has other digits in each process.

        Raises:
            ConfigError: it is there and cannot be read or opened.
        """
        _, value = self._found(name)
        return "" if value is None else self.mark(value)

    @property
    def keyed(self) -> bool:
        """Whether there is a key, with which fingerprints stay the same."""
        return self._ring is not None

    def mark(self, text: str) -> str:
        """Return the fingerprint of a text that is no named secret, as of a value."""
        return (self._ring or _ring()).fingerprint(encoded(text))

    def names(self) -> Sequence[str]:
        """Return the names of all that is there, sorted.

        Raises:
            ConfigError: the directory cannot be read.
        """
        variables = (
            name.removeprefix(PREFIX)
            for name, value in self._variables.items()
            if name.startswith(PREFIX) and value
        )
        # An empty file is told only by opening it, and what cannot be opened is there.
        return sorted({*filter(NAME.fullmatch, variables), *self._in_directory(), *self._sealed})

    def hide(self, text: str) -> str:
        """Return a text with ``{{secret:NAME}}`` in the place of each value handed out so far.

        So are its base64, percent-encoded and JSON-escaped forms.  Values of less than 6 characters
        are left.
        """
        return self.hidden(text)

    def _found(
        self, name: str
    ) -> tuple[Literal["environment", "file", "store"] | None, str | None]:
        if value := self._variables.get(f"{PREFIX}{name}"):
            return "environment", value
        if name in self._in_directory() and (value := self._from_file(name)):
            return "file", value
        if name in self._sealed:
            return "store", self._from_store(name)
        return None, None

    def _in_directory(self) -> frozenset[str]:
        if self._listed is None:
            self._listed = _listed(self.directory)
        return self._listed

    def _from_file(self, name: str) -> str:
        if name not in self._files:
            path = (self.directory or Path()) / name
            try:
                raw, _ = read_file(path)
            except OSError as error:
                message = (
                    f"the secret {name!r} cannot be read from {str(path)!r}: "
                    f"{error.strerror or error}"
                )
                raise ConfigError(message) from error
            text = _text(raw)
            if text is None:
                raise ConfigError(
                    f"the secret {name!r} in {str(path)!r} is not UTF-8: save it as such"
                )
            self._files.setdefault(name, _NEWLINE.sub("", text))
        return self._files[name]

    def _from_store(self, name: str) -> str:
        if self._ring is None:
            raise ConfigError(
                f"the secret {name!r} is sealed, and this host has no key: put the key back, into "
                f"{KEY_VARIABLE} or the key file, or set the value anew"
            )
        text = _text(self._ring.open(self._sealed[name], about(name)))
        if text is None:
            raise ConfigError(f"the sealed secret {name!r} is not UTF-8: set it anew")
        return text


def read_secrets(
    data_dir: Path,
    variables: Mapping[str, str],
    directory: Path | None = None,
    key_file: Path | None = None,
    hidden: Hider | None = None,
) -> Secrets:
    """Return the secrets of a host; it blocks, and makes or changes nothing.

    Args:
        data_dir: where its ``host.db`` is, if it has one.
        variables: the environment.
        directory: has a file for each secret, by its name.
        key_file: by default ``secret.key`` in ``data_dir``.
        hidden: is told of the keys, and of each value that is handed out.

    Raises:
        ConfigError: the keys cannot be used.
        StorageError: ``host.db`` cannot be read.
    """
    ring, sealed = _opened(data_dir, variables, key_file)
    if not all(ring and sealed_with(each) in ring.ids for each in sealed.values()):
        # They may have got a new key between one look and the other.
        ring, sealed = _opened(data_dir, variables, key_file)
    hidden = hidden or Hider()
    for key in ring.texts() if ring is not None else ():
        hidden.add(key)
    return Secrets(directory, variables, ring, sealed, hidden=hidden)


def _opened(
    data_dir: Path, variables: Mapping[str, str], key_file: Path | None
) -> tuple[KeyRing | None, Mapping[str, bytes]]:
    ring = read_keys(variables, key_file or data_dir / KEY_FILE)
    path = data_dir / DATABASE
    if not os.path.lexists(path):
        return ring, {}
    with read_only(path) as connection:
        return ring, sealed_in(connection)


def _listed(directory: Path | None) -> frozenset[str]:
    """Return the names in a directory that may be those of secrets."""
    if directory is None:
        return frozenset()
    try:
        with os.scandir(directory) as entries:
            return frozenset(e.name for e in entries if NAME.fullmatch(e.name) and not e.is_dir())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        message = (
            f"the directory of secrets {str(directory)!r} cannot be read: {error.strerror or error}"
        )
        raise ConfigError(message) from error


@cache
def _ring() -> KeyRing:
    """Return a key of this process."""
    return KeyRing((token_bytes(32),))


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # it has the value in it, and is not passed on
        return None
