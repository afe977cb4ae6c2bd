"""Remembers what was said across sessions, and brings back what fits.  ``app.py`` lists it.

It knows what words mean where the extra ``memory`` is installed, and else the words alone.
"""

from pathlib import Path

from agentrail.memory import Memory


class MemoryIndex(Memory):
    """The memory, with a budget that fits a small model's window."""

    name = "memory-index"

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(path, budget=500)
