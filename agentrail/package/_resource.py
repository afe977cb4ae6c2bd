"""The files of a package as ``importlib.resources`` wants them."""

from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from os import PathLike
from typing import IO

from attrs import frozen

from agentrail.package._files import PackageFiles


@frozen(slots=True, eq=False)
class Resource:
    """A file or a directory of a package; it may be only read."""

    _files: PackageFiles
    _path: str

    def files(self) -> "Resource":
        """Return itself: what ``importlib.resources`` asks a reader for."""
        return self

    @property
    def name(self) -> str:
        """Its name, without the directories above."""
        return self._path.rpartition("/")[2]

    def iterdir(self) -> Iterator["Resource"]:
        """Yield what is in the directory, by name."""
        inside = [each.removeprefix(self._within) for each in self._files if self._holds(each)]
        return (self / name for name in sorted({each.partition("/")[0] for each in inside}))

    def is_dir(self) -> bool:
        """Tell whether it is a directory with files in it."""
        return any(map(self._holds, self._files))

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return self._path in self._files

    def joinpath(self, *descendants: str | PathLike[str]) -> "Resource":
        """Return what is below it; there may be nothing."""
        return Resource(self._files, "/".join(filter(None, (self._path, *map(str, descendants)))))

    def __truediv__(self, child: str | PathLike[str]) -> "Resource":
        """Return what is below it; there may be nothing."""
        return self.joinpath(child)

    def open(self, mode: str = "r", *, encoding: str = "utf-8") -> IO[str] | IO[bytes]:
        """Open the file for reading, as bytes or as text.

        Raises:
            FileNotFoundError: it is no file.
        """
        data = BytesIO(self.read_bytes())
        return data if mode == "rb" else TextIOWrapper(data, encoding=encoding)

    def read_bytes(self) -> bytes:
        """Return the content of the file.

        Raises:
            FileNotFoundError: it is no file.
        """
        if not self.is_file():
            raise FileNotFoundError(self._path)
        return self._files.read(self._path)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content of the file as text.

        Raises:
            FileNotFoundError: it is no file.
        """
        return self.read_bytes().decode(encoding)

    @property
    def _within(self) -> str:
        return f"{self._path}/" if self._path else ""

    def _holds(self, path: str) -> bool:
        return path.startswith(self._within)
