"""The contracts of agentrail's protocols, as tests that every implementation runs; with pytest."""

import pytest

# Before the import of what is to be rewritten, so that a failing assert shows its values.
for _part in (
    "_store_base",
    "_store_lease",
    "_store_log",
    "_store_turns",
    "_store_window",
    "models",
):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from agentrail.testing.models import ModelProviderContract  # noqa: E402
from agentrail.testing.stores import SessionStoreContract  # noqa: E402

__all__ = ["ModelProviderContract", "SessionStoreContract"]
