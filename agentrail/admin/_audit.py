"""The audit log and the bearer tokens, over HTTP."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from agentrail.access import TokenInfo
from agentrail.admin._call import Call, Nothing, Seq
from agentrail.audit import AuditEntry, AuditFault, entries, verify
from agentrail.errors import RequestError
from agentrail.messages import Wire
from agentrail.route import reply

UserId = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$")]
RoleName = Annotated[str, Meta(min_length=1, max_length=200)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class AuditQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """Which entries are wanted."""

    object: Annotated[
        str, Meta(description="those of objects that begin so, as `package:weather@`")
    ] = ""
    before: Annotated[Seq | None, Meta(description="those with smaller numbers")] = None
    limit: Annotated[int, Meta(ge=1, le=1_000, description="the newest so many")] = 100


class HeadQuery(Wire, frozen=True, forbid_unknown_fields=True):
    """An entry that was noted elsewhere before."""

    seq: Annotated[Seq | None, Meta(description="its number")] = None
    hash: Annotated[Hash | None, Meta(description="its hash, as it was noted")] = None


class AuditPage(Wire, frozen=True, omit_defaults=False):
    """Entries, the newest first."""

    entries: Sequence[AuditEntry]
    next: int | None
    """Pass it as ``before`` to read what is older; None when there is nothing older."""


class Verdict(Wire, frozen=True, omit_defaults=False):
    """Whether the audit log is whole."""

    whole: bool
    entries: int
    head: str
    """The hash of the last entry; note it elsewhere to prove later that none was cut off."""
    faults: Sequence[AuditFault]


class TokenRequest(Wire, frozen=True, forbid_unknown_fields=True):
    """A token that is to be made."""

    user: UserId
    """The id of the user that it stands for."""
    roles: Annotated[Sequence[RoleName], Meta(min_length=1)]


class TokenList(Wire, frozen=True, omit_defaults=False):
    """The tokens, the oldest first."""

    tokens: Sequence[TokenInfo]


async def list_audit(call: Call, query: AuditQuery, _body: Nothing) -> Response:
    """Show who changed what, the newest first."""
    found = await call.packages.inventory.database.read(
        partial(entries, before=query.before, limit=query.limit + 1, object_prefix=query.object)
    )
    page = found[: query.limit]
    return reply(AuditPage(page, page[-1].seq if len(found) > query.limit else None))


async def verify_audit(call: Call, query: HeadQuery, _body: Nothing) -> Response:
    """Tell whether the audit log is whole, and still has an entry that was noted before."""
    head: tuple[int, str] | None = None
    if query.seq is not None and query.hash is not None:
        head = query.seq, query.hash
    elif (query.seq, query.hash) != (None, None):
        raise RequestError("an entry has both a number and a hash: name both, or neither")
    report = await call.packages.inventory.database.read(partial(verify, head=head))
    return reply(Verdict(not report.faults, report.entries, report.head, report.faults))


async def list_tokens(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """List the bearer tokens, of each no more than its beginning."""
    return reply(TokenList(await call.managed.tokens.list()))


async def create_token(call: Call, _query: Nothing, body: TokenRequest) -> Response:
    """Make a bearer token; the answer is the only one that has it."""
    made = await call.managed.tokens.create(
        body.user, body.roles, call.actor, request=call.request_id
    )
    return reply(made, status=201, headers={"cache-control": "no-store"})


async def revoke_token(call: Call, _query: Nothing, _body: Nothing) -> Response:
    """Accept a bearer token no more."""
    token = call.request.path_params["token"]
    await call.managed.tokens.revoke(token, call.actor, request=call.request_id)
    return Response(status_code=204)
