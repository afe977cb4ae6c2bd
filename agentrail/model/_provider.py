"""What a model provider does, and how a model is named."""

from typing import Protocol

from attrs import frozen

from agentrail.errors import ModelReferenceError
from agentrail.requests import ModelReply, ModelRequest


class ModelProvider(Protocol):
    """Answers model requests for one upstream.

    A provider is made without I/O.  The host calls ``start`` before its first use and ``stop``
    at its end, maybe from another task: no task group or cancel scope may stay open between them.
    """

    @property
    def name(self) -> str:
        """What stands before the colon of a model reference."""
        ...

    async def start(self) -> None:
        """Open what the provider needs."""
        ...

    async def stop(self) -> None:
        """Close what the provider opened."""
        ...

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Answer one request.

        It calls ``request.emit`` for each piece of text as it arrives, in order, and returns the
        whole reply.  An answer that breaks off is an error, never a shorter reply.  Cancellation
        closes the upstream call.

        Raises:
            ModelError: one of its leaves, whatever went wrong upstream.
        """
        ...


@frozen(slots=True)
class ModelReference:
    """A model of a provider, written ``provider:model``."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Return the reference that ``text`` writes; the model may hold more colons.

        Raises:
            ModelReferenceError: there is no colon, or nothing on one side of it.
        """
        provider, colon, model = text.partition(":")
        if provider.strip() and colon and model.strip():
            return cls(provider.strip(), model.strip())
        message = (
            f"{text!r} is no model reference: write 'provider:model', as 'openai:gpt-5.4-mini'"
        )
        raise ModelReferenceError(message)

    def __str__(self) -> str:
        """Return the reference as it is written."""
        return f"{self.provider}:{self.model}"
