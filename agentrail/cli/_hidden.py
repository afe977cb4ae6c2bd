"""What an application prints has no secrets of its settings in it."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from traceback import format_exception
from types import TracebackType

Hide = Callable[[str], str]
"""Returns a text without the values of secrets."""


def hide_printed(hide: Hide) -> None:
    """Hide secrets in what the root logger's handlers write, and in the traceback of an end.

    Called again, it is about the handlers that there are then.
    """
    for handler in filter(None, (*logging.getLogger().handlers, logging.lastResort)):
        inner = handler.formatter or logging.Formatter()
        if isinstance(inner, _Hiding):
            inner = inner.inner
        handler.setFormatter(_Hiding(inner, hide))
    sys.excepthook = partial(_raised, hide)


class _Hiding(logging.Formatter):
    """Formats as another does, and hides what is secret in the whole of it."""

    def __init__(self, inner: logging.Formatter, hide: Hide) -> None:
        super().__init__()
        self.inner, self._hide = inner, hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(self.inner.format(record))


def _raised(
    hide: Hide, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error that nobody caught, as Python does."""
    sys.stderr.write(hide("".join(format_exception(kind, error, trace))))
