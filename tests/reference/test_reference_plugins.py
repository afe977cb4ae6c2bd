"""Each plugin of the reference host keeps the contract of plugins."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agentrail import Plugin
from agentrail.testing import PluginContract
from app import config

pytestmark = pytest.mark.anyio

NAMES = [plugin.name for plugin in config().plugins]


class TestReferencePlugins(PluginContract):
    @pytest.fixture(params=NAMES)
    def make(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], Plugin]:
        monkeypatch.setenv("AGENTRAIL_DATA_DIR", str(tmp_path))
        name: str = request.param
        return lambda: next(plugin for plugin in config().plugins if plugin.name == name)
