"""``GET /commands``: what a user interface needs to offer commands and complete them."""

from starlette.requests import Request
from starlette.responses import Response

from agentrail.command import CommandInfo, Commands
from agentrail.messages import Wire
from agentrail.requests import Host
from agentrail.route._answers import reply
from agentrail.route._route import Route, owner_of


class CommandList(Wire, omit_defaults=False):
    """What ``GET /commands`` answers."""

    commands: tuple[CommandInfo, ...]


def commands_route(commands: Commands) -> Route:
    """Return the route that lists the commands, each with whether the caller may use it.

    They are run by ``/chat`` and ``/stream``, like any message.
    """

    async def endpoint(request: Request, _host: Host) -> Response:
        roles, locale = owner_of(request).roles, request.headers.get("accept-language", "")
        return reply(CommandList(tuple(commands.listing(roles, locale))))

    return Route(path="/commands", endpoint=endpoint)
