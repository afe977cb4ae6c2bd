"""Models behind the Messages API, Anthropic's own and that of others who speak it."""

from typing import Final

from attrs import define, field

from agentrail.model._anthropic_answer import MessagesAnswer
from agentrail.model._anthropic_request import messages_body
from agentrail.model._http import HTTPProvider
from agentrail.requests import ModelReply, ModelRequest

ANTHROPIC: Final = "https://api.anthropic.com"

# The next one, 2026-10-21, refuses a temperature, and brings nothing that is used here.
VERSION: Final = "2023-06-01"


@define(eq=False)
class Anthropic(HTTPProvider):
    """A model provider for an upstream with the Messages API.

    What the model thought comes back signed, and is sent back to this provider alone.

    Raises:
        ConfigError: on ``start``, when key or base URL are missing or unusable.
    """

    name: str = "anthropic"
    base_url: str | None = field(default=None, repr=False)
    """Where ``/v1/messages`` is; None means ``ANTHROPIC_BASE_URL``, or else Anthropic itself."""
    api_key: str | None = field(default=None, repr=False)
    """The key; None means ``ANTHROPIC_API_KEY`` if ``base_url`` is None too, or else none."""

    async def start(self) -> None:
        """Read the environment and open the connection pool; nothing is sent yet."""
        base_url = self._address(ANTHROPIC, "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
        key = {"x-api-key": self._key} if self._key else {}
        self._open(base_url, {"anthropic-version": VERSION, **key})

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request; see ``ModelProvider``.

        Raises:
            ModelError: one of its leaves.
        """

        def body(source: str) -> bytes:
            return messages_body(request, source, self.body)

        return await self._ask_signed("v1/messages", body, MessagesAnswer, request.emit)
