"""A provider has one HTTP client: for all profiles and plugins of a host, until the host stops."""

import pytest

from agentrail import AppConfig, ChatRequest, MemorySessionStore, Profile, create_app
from tests.model import upstream as wire
from tests.model.wires import FORMATS, Format

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("spoken", FORMATS, ids=lambda spoken: str(spoken.name))
async def test_a_host_asks_over_one_connection_and_closes_it(spoken: Format) -> None:
    async with wire.running(spoken.says("fine")) as upstream:
        config = AppConfig(
            profiles=[Profile(id=name, model=f"test:{name}") for name in ("a", "b")],
            providers=[spoken.provider(upstream)],
            store=MemorySessionStore(),
        )
        async with create_app(config).host as host:
            for name in ("a", "b", "a"):
                assert (await host.chat(ChatRequest("hi", agent_id=name))).message == "fine"
            assert not upstream.left.is_set()

        await upstream.left.wait()

    assert [request.body["model"] for request in upstream.requests] == ["a", "b", "a"]
    assert upstream.connections == 1
