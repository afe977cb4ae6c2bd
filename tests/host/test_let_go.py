"""What a chat has used is let go of when it is answered."""

import gc
import weakref

import pytest

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, ScriptedModel, create_app
from agentrail import define_plugin as plugin
from agentrail.requests import RequestContext

pytestmark = pytest.mark.anyio


async def test_a_run_is_gone_with_its_answer_and_does_not_wait_for_the_collector() -> None:
    runs: list[weakref.ref[object]] = []

    def see(_context: RequestContext) -> None:
        (live,) = host.core.turns.all()
        assert live.run is not None
        runs.append(weakref.ref(live.run))

    profile = Profile(id="a", model="scripted:m")
    config = AppConfig(
        profiles=[profile],
        plugins=[plugin("see", on_request_start=see)],
        providers=[ScriptedModel(["fine"])],
        store=MemorySessionStore(),
    )
    host = create_app(config).host
    gc.disable()
    try:
        async with host:
            await host.chat(ChatRequest("hi"))
            assert [run() for run in runs] == [None]
    finally:
        gc.enable()
