"""The providers of an application, and the models that they offer."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from copy import copy
from typing import Final

from anyio import Lock, move_on_after
from attrs import define, field
from msgspec.structs import replace

from agentrail.clock import Clock, SystemClock
from agentrail.errors import ConfigError, HostNotRunning, ModelReferenceError
from agentrail.hook import Call
from agentrail.model._breaker import Breaker
from agentrail.model._fallback import first_of
from agentrail.model._provider import ModelProvider, ModelReference
from agentrail.requests import ModelReply, ModelRequest

_log: Final = logging.getLogger("agentrail.model")

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
    """A provider, and whether it is asked."""

    provider: ModelProvider
    breaker: Breaker
    line: "_Line"

    async def call(self, request: ModelRequest) -> ModelReply:
        if self not in self.line.running:
            await self.line.ensure([self])
        reply = await self.breaker.call(self.provider.complete, request)
        return replace(reply, model=f"{self.provider.name}:{request.model}")

    async def stop(self, errors: list[Exception]) -> None:
        try:
            await self.provider.stop()
        except Exception as error:  # noqa: BLE001 - boundary: plugin
            _log.exception("model provider %r failed to stop", self.provider.name)
            errors.append(error)


@define(eq=False)
class _Line:
    """What ``Models`` share of which one was made from the other."""

    clock: Clock
    defaults: Sequence[ModelProvider] = field(factory=default_providers)
    lock: Lock = field(factory=Lock)
    """Held while providers start or stop."""
    open: bool = False
    running: list[_Entry] = field(factory=list[_Entry])
    """In the order of their start."""
    known: dict[int, _Entry] = field(factory=dict[int, _Entry])
    """Those that may be asked, by the ``id`` of the provider: it has one at a time."""

    def entries(self, providers: Iterable[ModelProvider]) -> dict[str, _Entry]:
        """Return the entries of an application's providers and the default ones, by name."""
        own: dict[str, ModelProvider] = {}
        for provider in providers:
            if own.setdefault(provider.name, provider) is not provider:
                message = f"two model providers are named {provider.name!r}: rename one"
                raise ConfigError(message)
        every = {provider.name: provider for provider in self.defaults} | own
        # One that runs is found, also when it was about to be stopped.
        there = self.known | {id(entry.provider): entry for entry in self.running}
        entries = {
            name: there.get(id(provider))
            or _Entry(provider, Breaker(f"model provider {name!r}", self.clock), self)
            for name, provider in every.items()
        }
        self.admit(entries.values())
        return entries

    def admit(self, entries: Iterable[_Entry]) -> None:
        """Let them be asked."""
        self.known |= {id(entry.provider): entry for entry in entries}

    def knows(self, entry: _Entry) -> bool:
        return self.known.get(id(entry.provider)) is entry

    async def ensure(self, entries: Sequence[_Entry]) -> None:
        """Start those that do not run; whoever comes meanwhile waits for the one start.

        Cancelled or failed, those that it had started are stopped again: until all have started,
        nobody else takes them for running.
        """
        async with self.lock:
            for entry in entries:
                self._check(entry)
            fresh = [entry for entry in dict.fromkeys(entries) if entry not in self.running]
            started: list[_Entry] = []
            try:
                for entry in fresh:
                    await entry.provider.start()
                    started.append(entry)
            finally:
                if started != fresh:
                    with move_on_after(STOP_SECONDS, shield=True):
                        await _stop(started)
            self.running += fresh

    def _check(self, entry: _Entry) -> None:
        if not self.open:
            message = f"{entry.provider.name!r} was asked while the models are not started"
            raise HostNotRunning(message)
        if not self.knows(entry):
            message = f"model provider {entry.provider.name!r} was taken out of the application"
            raise HostNotRunning(message)

    async def end(self, *, all_of_them: bool) -> list[Exception]:
        """Stop those that may not be asked any more, or all; return what they failed with."""
        errors: list[Exception] = []
        with move_on_after(STOP_SECONDS, shield=True) as scope:
            async with self.lock:
                over = [each for each in self.running if all_of_them or not self.knows(each)]
                self.running = [each for each in self.running if each not in over]
                errors = await _stop(over)
        if scope.cancelled_caught:
            _log.error("model providers took longer than %g s to stop", STOP_SECONDS)
        return errors


async def _stop(entries: Iterable[_Entry]) -> list[Exception]:
    """Stop them in reverse, all of them; return what they failed with."""
    errors: list[Exception] = []
    async with AsyncExitStack() as stack:  # goes on with the next one when the time is over
        for entry in entries:
            stack.push_async_callback(entry.stop, errors)
    return errors


class Models:
    """The models of an application, by reference.

    Args:
        providers: the application's own; one with the name of a default one takes its place.
        clock: where the time is read that a failing provider is left alone.

    Raises:
        ConfigError: two providers have the same name.
    """

    def __init__(self, providers: Iterable[ModelProvider] = (), clock: Clock | None = None) -> None:
        self._line = _Line(clock or SystemClock())
        self._entries = self._line.entries(providers)

    def replaced(self, providers: Iterable[ModelProvider]) -> "Models":
        """Return the models with other providers of the application; these stay as they are.

        A provider that is the same object goes on as it is, running or not, with what is known of
        its failures; so does a default one that is in place.  The two share what runs: started or
        stopped is the one with the other.

        Raises:
            ConfigError: two providers have the same name.
        """
        models = copy(self)
        models._entries = self._line.entries(providers)  # noqa: SLF001 - of this class
        return models

    async def start(self, references: Sequence[str] = ()) -> None:
        """Start the providers of ``references``; the others start at their first call.

        Cancelled or failed, those that had started are stopped again.
        """
        entries = [self._entry(reference) for reference in references]
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            # What was taken out before the last stop may be in place again.
            self._line.admit(self._entries.values())
            self._line.open = True
            await self._line.ensure(entries)
            undo.pop_all()

    async def stop(self) -> None:
        """Stop the providers that run, in reverse; all are tried, the last error is raised.

        It finishes, within 15 seconds, when it is cancelled too.
        """
        self._line.open = False
        if errors := await self._line.end(all_of_them=True):
            raise errors[-1]

    async def ensure(self, references: Sequence[str]) -> None:
        """Start the providers of ``references`` that do not run, beside the others.

        Cancelled or failed, those that it had started are stopped again.

        Raises:
            ModelReferenceError: one is no reference, or no provider has its name.
            HostNotRunning: the models are not started, or a provider was taken out.
        """
        await self._line.ensure([self._entry(reference) for reference in references])

    async def keep(self, every: Iterable["Models"]) -> None:
        """Stop the providers that are in none of ``every``, in the reverse order of their start.

        They are never started again for ``Models`` from before: a call that would is refused with
        ``HostNotRunning``.  So ``every`` is to hold the ones being prepared too.  All are tried;
        what fails is logged.  It finishes, within 15 seconds, when it is cancelled too; what could
        not be stopped because others were starting is left to the next time.
        """
        entries = [each for models in every for each in models._entries.values()]  # noqa: SLF001
        self._line.known.clear()
        self._line.admit(entries)
        await self._line.end(all_of_them=False)

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
