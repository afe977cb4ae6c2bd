"""What tests of applications, plugins, stores and model providers are made with; needs pytest.

The fixtures are in ``agentrail.testing.fixtures``.
"""

import pytest

# Before the import of what is to be rewritten, so that a failing assert shows its values.
for _part in (
    "_store_base",
    "_store_lease",
    "_store_log",
    "_store_turns",
    "_store_window",
    "models",
    "plugins",
):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from agentrail.testing._clock import FakeClock  # noqa: E402
from agentrail.testing._http import OpenClient, OpenHost, http_client  # noqa: E402
from agentrail.testing._recorded import RecordedModel  # noqa: E402
from agentrail.testing._recorder import HookCall, HookRecorder  # noqa: E402
from agentrail.testing.models import ModelProviderContract  # noqa: E402
from agentrail.testing.plugins import PluginContract  # noqa: E402
from agentrail.testing.stores import SessionStoreContract  # noqa: E402

__all__ = [
    "FakeClock",
    "HookCall",
    "HookRecorder",
    "ModelProviderContract",
    "OpenClient",
    "OpenHost",
    "PluginContract",
    "RecordedModel",
    "SessionStoreContract",
    "http_client",
]
