"""A host to run turns on, over both stores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.host import AgentHost
from agentrail.session import MemorySessionStore, SessionStore, SQLiteSessionStore

Stores = Callable[[], SessionStore]


class MakeHost(Protocol):
    """Makes a host with a scripted model; what is not given has a sensible value."""

    def __call__(self, *replies: Any, **config: Any) -> AgentHost: ...  # noqa: ANN401


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """Returns a function that opens the test's store, again and again for SQLite."""
    if request.param == "memory":
        return MemorySessionStore
    return lambda: SQLiteSessionStore(tmp_path / "sessions.db")


@pytest.fixture
def make_host(new_store: Stores) -> MakeHost:
    """Returns a function that makes hosts over the test's store."""

    def make(*replies: Any, **config: Any) -> AgentHost:  # noqa: ANN401
        model = ScriptedModel(replies or ["fine"])
        config.setdefault("profiles", [Profile(id="assistant", model="scripted:test")])
        config.setdefault("providers", [model])
        config.setdefault("store", new_store())
        return create_app(AppConfig(**config)).host

    return make
