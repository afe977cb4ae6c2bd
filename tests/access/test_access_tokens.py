"""Bearer tokens: made once, kept as hashes, gone when revoked, and all of it in the audit log."""

import sqlite3
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from starlette.requests import Request

from agentrail import access, audit
from agentrail.access import ROLES, Tokens, may
from agentrail.audit import entries, verify
from agentrail.errors import InvalidId, RequestError, StorageError, TokenNotFound, Unauthenticated
from agentrail.requests import Principal
from agentrail.storage import Database
from agentrail.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncGenerator[Tokens]:
    database = Database(tmp_path / "host.db", (audit.SCHEMA, access.SCHEMA))
    await database.start()
    yield Tokens(database, FakeClock())
    await database.stop()


def request(authorization: str | None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


async def accepted(tokens: Tokens, token: str) -> Principal:
    return await tokens.authenticate(request(f"Bearer {token}"))


async def told(tokens: Tokens) -> list[tuple[str, str, str, str, str]]:
    """Return what the audit log says, the oldest first."""
    found = await tokens.database.read(entries)
    return [(e.actor, e.action, e.object, e.before, e.after) for e in reversed(found)]


async def test_a_token_stands_for_its_user_with_its_roles(tokens: Tokens) -> None:
    made = await tokens.create("bob", ["operator", "auditor", "operator"], "ada")

    who = await accepted(tokens, made.token)

    assert who == Principal(user_id="bob", roles=frozenset({"operator", "auditor"}))
    assert made.token.startswith(made.prefix)
    assert len(made.token) - len(made.prefix) > 36


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {}x", "Bearer x{}"),
        *("Bearer agentrail_{}", "Bearer \xff", "Bearer {} {}", "Bearer {}\n"),
        "Bearer agentrail_" + "A" * 43,
    ],
)
async def test_nothing_but_a_whole_token_is_accepted(
    tokens: Tokens, authorization: str | None
) -> None:
    made = await tokens.create("bob", ["viewer"], "ada")
    near = made.token[:-1] + ("A" if made.token[-1] != "A" else "B")

    for token in (near, made.token.upper(), made.prefix, made.id):
        with pytest.raises(Unauthenticated):
            await accepted(tokens, token)
    if authorization == "Bearer {}\n":  # white space around it is no part of it
        assert (await tokens.authenticate(request(authorization.format(made.token)))).user_id
        return
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(
            request(authorization and authorization.replace("{}", made.token))
        )


async def test_no_token_is_in_the_file(tokens: Tokens, tmp_path: Path) -> None:
    made = await tokens.create("bob", ["viewer"], "ada")
    await tokens.database.empty_log()

    kept = await anyio.Path(tmp_path / "host.db").read_bytes()

    assert made.prefix.encode() in kept
    assert made.token[len(made.prefix) :].encode() not in kept


async def test_a_revoked_token_is_accepted_no_more_in_any_process(
    tokens: Tokens, tmp_path: Path
) -> None:
    database = Database(tmp_path / "host.db", (audit.SCHEMA, access.SCHEMA))
    await database.start()
    other = Tokens(database, FakeClock())
    made, kept = [await tokens.create(user, ["viewer"], "ada") for user in ("bob", "eve")]
    assert (await accepted(other, made.token)).user_id == "bob"

    await tokens.revoke(made.id, "ada")

    for each in (tokens, other):
        with pytest.raises(Unauthenticated):
            await accepted(each, made.token)
        assert (await accepted(each, kept.token)).user_id == "eve"
        assert [token.id for token in await each.list()] == [kept.id]
    with pytest.raises(TokenNotFound):
        await tokens.revoke(made.id, "ada")
    await database.stop()


async def test_what_is_done_to_tokens_is_in_the_audit_log_and_no_token_is(tokens: Tokens) -> None:
    made = await tokens.create("bob", ["viewer", "auditor"], "ada")
    await tokens.revoke(made.id, "eve")

    assert await told(tokens) == [
        ("ada", "token.create", f"token:{made.id}", "", "bob: auditor, viewer"),
        ("eve", "token.revoke", f"token:{made.id}", "bob: auditor, viewer", ""),
    ]
    assert (await tokens.database.read(verify)).faults == ()


async def test_without_its_audit_entry_no_token_is_made(tokens: Tokens) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute(
            "create trigger full before insert on audit begin select raise(abort, 'full'); end"
        )

    await tokens.database.write(broken)

    with pytest.raises(StorageError):
        await tokens.create("bob", ["viewer"], "ada")
    assert await tokens.list() == []


async def test_there_is_one_first_token_however_many_ask(tokens: Tokens) -> None:
    await tokens.create("bob", ["publisher"], "ada")
    made = list[str]()

    async def first() -> None:
        token = await tokens.first("serve")
        if token is not None:
            made.append(token.token)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(first)

    assert len(made) == 1
    assert (await accepted(tokens, made[0])).roles == {"admin"}
    assert await tokens.first("serve") is None


async def test_when_no_administrator_is_left_there_is_a_first_token_again(tokens: Tokens) -> None:
    made = await tokens.first("serve")
    assert made is not None
    await tokens.revoke(made.id, "admin")

    assert await tokens.first("serve") is not None


@pytest.mark.parametrize("roles", [[], ["root"], ["viewer", "Admin"], ["admin "]])
async def test_a_role_that_does_not_exist_is_refused(tokens: Tokens, roles: list[str]) -> None:
    with pytest.raises(RequestError, match="viewer, operator, publisher, admin, auditor"):
        await tokens.create("bob", roles, "ada")
    assert await tokens.list() == []


async def test_a_user_has_an_identifier(tokens: Tokens) -> None:
    with pytest.raises(InvalidId):
        await tokens.create("bob\x1b[2J", ["viewer"], "ada")


def test_each_role_may_do_what_the_one_below_it_may() -> None:
    ladder = [ROLES[role] for role in ("viewer", "operator", "publisher", "admin")]

    assert all(lower < higher for lower, higher in pairwise(ladder))
    assert ROLES["auditor"] == {"read", "audit"}
    assert set().union(*ROLES.values()) == ROLES["admin"]


def test_roles_that_nobody_knows_allow_nothing() -> None:
    assert not may((), "read")
    assert not may({"root", "ADMIN", ""}, "read")
    assert may({"root", "viewer"}, "read")
    assert not may({"viewer"}, "operate")
