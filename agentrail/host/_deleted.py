"""A session is deleted, and those who keep something of it are told."""

import anyio

from agentrail.errors import SessionNotFound
from agentrail.host._core import Core
from agentrail.host._generation import Generation
from agentrail.host._services import RunServices
from agentrail.ids import new_id
from agentrail.requests import Principal, RequestContext
from agentrail.session import Deletion, Owner


async def delete_session(core: Core, session_id: str, owner: Owner, principal: Principal) -> None:
    """Erase a session with its files, and tell the plugins, cancelled or not.

    The host does not stop meanwhile.

    Raises:
        SessionNotFound: another deletion was first.
    """
    generation = core.enter()
    done = anyio.Event()
    failures: list[Exception] = []

    async def run() -> None:
        try:
            with anyio.CancelScope(shield=True):  # what plugins keep of it is to go too
                await _delete(core, generation, session_id, owner, principal)
        except Exception as error:  # noqa: BLE001 - boundary: plugin - the store may be anybody's
            failures.append(error)
        finally:
            core.leave(generation)
            done.set()

    # In a task of the host's own: asyncio's own cancellation breaks through shields.
    core.spawn(run, f"deletion of {session_id}")
    with anyio.CancelScope(shield=True):
        await done.wait()
    if failures:
        raise failures[0]


async def _delete(
    core: Core, generation: Generation, session_id: str, owner: Owner, principal: Principal
) -> None:
    # Before the session: when they cannot go, the deletion can be tried again.
    await core.blobs.forget(owner.tenant_id, owner.user_id, session_id)
    deletion = await core.store.delete(session_id)
    if deletion is None:
        raise SessionNotFound(f"there is no session {session_id!r}")
    await announce_deletion(core, generation, deletion, "python", principal.roles)


async def announce_deletion(
    core: Core,
    generation: Generation,
    deletion: Deletion,
    transport: str,
    roles: frozenset[str] = frozenset(),
) -> None:
    """Remove what is left of a deleted session's files, and run ``on_session_deleted``.

    Raises:
        StorageError: files could not be removed; the hooks have run, and the deletion stays on
            the list.
    """
    session_id, owner = deletion.session_id, deletion.owner
    context = RequestContext(
        kind="chat",
        transport=transport,
        tenant_id=owner.tenant_id,
        user_id=owner.user_id,
        session_id=session_id,
        turn_id="",
        agent_id=owner.agent_id,
        request_id=new_id("req"),
        roles=roles,
        services=RunServices(core, generation, session_id, owner, "", existed=True),
    )
    hooks = generation.composition.hooks["on_session_deleted"]
    try:
        if await core.store.find(session_id) is None:  # else it was made again by now
            # A turn may have been about to keep some when the session went.
            await core.blobs.forget(owner.tenant_id, owner.user_id, session_id)
    finally:
        await generation.funnel.observe(hooks, context)
    await core.store.deletion_announced(deletion.deletion_id)
