"""The providers of an application, and the models that they offer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from anyio import Lock, move_on_after
from attrs import define
from msgspec.structs import replace

from agentrail.clock import Clock, SystemClock
from agentrail.errors import ConfigError, HostNotRunning, ModelReferenceError
from agentrail.hook import Call
from agentrail.model._breaker import Breaker
from agentrail.model._fallback import first_of
from agentrail.model._provider import ModelProvider, ModelReference
from agentrail.requests import ModelReply, ModelRequest

STOP_SECONDS: Final = 15.0
"""How long the providers may take to stop, together."""


@define(eq=False)
class _Lazy:
    """A provider that is made when it starts, so that what it needs is imported only then."""

    name: str
    _make: Callable[[], ModelProvider]
    _made: ModelProvider | None = None

    async def start(self) -> None:
        self._made = self._made or self._make()
        await self._made.start()

    async def stop(self) -> None:
        if self._made is not None:
            await self._made.stop()

    async def complete(self, request: ModelRequest) -> ModelReply:
        if self._made is None:
            message = f"model provider {self.name!r} is not started"
            raise HostNotRunning(message)
        return await self._made.complete(request)


def _openai() -> ModelProvider:
    from agentrail.model.openai import OpenAICompatible  # noqa: PLC0415 (imports httpx)

    return OpenAICompatible()


def _responses() -> ModelProvider:
    from agentrail.model.openai import OpenAIResponses  # noqa: PLC0415 (imports httpx)

    return OpenAIResponses()


def _anthropic() -> ModelProvider:
    from agentrail.model.anthropic import Anthropic  # noqa: PLC0415 (imports httpx)

    return Anthropic()


def _local() -> ModelProvider:
    from agentrail.model.local import LocalModel  # noqa: PLC0415 (imports httpx)

    return LocalModel()


_DEFAULTS: Final[Mapping[str, Callable[[], ModelProvider]]] = {
    "openai": _openai,
    "openai-responses": _responses,
    "anthropic": _anthropic,
    "local": _local,
}


def default_providers() -> tuple[ModelProvider, ...]:
    """Return the providers that every application has.

    They are ``openai``, ``openai-responses``, ``anthropic`` and ``local``, and cost nothing until a
    model of theirs is used.
    """
    return tuple([_Lazy(name, make) for name, make in _DEFAULTS.items()])


@define(eq=False)
class _Entry:
    """A provider, whether it runs, and whether it is asked."""

    provider: ModelProvider
    breaker: Breaker
    models: "Models"
    running: bool = False

    async def call(self, request: ModelRequest) -> ModelReply:
        if not self.running:
            await self.models.ensure(self)
        reply = await self.breaker.call(self.provider.complete, request)
        return replace(reply, model=f"{self.provider.name}:{request.model}")


class Models:
    """The models of an application, by reference.

    Args:
        providers: the application's own; one with the name of a default one takes its place.
        clock: where the time is read that a failing provider is left alone.

    Raises:
        ConfigError: two providers have the same name.
    """

    def __init__(self, providers: Iterable[ModelProvider] = (), clock: Clock | None = None) -> None:
        own: dict[str, ModelProvider] = {}
        for provider in providers:
            if own.setdefault(provider.name, provider) is not provider:
                message = f"two model providers are named {provider.name!r}: rename one"
                raise ConfigError(message)
        every = {provider.name: provider for provider in default_providers()} | own
        clock = clock or SystemClock()
        self._entries = {
            name: _Entry(provider, Breaker(f"model provider {name!r}", clock), self)
            for name, provider in every.items()
        }
        self._lock = Lock()
        self._running: AsyncExitStack | None = None

    async def start(self, references: Sequence[str] = ()) -> None:
        """Start the providers of ``references``; the others start at their first call.

        Cancelled or failed, those that had started are stopped again.
        """
        entries = [self._entry(reference) for reference in references]
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            self._running = AsyncExitStack()
            for entry in entries:
                await self.ensure(entry)
            undo.pop_all()

    async def stop(self) -> None:
        """Stop the providers that run, in reverse; all are tried, the last error is raised.

        It finishes, within 15 seconds, when it is cancelled too.
        """
        running, self._running = self._running, None
        with move_on_after(STOP_SECONDS, shield=True):
            async with self._lock:
                for entry in self._entries.values():
                    entry.running = False
                if running is not None:
                    await running.aclose()

    async def ensure(self, entry: _Entry) -> None:
        """Start a provider unless it runs; whoever comes meanwhile waits for the one start.

        Raises:
            HostNotRunning: the models are not started, or stopped again.
        """
        async with self._lock:
            if self._running is None:
                message = f"{entry.provider.name!r} was asked while the models are not started"
                raise HostNotRunning(message)
            if not entry.running:
                await entry.provider.start()
                self._running.push_async_callback(entry.provider.stop)
                entry.running = True

    def call(self, reference: str) -> Call[ModelRequest, ModelReply]:
        """Return what answers requests to the provider that ``reference`` names.

        The request says which model; see ``ModelReference``.  Nothing is started yet.

        Raises:
            ModelReferenceError: it is no reference, or no provider has that name.
        """
        return self._entry(reference).call

    def first_of(self, references: Sequence[str]) -> Call[ModelRequest, ModelReply]:
        """Return what answers requests by the first of ``references`` that is in order.

        The next one is asked, for its own model, when one fails before it has emitted anything:
        with an error that is retryable, or because it does not accept the host's credentials or
        has no such model.  An error that speaks of the request goes out at once.  The last one's
        error goes out as it is.

        Args:
            references: at least one; with one it is what ``call`` returns.

        Raises:
            ModelReferenceError: one is no reference, or no provider has its name.
        """
        return first_of([(ModelReference.parse(each), self.call(each)) for each in references])

    def _entry(self, reference: str) -> _Entry:
        name = ModelReference.parse(reference).provider
        if name in self._entries:
            return self._entries[name]
        known = ", ".join(sorted(self._entries))
        message = f"{reference!r} names no model provider; there are: {known}"
        raise ModelReferenceError(message)
