"""Models behind OpenAI's APIs: chat completions, which most upstreams speak, and Responses."""

from typing import Final
from urllib.parse import urlsplit

from attrs import define, field

from agentrail.model._chat_answer import ChatAnswer
from agentrail.model._chat_request import Dialect, chat_body
from agentrail.model._http import HTTPProvider
from agentrail.model._responses_answer import ResponsesAnswer
from agentrail.model._responses_request import responses_body
from agentrail.requests import ModelReply, ModelRequest

OPENAI: Final = "https://api.openai.com/v1"
_HOST: Final = "api.openai.com"
"""What the names of OpenAI's own hosts end in, those for one region too."""


@define(eq=False)
class OpenAICompatible(HTTPProvider):
    """A model provider for an upstream with the chat completions API.

    Raises:
        ConfigError: on ``start``, when key or base URL are missing or unusable.
    """

    name: str = "openai"
    base_url: str | None = field(default=None, repr=False)
    """Where ``/chat/completions`` is; None means ``OPENAI_BASE_URL``, or else OpenAI itself."""
    api_key: str | None = field(default=None, repr=False)
    """The bearer token.  None means ``OPENAI_API_KEY`` if ``base_url`` is None too, or else no key:
    a key from the environment never goes to another upstream than the environment's."""
    max_tokens_field: str | None = field(default=None, kw_only=True, repr=False)
    """What the upstream calls the token limit; None means ``max_completion_tokens`` for OpenAI
    itself and ``max_tokens`` for everybody else."""
    reasoning_field: str | None = field(default=None, kw_only=True, repr=False)
    """Where an assistant's message takes its reasoning back; None does not send it."""
    system_first: bool = field(default=False, kw_only=True, repr=False)
    """Whether the upstream wants one system message, the first, and user and assistant in turns,
    as the chat templates of some models do; later system messages are then a user's text."""
    _dialect: Dialect = field(factory=Dialect, init=False, repr=False)

    async def start(self) -> None:
        """Read the environment and open the connection pool; nothing is sent yet."""
        base_url = self._address(OPENAI, "OPENAI_BASE_URL", "OPENAI_API_KEY")
        self._open(base_url, self._bearer())
        is_openai = (urlsplit(base_url).hostname or "").endswith(_HOST)
        self._dialect = Dialect(
            max_tokens=self.max_tokens_field
            or ("max_completion_tokens" if is_openai else "max_tokens"),
            reasoning=self.reasoning_field,
            system_first=self.system_first,
            body=self.body,
        )

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request; see ``ModelProvider``.

        Raises:
            ModelError: one of its leaves.
        """
        body = chat_body(request, self._dialect)
        return await self._ask("chat/completions", body, ChatAnswer(), request.emit)


@define(eq=False)
class OpenAIResponses(HTTPProvider):
    """A model provider for an upstream with the Responses API; nothing is stored there.

    What the model thought comes back encrypted, and is sent back to this provider alone.

    Raises:
        ConfigError: on ``start``, when key or base URL are missing or unusable.
    """

    name: str = "openai-responses"
    base_url: str | None = field(default=None, repr=False)
    """Where ``/responses`` is; None means ``OPENAI_BASE_URL``, or else OpenAI itself."""
    api_key: str | None = field(default=None, repr=False)
    """The bearer token; None means ``OPENAI_API_KEY`` if ``base_url`` is None too, or else none."""

    async def start(self) -> None:
        """Read the environment and open the connection pool; nothing is sent yet."""
        base_url = self._address(OPENAI, "OPENAI_BASE_URL", "OPENAI_API_KEY")
        self._open(base_url, self._bearer())

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request; see ``ModelProvider``.

        Raises:
            ModelError: one of its leaves.
        """

        def body(source: str) -> bytes:
            return responses_body(request, source, self.body)

        return await self._ask_signed("responses", body, ResponsesAnswer, request.emit)
