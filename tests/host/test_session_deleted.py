"""Plugins are told of a session that is deleted, once it is gone."""

import anyio
import pytest

from agentrail import ChatRequest, RequestContext, define_plugin
from agentrail.errors import SessionNotFound
from agentrail.hook import PluginFailure
from agentrail.requests import Principal
from agentrail.session import SessionStore
from tests.host.conftest import MakeHost, Stores

pytestmark = pytest.mark.anyio

EVE = Principal(tenant_id="acme", user_id="eve", roles=frozenset({"admin"}))


def request(session_id: str = "s") -> ChatRequest:
    return ChatRequest("hi", session_id=session_id, tenant_id="acme", user_id="eve")


async def test_every_plugin_is_told_whose_session_is_gone(
    make_host: MakeHost, new_store: Stores
) -> None:
    store: SessionStore = new_store()
    told: list[RequestContext] = []

    async def note(context: RequestContext) -> None:
        assert await store.find("s") is None
        told.append(context)

    plugins = [define_plugin(name, on_session_deleted=note) for name in ("one", "two")]
    async with make_host(store=store, plugins=plugins) as host:
        await host.chat(request())
        await host.delete_session(EVE, "s")

    one, two = told
    assert one is two
    assert (one.tenant_id, one.user_id, one.agent_id) == ("acme", "eve", "assistant")
    assert (one.session_id, one.turn_id, one.roles) == ("s", "", EVE.roles)


async def test_nobody_is_told_of_a_session_that_is_not_deleted(make_host: MakeHost) -> None:
    told: list[RequestContext] = []
    plugin = define_plugin("p", on_session_deleted=told.append)
    async with make_host(plugins=[plugin]) as host:
        await host.chat(request())
        for principal, session in ((Principal(), "s"), (EVE, "other")):
            with pytest.raises(SessionNotFound):
                await host.delete_session(principal, session)

    assert told == []


async def test_a_plugin_that_fails_keeps_neither_the_deletion_nor_the_next_one_from_it(
    make_host: MakeHost,
) -> None:
    told: list[RequestContext] = []
    failures: list[PluginFailure] = []

    def fail(_context: RequestContext) -> None:
        raise ValueError("broken")

    plugins = [
        define_plugin("broken", critical=True, on_session_deleted=fail),
        define_plugin("next", on_session_deleted=told.append),
    ]
    async with make_host(plugins=plugins, on_plugin_error=failures.append) as host:
        await host.chat(request())
        await host.delete_session(EVE, "s")
        assert list(await host.sessions(EVE)) == []

    assert len(told) == 1
    assert [(each.plugin, each.hook) for each in failures] == [("broken", "on_session_deleted")]


async def test_a_caller_that_leaves_does_not_keep_the_plugins_from_being_told(
    make_host: MakeHost,
) -> None:
    told: list[str] = []

    async def note(context: RequestContext) -> None:
        scope.cancel()
        await anyio.lowlevel.checkpoint()
        told.append(context.session_id)

    async with make_host(plugins=[define_plugin("p", on_session_deleted=note)]) as host:
        await host.chat(request())
        with anyio.CancelScope() as scope:
            await host.delete_session(EVE, "s")

    assert told == ["s"]
