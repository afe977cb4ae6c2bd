"""What is in a directory, to the bit."""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path


def snapshot(root: Path) -> Mapping[str, tuple[int, str]]:
    """Return the mode and the content of everything below a directory, links not followed."""
    found = dict[str, tuple[int, str]]()
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            content = os.readlink(path)  # noqa: PTH115 - as it is written
        else:
            content = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(root))] = path.lstat().st_mode, content
    return found


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a directory and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
