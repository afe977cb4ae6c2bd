"""``agentrail token``: bearer tokens of a host."""

from collections.abc import Sequence

from rich.console import Console

from agentrail.access import NewToken, TokenInfo
from agentrail.cli._console import print_aside, print_json, print_table, time_text
from agentrail.cli._door import Answered, Door, reach, segment
from agentrail.cli._options import Where
from agentrail.errors import TokenNotFound
from agentrail.messages import Wire


class _Tokens(Wire, frozen=True):
    tokens: Sequence[TokenInfo]


def create(where: Where, user: str, roles: Sequence[str]) -> None:
    """Make a token; it goes to standard output, and what is said of it to standard error.

    Raises:
        AgentrailError: there is no such role, or no such host.
    """

    async def work(door: Door) -> None:
        body = {"user": user, "roles": list(roles)}
        made = await door.ask(NewToken, "POST", "tokens", json=body)
        err = Console(stderr=True, highlight=False)
        what = f"token {made.id} of {made.user}, {', '.join(made.roles)}; it is not shown again"
        print_aside(err, what)
        print(made.token)

    reach(where, "records", work)


def show(where: Where, *, as_json: bool) -> None:
    """Print the tokens, the oldest first.

    Raises:
        AgentrailError: they cannot be read.
    """

    async def work(door: Door) -> None:
        found = (await door.ask(_Tokens, "GET", "tokens")).tokens
        if as_json:
            print_json(found)
            return
        rows = [
            (t.id, f"{t.prefix}…", t.user, ", ".join(t.roles), time_text(t.created_at))
            for t in found
        ]
        print_table(["token", "begins with", "user", "roles", "made"], rows)

    reach(where, "records", work)


def revoke(where: Where, token: str) -> None:
    """Accept a token no more.

    Raises:
        AgentrailError: there is none of that id.
    """

    async def work(door: Door) -> None:
        try:
            await door.send("DELETE", f"tokens/{segment(token)}")
        except Answered as error:
            if error.code != TokenNotFound.code:
                raise
            message = f"{error.detail}: name it by its id, as 'agentrail token list' prints it"
            raise Answered(error.code, message) from error
        print(f"revoked {token}")

    reach(where, "records", work)
