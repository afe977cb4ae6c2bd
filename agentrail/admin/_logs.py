"""What packages log: the last of it, in memory."""

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Self

from agentrail.messages import Wire
from agentrail.registry import Hide

LOGGER: Final = "agentrail.package"
"""The logger above those of the packages, each of which is named after its id."""

LINES: Final = 200
"""How many lines are kept of each package."""

CHARS: Final = 4_000
"""How many characters are kept of a line."""


class LogLine(Wire, frozen=True, omit_defaults=False):
    """Something that a package logged."""

    at: float
    """When, in seconds since 1970."""
    level: str
    message: str
    error: str
    """The traceback, if it logged one."""


class PackageLogs(logging.Handler):
    """Keeps the last lines that each package logs, while it is entered.

    What is logged below the level of the packages' loggers is not among them.
    """

    def __init__(self, hide: Hide = lambda _, text: text) -> None:
        super().__init__()
        self._hide = hide
        self._lines: dict[str, deque[LogLine]] = {}
        self._formatter = logging.Formatter()

    def __enter__(self) -> Self:
        """Listen to the loggers of all packages."""
        logging.getLogger(LOGGER).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        logging.getLogger(LOGGER).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        package, _, _ = record.name.removeprefix(f"{LOGGER}.").partition(".")
        error = ""
        try:
            message = record.getMessage()
            if record.exc_info:
                error = self._formatter.formatException(record.exc_info)
        except Exception as wrong:  # noqa: BLE001 - boundary: plugin
            message = f"a line that cannot be written: {type(wrong).__name__}"
        line = LogLine(
            record.created,
            record.levelname,
            self._shown(package, message),
            self._shown(package, error),
        )
        self._lines.setdefault(package, deque(maxlen=LINES)).append(line)

    def _shown(self, package: str, text: str) -> str:
        try:
            # Half of a surrogate pair cannot be written.
            return self._hide(package, text)[:CHARS].encode(errors="replace").decode()
        except Exception as wrong:  # noqa: BLE001 - boundary: plugin - secrets may be anybody's
            return f"a line that cannot be shown: {type(wrong).__name__}"

    def of(self, package: str) -> Sequence[LogLine]:
        """Return the lines that are kept of a package, the oldest first."""
        self.acquire()  # packages log in threads too
        try:
            return list(self._lines.get(package, ()))
        finally:
            self.release()
