"""Settings of a host: what a file of them says, and what is wrong with it."""

from agentrail.settings._build import Declared, declared
from agentrail.settings._model import Settings, settings_schema
from agentrail.settings._read import NAMES, Reading, find_settings, read_settings
from agentrail.settings._shown import ShownSetting, shown_settings

__all__ = [
    "NAMES",
    "Declared",
    "Reading",
    "Settings",
    "ShownSetting",
    "declared",
    "find_settings",
    "read_settings",
    "settings_schema",
    "shown_settings",
]
