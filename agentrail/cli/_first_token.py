"""Bearer tokens for a host that is reached from elsewhere, and whose application has no others."""

from attrs import evolve

from agentrail.access import Tokens
from agentrail.errors import ConfigError
from agentrail.host import AgentHost


def guard(host: AgentHost, address: str) -> None:
    """Have a host without an authenticator demand its own tokens.

    Raises:
        ConfigError: the host has none, as one without packages.
    """
    core = host.core
    if host.extension is None:
        message = (
            "without an authenticator a host is served on this machine only, not on "
            f"{address!r}: set AppConfig(authenticator=...), or bind to 127.0.0.1"
        )
        raise ConfigError(message)
    core.config = evolve(core.config, authenticator=host.part(Tokens))


async def print_first_token(host: AgentHost) -> None:
    """Make a token for an administrator where nobody has one, and print it this once.

    It goes to standard output, since logs go to standard error.
    """
    tokens = host.core.config.authenticator
    if not isinstance(tokens, Tokens):
        return
    first = await tokens.first("serve")
    if first is not None:
        print(f"Token of the first administrator, shown this once: {first.token}", flush=True)
