"""A host to run turns on, over both stores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from agentrail import AppConfig, Profile, ScriptedModel, create_app
from agentrail.host import AgentHost
from agentrail.session import MemorySessionStore, SessionStore, SQLiteSessionStore
from agentrail.testing import HookRecorder

REQUEST_HOOKS = (
    "on_request_start",
    "intercept_chat_request",
    "attachment_handler",
    "context_providers",
    "on_turn_persisted",
    "on_request_end",
)
"""The hooks of a turn that are not around its calls, in order."""

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
def recorder() -> HookRecorder:
    """Returns a recorder of starts, stops and the hooks of requests."""
    return HookRecorder(hooks=["start", "stop", *REQUEST_HOOKS])


@pytest.fixture
def make_host(new_store: Stores, tmp_path: Path) -> MakeHost:
    """Returns a function that makes hosts over the test's store."""

    def make(*replies: Any, **config: Any) -> AgentHost:  # noqa: ANN401
        model = ScriptedModel(replies or ["fine"])
        config.setdefault("profiles", [Profile(id="assistant", model="scripted:test")])
        config.setdefault("providers", [model])
        config.setdefault("store", new_store())
        config.setdefault("data_dir", tmp_path)
        return create_app(AppConfig(**config)).host

    return make
