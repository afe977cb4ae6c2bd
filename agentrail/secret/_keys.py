"""The keys that secrets are sealed with, and where they are kept."""

import hmac
import os
import re
import shlex
import stat
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Final

from attrs import Factory, field, frozen

from agentrail.errors import ConfigError, StorageError
from agentrail.secret._files import read_file, write_file

KEY_VARIABLE: Final = "AGENTRAIL_KEY"
"""The environment variable with the keys, commas between them; it counts before the file."""

KEY_FILE: Final = "secret.key"
"""What the file of the keys is called in a data directory."""

_KEY_BYTES: Final = 32
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}=?")
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 8
_HEADER: Final = len(_VERSION) + _ID_BYTES
_NONCE: Final = 12
"""How many random bytes AES-GCM wants for each sealing."""
_TAG: Final = 16
_PRINT_DIGITS: Final = 12


def _ids(ring: "KeyRing") -> tuple[str, ...]:
    return tuple(sha256(b"agentrail key " + key).digest()[:_ID_BYTES].hex() for key in ring.keys)


@frozen(slots=True)
class KeyRing:
    """One or more keys of 32 bytes: the first seals, all open.

    Raises:
        ConfigError: there is no key, or one of another length.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    ids: tuple[str, ...] = field(init=False, default=Factory(_ids, takes_self=True))
    """What each key is called, in hexadecimal; nothing of the key can be told from it."""

    def __attrs_post_init__(self) -> None:
        if not self.keys or any(len(key) != _KEY_BYTES for key in self.keys):
            raise ConfigError(f"a key ring has one or more keys of {_KEY_BYTES} bytes each")

    @classmethod
    def of(cls, texts: Iterable[str], where: str = "this key ring") -> "KeyRing":
        """Return the ring of keys in text form: url-safe base64, with or without its padding.

        ``where`` says in an error where they are.

        Raises:
            ConfigError: one is no key, or there is none; no key is in the error.
        """
        keys = list[bytes]()
        for number, text in enumerate(texts, 1):
            key = _read_key(text)
            if key is None:
                raise ConfigError(
                    f"key {number} of {where} is none: a key is url-safe base64 of "
                    f"{_KEY_BYTES} bytes, 43 characters and perhaps a = behind them"
                )
            keys.append(key)
        if not keys:
            raise ConfigError(f"there is no key in {where}: put one there, or remove it")
        return cls(tuple(dict.fromkeys(keys)))

    def texts(self) -> Sequence[str]:
        """Return the keys in text form, without padding."""
        return [urlsafe_b64encode(key).decode().rstrip("=") for key in self.keys]

    def seal(self, data: bytes, about: str) -> bytes:
        """Return data that only a ring with the first key can open, and only as ``about``."""
        header = _VERSION + bytes.fromhex(self.ids[0])
        nonce = token_bytes(_NONCE)
        return header + _sealed(self.keys[0], nonce, data, header + about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Return what was sealed as ``about``.

        Raises:
            ConfigError: the key is not in this ring, or it is not what was sealed as ``about``.
        """
        used = sealed_with(sealed)
        if not used:
            raise ConfigError(
                f"{about} is damaged, or was sealed by a newer release: set it anew, or use that"
            )
        if used not in self.ids:
            count = len(self.ids)
            raise ConfigError(
                f"{about} is sealed with key {used}, which is not among the {count} "
                f"{'key' if count == 1 else 'keys'} of this host: put that key back behind the "
                f"others, in {KEY_VARIABLE} or the key file, or set the value anew"
            )
        key = self.keys[self.ids.index(used)]
        data = _opened(key, sealed[_HEADER:], sealed[:_HEADER] + about.encode())
        if data is None:
            raise ConfigError(
                f"{about} is not what was sealed under that name: it was changed or moved since; "
                "set it anew"
            )
        return data

    def fingerprint(self, data: bytes) -> str:
        """Return 12 hexadecimal digits by which one with the first key tells data apart."""
        return hmac.digest(_derived(self.keys[0], "fingerprint"), data, "sha256").hex()[
            :_PRINT_DIGITS
        ]


def sealed_with(sealed: bytes) -> str:
    """Return the id of the key that data is sealed with; nothing when it is not sealed."""
    is_sealed = sealed.startswith(_VERSION) and len(sealed) >= _HEADER + _NONCE + _TAG
    return sealed[len(_VERSION) : _HEADER].hex() if is_sealed else ""


def read_keys(variables: Mapping[str, str], file: Path) -> KeyRing | None:
    """Return the keys of the variable ``AGENTRAIL_KEY``, else of a file; None if neither is there.

    The file has a key on each line, the newest first.  A variable that is empty is not there.

    Raises:
        ConfigError: something of it is no key, or others than its owner can use the file.
    """
    told = variables.get(KEY_VARIABLE, "").strip()
    if told:
        return KeyRing.of(_parts(told.split(",")), KEY_VARIABLE)
    try:
        raw, mode = read_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the key file {str(file)!r} cannot be read: {error.strerror or error}"
        raise ConfigError(message) from error
    if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"the key file {str(file)!r} is open to others than its owner: "
            f"run chmod 600 {shlex.quote(str(file))}"
        )
    # What is no ASCII is no key either, and is told as such.
    return KeyRing.of(_parts(raw.decode("ascii", "replace").splitlines()), repr(str(file)))


def make_keys(file: Path) -> KeyRing:
    """Return the keys of a file, which is made with a new one where there is none.

    When another process makes it at the same moment, both return the same.

    Raises:
        ConfigError: there is one that cannot be used.
        StorageError: it could not be made.
    """
    ring = read_keys({}, file)
    if ring is None:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(file, _text(KeyRing((token_bytes(_KEY_BYTES),))), os.link)
        except FileExistsError:
            pass  # another process was faster
        except OSError as error:
            message = f"the key file {str(file)!r} cannot be made: {error.strerror or error}"
            raise StorageError(message) from error
        ring = read_keys({}, file)
    if ring is None:
        raise ConfigError(f"the key file {str(file)!r} is a link to nothing: remove it")
    return ring


def write_keys(file: Path, ring: KeyRing) -> None:
    """Put a ring in the place of what a key file has; a crash leaves the one or the other.

    Raises:
        StorageError: it could not be written, and is as it was.
    """
    try:
        # A link stays one: the keys are where it points to.
        write_file(file.resolve(), _text(ring), os.replace)
    except OSError as error:
        message = f"the key file {str(file)!r} cannot be written: {error.strerror or error}"
        raise StorageError(message) from error


def with_new_key(ring: KeyRing) -> KeyRing:
    """Return a ring with a new key before the others."""
    return KeyRing((token_bytes(_KEY_BYTES), *ring.keys))


def _parts(texts: Iterable[str]) -> Iterable[str]:
    return [part for text in texts if (part := text.strip())]


def _text(ring: KeyRing) -> bytes:
    return b"".join(urlsafe_b64encode(key) + b"\n" for key in ring.keys)


def _read_key(text: str) -> bytes | None:
    if not _KEY.fullmatch(text):
        return None
    key = urlsafe_b64decode(f"{text.rstrip('=')}=")
    # Of the last character not all bits are used: another one there is a mistake in typing.
    return key if urlsafe_b64encode(key).decode().rstrip("=") == text.rstrip("=") else None


def _derived(key: bytes, use: str) -> bytes:
    """Return a key for one use, so that none has two."""
    return hmac.digest(key, f"agentrail {use}".encode(), "sha256")


def _sealed(key: bytes, nonce: bytes, data: bytes, bound: bytes) -> bytes:
    # A host without sealed secrets does not pay for the import.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return nonce + AESGCM(_derived(key, "seal")).encrypt(nonce, data, bound)


def _opened(key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        return AESGCM(_derived(key, "seal")).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except InvalidTag:
        return None
