"""How a host that is served is found by commands on the same machine.

It writes a note into the file whose lock tells that it lives: its address, and a token if it asks
for one.  The file is its user's alone, and gone or without a lock when the process has ended.
"""

import hmac
import os
import secrets
from importlib import import_module

import msgspec
from attrs import evolve, frozen
from starlette.requests import Request

from agentrail.host import AgentHost, Authenticator
from agentrail.messages import Wire
from agentrail.requests import Principal
from agentrail.storage import Presence

API = "/api/"
"""What the paths of the API begin with."""


class Address(Wire, frozen=True):
    """Where a host is served."""

    url: str
    pid: int
    token: str = ""
    """Lets whoever may read this use the API; empty where nobody is asked who they are."""
    follows: bool = False
    """Whether another process changes what is in the data directory, and this one does not."""


@frozen
class _OrLocal:
    """Accepts one more token, and for the API alone; it lasts as long as the process."""

    token: str
    others: Authenticator

    async def authenticate(self, request: Request) -> Principal:
        given = request.headers.get("authorization", "").encode()
        known = f"Bearer {self.token}".encode()
        if str(request.scope["path"]).startswith(API) and hmac.compare_digest(given, known):
            return Principal(user_id="local", roles=frozenset({"admin"}))
        return await self.others.authenticate(request)


def announce(host: AgentHost, url: str) -> None:
    """Let commands find a host that has started, and let them in.

    A host without packages has nothing for them.
    """
    core = host.core
    if host.extension is None:
        return
    token = ""
    if core.config.authenticator is not None:
        token = secrets.token_urlsafe()
        core.config = evolve(core.config, authenticator=_OrLocal(token, core.config.authenticator))
    packages = import_module("agentrail.registry").Packages  # only what has packages imports it
    follows: bool = host.part(packages).inventory.follows
    note = Address(url, os.getpid(), token, follows)
    host.part(Presence).tell(msgspec.json.encode(note))
