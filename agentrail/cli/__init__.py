"""The command line."""

from agentrail.cli._main import main

__all__ = ["main"]
