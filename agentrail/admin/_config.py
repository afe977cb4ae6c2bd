"""The settings and the secrets of a host, over HTTP."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from agentrail.admin._call import Call, Nothing, matched, tag
from agentrail.errors import ConfigError, InvalidId, RequestError
from agentrail.messages import Wire
from agentrail.route import reply
from agentrail.secret import SecretInfo, rotate_keys
from agentrail.settings import ConfigState, Configuration, Revision, seal_anew

Number = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
"""The number of a revision."""


class HistoryQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """Which revisions are wanted."""

    before: Annotated[Number | None, Meta(description="those with smaller numbers")] = None
    limit: Annotated[int, Meta(ge=1, le=1_000, description="the newest so many")] = 50


class RevisionList(Wire, frozen=True, omit_defaults=False):
    """Revisions, the newest first."""

    revisions: Sequence[Revision]


class Rollback(Wire, frozen=True, forbid_unknown_fields=True):
    """Where to go back to."""

    revision: Number


class SecretList(Wire, frozen=True, omit_defaults=False):
    """What is sealed, by name; nobody can be told the values."""

    secrets: Sequence[SecretInfo]


class SecretValue(Wire, frozen=True, forbid_unknown_fields=True):
    """A secret that is to be kept."""

    value: str


class Rotated(Wire, frozen=True, omit_defaults=False):
    """What was sealed anew."""

    secrets: int


async def get_config(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Show the settings in force, where each came from, and what is wrong with newer ones."""
    return _shown(call.configuration)


async def reload_config(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Read the settings anew, and go by them; when they are refused, all stays as it is."""
    configuration = call.configuration
    await configuration.reload(call.actor, request=call.request_id, match=_match(call))
    return _shown(configuration)


async def config_history(call: Call, query: HistoryQuery, _body: Nothing) -> Response:
    """List the settings that the host went by, and what each changed."""
    found = await call.configuration.history(before=query.before, limit=query.limit)
    return reply(RevisionList(found))


async def config_revision(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Show the settings of a revision; secrets are hidden."""
    number = call.request.path_params["revision"]
    if not number.isascii() or not number.isdecimal() or len(number) >= len(str(1 << 63)):
        raise InvalidId(f"{number[:80]!r} is not the number of a revision")
    return reply(await call.configuration.get(int(number)))


async def rollback_config(call: Call, _query: Nothing, body: Rollback) -> Response:
    """Go by an earlier revision again, until the file of settings is changed."""
    configuration = call.configuration
    await configuration.rollback(
        body.revision, call.actor, request=call.request_id, match=_match(call)
    )
    return _shown(configuration)


async def list_secrets(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """List the sealed secrets, without their values."""
    return reply(SecretList(await call.managed.vault.list()))


async def set_secret(call: Call, _query: Nothing, body: SecretValue) -> Response:
    """Seal a secret, and go by it from now on."""
    name = _secret_name(call)
    await call.managed.vault.set(name, body.value, call.actor, request=call.request_id)
    await call.managed.look_again(call.actor, call.request_id)
    return Response(status_code=204)


async def delete_secret(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Keep a sealed secret no more."""
    name = _secret_name(call)
    await call.managed.vault.delete(name, call.actor, request=call.request_id)
    await call.managed.look_again(call.actor, call.request_id)
    return Response(status_code=204)


async def rotate_secrets(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Seal everything anew with a new key, and drop the one before it."""
    managed = call.managed
    also = seal_anew if managed.configuration is None else managed.configuration.seal_anew
    rotate = partial(rotate_keys, managed.vault, managed.key_file(), call.actor, also=also)
    _check_leads(call)
    try:
        count = await rotate(request=call.request_id)
    except ConfigError as error:  # its keys are not in that file
        raise RequestError(error.detail) from error
    await managed.look_again(call.actor, call.request_id)
    return reply(Rotated(count))


def _secret_name(call: Call) -> str:
    """Return the name of the secret that is to be changed, by whoever may change some."""
    _check_leads(call)
    name: str = call.request.path_params["secret"]
    return name


def _check_leads(call: Call) -> None:
    """Return when what is changed here is known to the host that goes by it.

    Raises:
        HostNotRunning: another process does.
    """
    if call.managed.configuration is not None:
        call.managed.configuration.check_leads()


def _match(call: Call) -> int | None:
    """Return the revision that the caller expects to be in force.

    Raises:
        PreconditionFailed: another one is.
    """
    number = call.configuration.revision.number
    return number if matched(call.request, f"settings are at revision {number}", number) else None


def _shown(configuration: Configuration) -> Response:
    state: ConfigState = configuration.state
    return reply(state, headers={"etag": tag(state.revision.number)})
