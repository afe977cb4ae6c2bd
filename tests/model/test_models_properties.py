"""After any changes of the models, those providers run that should, and no others."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrail.errors import HostNotRunning, ModelReferenceError
from agentrail.messages import Message
from agentrail.model import Models
from agentrail.requests import ModelReply, ModelRequest

REQUEST = ModelRequest(model="m", messages=())
MARKS = ("a1", "a2", "b1", "b2", "c1")
"""Of the providers; the first letter is the name."""

Step = tuple[str, int, Sequence[str], Sequence[str]]
"""What is done, with which models, with which providers, and which of them fail to start."""

marks = st.lists(st.sampled_from(MARKS), unique_by=lambda mark: mark[0])
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["replace", "replace", "ensure", "ensure", "call", "past", "keep", "stop"]),
    st.integers(0, 5),
    marks,
    st.one_of(st.just([]), st.lists(st.sampled_from(MARKS), max_size=1)),
)


class Provider:
    """A real one: it may be started when it does not run, stopped when it does, and asked then."""

    def __init__(self, mark: str, failing: set[str], running: list[str]) -> None:
        self.name = mark[0]
        self.mark = mark
        self._failing = failing
        self._running = running
        self._busy = False

    async def _move(self, *, begun: bool) -> None:
        assert not self._busy
        assert (self.mark in self._running) is not begun
        self._busy = True
        await anyio.lowlevel.checkpoint()
        self._busy = False

    async def start(self) -> None:
        await self._move(begun=True)
        if self.mark in self._failing:
            raise OSError(self.mark)
        self._running.append(self.mark)

    async def stop(self) -> None:
        await self._move(begun=False)
        self._running.remove(self.mark)

    async def complete(self, request: ModelRequest) -> ModelReply:
        assert self.mark in self._running
        return ModelReply(message=Message.assistant(self.mark), model=request.model)


def names(used: Iterable[str]) -> list[str]:
    return [f"{mark[0]}:x" for mark in used]


class Line:
    """Models, made one from another, and what is to be true of them."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.running: list[str] = []
        """What runs, by the providers."""
        self.providers = {mark: Provider(mark, self.failing, self.running) for mark in MARKS}
        first = Models([self.providers["a1"], self.providers["b1"]])
        self.models: list[tuple[Models, list[str]]] = [(first, ["a1", "b1"])]
        """Those in use, with the marks of their providers."""
        self.past: list[tuple[Models, list[str]]] = []
        self.expected: list[str] = []
        """What should run, in the order of the start."""

    async def play(self, step: Step) -> None:
        action, index, chosen, failing = step
        self.failing.clear()
        self.failing.update(failing)
        models, used = self.models[index % len(self.models)]
        if action == "replace":
            every = [self.providers[mark] for mark in chosen]
            self.models.append((models.replaced(every), list(chosen)))
        elif action == "ensure":
            await self.ensure(models, [mark for mark in chosen if mark in used])
        elif action == "call":
            for mark in used[:1]:
                await self.call(models, mark)
        elif action == "past":
            await self.ask_the_past()
        elif action == "keep":
            await self.keep(index, chosen)
        else:
            await self.restart(models, used)
        assert self.running == self.expected

    async def ensure(self, models: Models, wanted: list[str]) -> None:
        fresh = [mark for mark in wanted if mark not in self.expected]
        if self.failing.intersection(fresh):
            with pytest.raises(OSError, match=r"\w\d"):
                await models.ensure(names(wanted))
        else:
            await models.ensure(names(wanted))
            self.expected += fresh

    async def call(self, models: Models, mark: str) -> None:
        (reference,) = names([mark])
        if mark in self.failing and mark not in self.expected:
            with pytest.raises(OSError, match=mark):
                await models.call(reference)(REQUEST)
            return
        assert (await models.call(reference)(REQUEST)).message.text == mark
        if mark not in self.expected:
            self.expected.append(mark)

    async def ask_the_past(self) -> None:
        """Nothing starts that is in no models in use."""
        self.failing.clear()
        in_use = {mark for _, used in self.models for mark in used}
        for models, used in self.past:
            for mark, reference in zip(used, names(used), strict=True):
                try:
                    await models.call(reference)(REQUEST)
                except HostNotRunning:
                    continue
                assert mark in in_use
                if mark not in self.expected:
                    self.expected.append(mark)

    async def keep(self, index: int, chosen: Sequence[str]) -> None:
        """The last models stay, as the present ones do, and some of the others."""
        stay = {len(self.models) - 1, index, *[MARKS.index(mark) for mark in chosen]}
        kept = [each for number, each in enumerate(self.models) if number in stay]
        self.past += [each for each in self.models if each not in kept]
        self.models = kept
        await kept[0][0].keep([models for models, _ in kept])
        in_use = {mark for _, used in kept for mark in used}
        self.expected = [mark for mark in self.expected if mark in in_use]

    async def restart(self, models: Models, used: Sequence[str]) -> None:
        """All stop; some models, of any time, start again, and no others are asked."""
        await models.stop()
        assert self.running == []
        for reference in names(used):
            with pytest.raises(HostNotRunning):
                await models.ensure([reference])
        models, used = (*self.past, (models, used))[0]
        self.models, self.past, self.expected = [(models, list(used))], [], []
        if self.failing.intersection(used):
            with pytest.raises(OSError, match=r"\w\d"):
                await models.start(names(used))
            assert self.running == []
            self.failing.clear()
        await models.start(names(used))
        self.expected += used


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=150)
@given(plan=st.lists(steps, max_size=30))
def test_after_any_steps_exactly_those_run_that_should(backend: str, plan: list[Step]) -> None:
    async def main() -> None:
        line = Line()
        await line.models[0][0].start()
        for step in plan:
            await line.play(step)
        await line.models[-1][0].stop()
        assert line.running == []

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100)
@given(plan=st.lists(steps, max_size=20))
def test_steps_at_the_same_time_start_and_stop_each_provider_in_turn(
    backend: str, plan: list[Step]
) -> None:
    """The providers check it; in the end those run, of the ones in use, that were started."""

    async def main() -> None:
        line = Line()
        every = [line.models[0]]
        await every[0][0].start()

        async def play(step: Step) -> None:
            action, index, chosen, failing = step
            line.failing.update(failing)
            models, used = every[index % len(every)]
            with suppress(OSError, HostNotRunning, ModelReferenceError):
                if action == "replace":
                    providers = [line.providers[mark] for mark in chosen]
                    every.append((models.replaced(providers), list(chosen)))
                elif action == "keep":
                    await models.keep([models, every[-1][0]])
                else:
                    await models.ensure(names(mark for mark in chosen if mark in used))

        async with anyio.create_task_group() as tasks:
            for step in plan:
                tasks.start_soon(play, step)
        line.failing.clear()
        last, used = every[-1]
        await last.keep([last])
        assert set(line.running) <= set(used)
        for mark in used:
            assert (await last.call(f"{mark[0]}:x")(REQUEST)).message.text == mark
        assert sorted(line.running) == sorted(used)
        await last.stop()
        assert line.running == []

    anyio.run(main, backend=backend)
