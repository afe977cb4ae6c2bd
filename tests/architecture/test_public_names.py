"""The root package is a promise: adding a name to it is a decision."""

import agentrail

LIMIT = 45


def test_no_name_is_listed_twice() -> None:
    """Their order is ruff's RUF022: constants, classes, functions."""
    assert len(agentrail.__all__) == len(set(agentrail.__all__))


def test_every_name_resolves() -> None:
    assert [name for name in agentrail.__all__ if not hasattr(agentrail, name)] == []


def test_the_root_stays_small() -> None:
    assert len(agentrail.__all__) <= LIMIT
