"""Bearer tokens with roles, of which only hashes are kept."""

import difflib
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import sha256
from typing import Final

import msgspec
from attrs import define
from starlette.requests import Request

from agentrail.access._roles import ROLES
from agentrail.audit import Audit, append
from agentrail.clock import Clock
from agentrail.errors import RequestError, TokenNotFound, Unauthenticated
from agentrail.ids import check_id, new_id
from agentrail.messages import Wire
from agentrail.requests import Principal
from agentrail.storage import Database

SCHEMA: Final = """
create table access_token (
    id text primary key,
    hash blob not null unique,
    prefix text not null,
    user text not null,
    roles text not null,
    created_at real not null,
    created_by text not null
) without rowid;
"""
"""A migration of the file that the tokens are kept in; the audit log is in it too."""

_BEGIN: Final = "agentrail_"
"""What tokens begin with, so that whoever finds one knows what it is."""

_RANDOM_BYTES: Final = 32
_TOKEN: Final = re.compile(rf"{_BEGIN}[A-Za-z0-9_-]{{43}}")
_SHOWN: Final = len(_BEGIN) + 6
"""How much of a token is kept as it is: enough to tell it from others, and useless otherwise."""

_COLUMNS: Final = "id, prefix, user, roles, created_at, created_by"


class TokenInfo(Wire, frozen=True, kw_only=True):
    """A token, as it is shown."""

    id: str
    prefix: str
    """How it begins."""
    user: str
    """The id of the user that it stands for."""
    roles: Sequence[str]
    created_at: float
    """In seconds since 1970."""
    created_by: str


class NewToken(TokenInfo, frozen=True, kw_only=True):
    """A token that was just made."""

    token: str
    """The token itself: nobody can be told it again."""


@define(slots=True, eq=False)
class Tokens:
    """The bearer tokens of a host; an ``Authenticator`` that accepts them and nothing else."""

    database: Database
    clock: Clock
    own_roles: Callable[[], Collection[str]] = tuple
    """Returns the names of the application's own roles."""

    async def authenticate(self, request: Request) -> Principal:
        """Return the principal of the ``Authorization: Bearer`` header's token.

        A token that was revoked is not accepted from then on, in any process.

        Raises:
            Unauthenticated: there is no such token.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found: Principal | None = None
        if scheme.lower() == "bearer" and _TOKEN.fullmatch(token.strip()):
            found = await self.database.read(partial(_principal, token=token.strip()))
        if found is None:
            message = "send a valid token as 'Authorization: Bearer TOKEN'"
            raise Unauthenticated(message)
        return found

    async def create(
        self, user: str, roles: Sequence[str], by: str, *, request: str = ""
    ) -> NewToken:
        """Make a token that stands for a user with roles.

        ``by`` is who asks for it, ``request`` the id of the request.

        Raises:
            RequestError: there is no such role, or none is named.
            InvalidId: ``user`` is no identifier.
        """
        known = [*ROLES, *sorted(self.own_roles())]
        unknown = [role for role in roles if role not in known]
        if unknown or not roles:
            named = f"no role {unknown[0][:80]!r}" if unknown else "no role named"
            near = difflib.get_close_matches(unknown[0][:80], known, 1) if unknown else ()
            meant = "".join(f"; did you mean {each!r}?" for each in near)
            raise RequestError(f"there is {named}: use {', '.join(known)}{meant}")
        made, digest = self._new(check_id(user, "the user"), sorted(set(roles)), by)
        await self.database.write(partial(_add, made=made, digest=digest, by=by, request=request))
        return made

    async def first(self, by: str) -> NewToken | None:
        """Make a token for an administrator where nobody has one; else return None."""
        made, digest = self._new("admin", ["admin"], by)
        is_first = await self.database.write(partial(_add_first, made=made, digest=digest, by=by))
        return made if is_first else None

    async def list(self) -> Sequence[TokenInfo]:
        """Return all tokens, the oldest first."""
        return await self.database.read(_all)

    async def revoke(self, token: str, by: str, *, request: str = "") -> None:
        """Accept a token no more; ``token`` is its id.

        Raises:
            TokenNotFound: there is none of that id.
        """
        at = self.clock.now()
        await self.database.write(partial(_remove, id_=token, by=by, request=request, at=at))

    def _new(self, user: str, roles: Sequence[str], by: str) -> tuple[NewToken, bytes]:
        token = f"{_BEGIN}{secrets.token_urlsafe(_RANDOM_BYTES)}"
        made = NewToken(
            id=new_id("tok"),
            prefix=token[:_SHOWN],
            user=user,
            roles=roles,
            created_at=self.clock.now(),
            created_by=by,
            token=token,
        )
        return made, _hash(token)


def _hash(token: str) -> bytes:
    # As random as the hash itself, a token needs neither salt nor a slow function.
    return sha256(token.encode()).digest()


def _principal(connection: sqlite3.Connection, token: str) -> Principal | None:
    row = connection.execute(
        "select user, roles from access_token where hash = ?", (_hash(token),)
    ).fetchone()
    return row and Principal(user_id=row[0], roles=msgspec.json.decode(row[1], type=frozenset[str]))


def _add(
    connection: sqlite3.Connection, made: NewToken, digest: bytes, by: str, request: str = ""
) -> None:
    roles = msgspec.json.encode(made.roles).decode()
    connection.execute(
        "insert into access_token values (?, ?, ?, ?, ?, ?, ?)",
        (made.id, digest, made.prefix, made.user, roles, made.created_at, by),
    )
    after = f"{made.user}: {', '.join(made.roles)}"
    append(connection, _audit("create", made.id, by, request, after=after), made.created_at)


def _add_first(connection: sqlite3.Connection, made: NewToken, digest: bytes, by: str) -> bool:
    is_first = not any("admin" in known.roles for known in _all(connection))
    if is_first:
        _add(connection, made, digest, by)
    return is_first


def _all(connection: sqlite3.Connection) -> Sequence[TokenInfo]:
    rows = connection.execute(f"select {_COLUMNS} from access_token order by created_at, id")  # noqa: S608 - columns of ours
    return [_shown(row) for row in rows]


def _shown(row: tuple[str, str, str, str, float, str]) -> TokenInfo:
    id_, prefix, user, roles, created_at, created_by = row
    return TokenInfo(
        id=id_,
        prefix=prefix,
        user=user,
        roles=msgspec.json.decode(roles, type=list[str]),
        created_at=created_at,
        created_by=created_by,
    )


def _remove(connection: sqlite3.Connection, id_: str, by: str, request: str, at: float) -> None:
    row = connection.execute(
        f"select {_COLUMNS} from access_token where id = ?",  # noqa: S608 - as above
        (id_,),
    ).fetchone()
    if row is None:
        raise TokenNotFound(f"there is no token {id_[:64]!r}")
    gone = _shown(row)
    connection.execute("delete from access_token where id = ?", (id_,))
    before = f"{gone.user}: {', '.join(gone.roles)}"
    append(connection, _audit("revoke", id_, by, request, before=before), at)


def _audit(
    action: str, id_: str, by: str, request: str, *, before: str = "", after: str = ""
) -> Audit:
    return Audit(
        actor=by,
        action=f"token.{action}",
        object=f"token:{id_}",
        before=before,
        after=after,
        request=request,
    )
