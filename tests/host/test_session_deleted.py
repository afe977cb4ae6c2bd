"""Plugins are told of a session that is deleted, once it is gone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from agentrail import (
    Attachment,
    ChatRequest,
    ChatResponse,
    RequestContext,
    SQLiteSessionStore,
    define_plugin,
)
from agentrail.errors import SessionNotFound, StorageError
from agentrail.hook import PluginFailure
from agentrail.requests import Principal
from agentrail.session import Deletion, SessionStore
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


async def test_one_of_several_deletions_at_a_time_tells_and_the_others_find_no_session(
    make_host: MakeHost,
) -> None:
    told: list[RequestContext] = []
    ends: list[str] = []

    async with make_host(plugins=[define_plugin("p", on_session_deleted=told.append)]) as host:
        await host.chat(request())

        async def delete() -> None:
            try:
                await host.delete_session(EVE, "s")
            except SessionNotFound:
                ends.append("not found")
            else:
                ends.append("deleted")

        async with anyio.create_task_group() as callers:
            for _ in range(3):
                callers.start_soon(delete)

    assert sorted(ends) == ["deleted", "not found", "not found"]
    assert len(told) == 1


class LosesIndex(SQLiteSessionStore):
    """Has the index of the attachments destroyed once a session is deleted."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "sessions.db")
        self.index = directory / "attachments" / "index.db"

    async def delete(
        self, session_id: str, *, unused_since: float | None = None
    ) -> Deletion | None:
        with closing(sqlite3.connect(self.index)) as index:
            index.execute("drop table reference")
        return await super().delete(session_id, unused_since=unused_since)


async def test_plugins_are_told_also_when_the_files_of_the_session_cannot_go(
    make_host: MakeHost, tmp_path: Path
) -> None:
    told: list[str] = []
    plugin = define_plugin("p", on_session_deleted=lambda context: told.append(context.session_id))

    async with make_host(store=LosesIndex(tmp_path), plugins=[plugin]) as host:
        await host.chat(replace(request(), attachments=(Attachment("a", "", b"x"),)))
        with pytest.raises(StorageError):
            await host.delete_session(EVE, "s")

    assert told == ["s"]


@pytest.mark.parametrize("act", ["note", "reset"])
@pytest.mark.parametrize("intercepted", [False, True])
async def test_what_outlives_a_request_does_not_make_its_deleted_session_again(
    make_host: MakeHost, act: str, intercepted: bool
) -> None:
    contexts: list[RequestContext] = []

    def intercept(chat: ChatRequest, context: RequestContext) -> ChatResponse | None:
        contexts.append(context)
        return ChatResponse("aside") if chat.message == "aside" else None

    async with make_host(plugins=[define_plugin("p", intercept_chat_request=intercept)]) as host:
        await host.chat(request())
        if intercepted:
            await host.chat(replace(request(), message="aside"))
        await host.delete_session(EVE, "s")

        session = contexts[-1].services.session
        with pytest.raises(SessionNotFound):
            await (session.note("late") if act == "note" else session.reset())
        assert list(await host.sessions(EVE)) == []


@pytest.mark.parametrize("act", ["note", "reset"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_command_does_not_make_the_session_again_that_is_deleted_before_its_answer(
    make_host: MakeHost, act: str, *, late: bool
) -> None:
    contexts: list[RequestContext] = []
    refused: list[SessionNotFound] = []

    async def change() -> None:
        session = contexts[0].services.session
        try:
            await (session.note("done") if act == "note" else session.reset())
        except SessionNotFound as error:
            refused.append(error)

    async def intercept(chat: ChatRequest, context: RequestContext) -> ChatResponse | None:
        if chat.message == "hi":
            return None
        contexts.append(context)
        await host.delete_session(EVE, "s")
        if not late:
            await change()
        return ChatResponse("done")

    async with make_host(plugins=[define_plugin("p", intercept_chat_request=intercept)]) as host:
        await host.chat(request())
        await host.chat(replace(request(), message="/note"))
        if late:
            await change()
        assert list(await host.sessions(EVE)) == []

    assert len(refused) == 1


async def test_a_plugin_that_is_told_of_a_deletion_cannot_make_the_session_again(
    make_host: MakeHost,
) -> None:
    failures: list[PluginFailure] = []

    async def note(context: RequestContext) -> None:
        await context.services.session.note("gone")

    plugin = define_plugin("p", on_session_deleted=note)
    async with make_host(plugins=[plugin], on_plugin_error=failures.append) as host:
        await host.chat(request())
        await host.delete_session(EVE, "s")
        assert list(await host.sessions(EVE)) == []

    assert [type(each.error) for each in failures] == [SessionNotFound]
