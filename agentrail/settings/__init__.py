"""Settings of a host: what a file of them says, what is wrong with it, and what was in force."""

from agentrail.settings._build import Declared, declared, is_on
from agentrail.settings._configuration import Apply, Commit, Configuration
from agentrail.settings._model import PluginEntry, Server, Settings, settings_schema
from agentrail.settings._read import NAMES, Reading, find_settings, read_settings
from agentrail.settings._revisions import (
    SCHEMA,
    Revision,
    SettingChange,
    WholeRevision,
    changes_between,
    opened,
    pinned,
    seal_anew,
    unopened,
)
from agentrail.settings._secret import with_secrets
from agentrail.settings._shown import ShownSetting, hidden_values, shown_settings
from agentrail.settings._source import SettingsSource
from agentrail.settings._state import ConfigState, faults_of_error

__all__ = [
    "NAMES",
    "SCHEMA",
    "Apply",
    "Commit",
    "ConfigState",
    "Configuration",
    "Declared",
    "PluginEntry",
    "Reading",
    "Revision",
    "Server",
    "SettingChange",
    "Settings",
    "SettingsSource",
    "ShownSetting",
    "WholeRevision",
    "changes_between",
    "declared",
    "faults_of_error",
    "find_settings",
    "hidden_values",
    "is_on",
    "opened",
    "pinned",
    "read_settings",
    "seal_anew",
    "settings_schema",
    "shown_settings",
    "unopened",
    "with_secrets",
]
