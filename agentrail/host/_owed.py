"""What a host that died owes to the plugins: they are told at the next start."""

import logging

from agentrail.errors import StorageError
from agentrail.host._core import Core
from agentrail.host._deleted import announce_deletion
from agentrail.host._services import RunServices
from agentrail.requests import RequestContext
from agentrail.session import TurnRecord

_log = logging.getLogger("agentrail.host")

_TRANSPORT = "recovery"


async def announce_owed(core: Core) -> None:
    """Run the hooks for what was committed and not announced.

    Deletions come first: what a session under the same id has said since is not theirs.
    """
    for deletion in await core.store.unannounced_deletions():
        session_id = deletion.session_id
        _log.info("session %s was deleted and not announced; announcing it now", session_id)
        try:
            await announce_deletion(core, core.present, deletion, _TRANSPORT)
        except StorageError as error:  # the host can serve; the next start tries again
            _log.error("files of session %s could not be removed: %s", session_id, error)
    while records := await core.store.unannounced():
        for record in records:
            await _announce_turn(core, record)


async def _announce_turn(core: Core, record: TurnRecord) -> None:
    _log.info("turn %s was persisted and not announced; announcing it now", record.turn_id)
    owner, generation = record.owner, core.present
    session_id, turn_id = record.session_id, record.turn_id
    context = RequestContext(
        kind="chat",
        transport=_TRANSPORT,
        tenant_id=owner.tenant_id,
        user_id=owner.user_id,
        session_id=session_id,
        turn_id=turn_id,
        agent_id=owner.agent_id,
        request_id=turn_id,
        services=RunServices(core, generation, session_id, owner, turn_id, existed=True),
    )
    hooks = generation.composition.hooks["on_turn_persisted"]
    await generation.funnel.observe(hooks, context)
    await core.store.announced(turn_id)
