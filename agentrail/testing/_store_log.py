"""The log: numbers, atomicity, owners, what may stand in it."""

from typing import cast

import anyio
import anyio.lowlevel
import pytest

from agentrail.errors import AgentMismatch, AgentrailError, SessionNotFound
from agentrail.events import Event, MessageDelta, MessageRecorded, ToolStart
from agentrail.messages import Message
from agentrail.session import Owner, SessionStore
from agentrail.testing._store_base import OWNER, StoreContract, keep, said, whole_turn

STRANGERS = [Owner("other", "user", "agent"), Owner("tenant", "other", "agent")]

TEXTS = [
    "",
    "plain",
    "nul \x00 inside",
    "emoji \U0001f600 and e\u0301",
    "\u202eleft\u202c",
    "\r\n\t",
]


class StoreLogContract(StoreContract):
    """What the log promises."""

    async def test_events_are_numbered_from_1_without_gaps(self, store: SessionStore) -> None:
        """Across leases too, and read in that order."""
        lease = await store.acquire("s", OWNER, events=[said("a"), said("b")])
        first = [*lease.opening, *await store.append(lease, [said("c")])]
        store.release(lease)
        lease = await store.acquire("s", OWNER, events=[said("d")])
        rest = [*lease.opening, *await store.append(lease, whole_turn("t"))]

        assert [event.id for event in first] == [1, 2, 3]
        assert [event.id for event in rest] == [4, 5, 6, 7, 8]
        assert lease.head == rest[-1].id
        assert list(await store.read("s")) == [*first, *rest]

    async def test_events_come_back_as_they_were(self, store: SessionStore) -> None:
        """All but the number."""
        arguments: dict[str, object] = {"text": "é", "list": [1, 2.5, None, True], "deep": {"x": 1}}
        event = ToolStart(
            turn_id="t", session_id="s", step=3, depth=1, call_id="c", name="n", arguments=arguments
        )

        await keep(store, "s", event)

        (read,) = await store.read("s")
        assert isinstance(read, ToolStart)
        assert (read.turn_id, read.session_id, read.step, read.depth) == ("t", "s", 3, 1)
        assert (read.call_id, read.name, read.arguments) == ("c", "n", arguments)

    async def test_a_failing_append_writes_nothing(self, store: SessionStore) -> None:
        """And leaves the lease as it was."""
        lease = await store.acquire("s", OWNER, events=[said("a")])

        with pytest.raises((TypeError, ValueError, AgentrailError)):
            await store.append(lease, [said("b"), cast("Event", object())])

        assert [event.id for event in await store.read("s")] == [1]
        written = await store.append(lease, [said("c")])
        assert [event.id for event in written] == [lease.head] == [2]

    async def test_a_failing_acquire_writes_nothing_and_holds_nothing(
        self, store: SessionStore
    ) -> None:
        """Not even the session is made."""
        with pytest.raises((TypeError, ValueError, AgentrailError)):
            await store.acquire("s", OWNER, events=[said("a"), cast("Event", object())])

        assert await store.find("s") is None
        lease = await store.acquire("s", OWNER, events=[said("b")], wait=0)
        assert lease.created
        assert [event.id for event in lease.opening] == [1]

    async def test_appending_nothing_writes_nothing(self, store: SessionStore) -> None:
        """And numbers nothing."""
        lease = await store.acquire("s", OWNER)

        assert await store.append(lease, []) == ()
        assert lease.head == 0
        assert list(await store.read("s")) == []

    async def test_the_log_is_read_in_pages(self, store: SessionStore) -> None:
        """By the last number that was seen."""
        await keep(store, "s", *[said(f"{number}") for number in range(1, 8)])

        pages = [await store.read("s", after=after, limit=3) for after in (0, 3, 6, 7, 99)]

        assert [[event.id for event in page] for page in pages] == [
            [1, 2, 3],
            [4, 5, 6],
            [7],
            [],
            [],
        ]

    async def test_an_unknown_session_has_no_log(self, store: SessionStore) -> None:
        """Asking for it is no error and makes nothing."""
        assert await store.find("nobody") is None
        assert list(await store.read("nobody")) == []
        assert list(await store.messages("nobody")) == []
        assert await store.window("nobody", 1000) == ()
        assert await store.turn("nothing") is None
        assert await store.find("nobody") is None

    async def test_a_session_belongs_to_who_made_it(self, store: SessionStore) -> None:
        """Strangers are told that there is none, and nothing is written for them."""
        await keep(store, "s", said("a"))

        for stranger in STRANGERS:
            with pytest.raises(SessionNotFound):
                await store.acquire("s", stranger, events=[said("b")])
        with pytest.raises(AgentMismatch):
            await store.acquire("s", Owner("tenant", "user", "other"), events=[said("b")])

        assert await store.find("s") == OWNER
        assert len(await store.read("s")) == 1
        lease = await store.acquire("s", OWNER, wait=0)
        assert not lease.created

    async def test_a_stranger_does_not_wait_in_line(self, store: SessionStore) -> None:
        """They are told at once, while the owner's turn runs."""
        await store.acquire("s", OWNER)

        for stranger in STRANGERS:
            with pytest.raises(SessionNotFound):
                await store.acquire("s", stranger, wait=0)

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_is_kept(self, store: SessionStore, text: str) -> None:
        """Unchanged."""
        lease = await store.acquire("s", OWNER, events=[said(text)])
        await store.append(lease, [MessageDelta(text=text)])

        message, delta = await store.read("s")

        assert isinstance(message, MessageRecorded)
        assert message.message.text == text
        assert isinstance(delta, MessageDelta)
        assert delta.text == text

    async def test_half_a_surrogate_pair_breaks_nothing(self, store: SessionStore) -> None:
        """It is kept, or replaced by U+FFFD; what ``append`` returns is what is read."""
        half = MessageRecorded(message=Message.user("a \ud83d b"), tokens=5)
        lease = await store.acquire("s", OWNER, events=[said("before")])

        written = await store.append(lease, [half, MessageDelta(text="\udcff")])

        _, message, delta = await store.read("s")
        assert (message, delta) == written
        assert isinstance(message, MessageRecorded)
        assert message.message.text.replace("\ud83d", "\ufffd") == "a \ufffd b"
        assert [entry.seq for entry in await store.messages("s")] == [2, 1]
        assert await store.window("s", 1000) != ()

    async def test_a_megabyte_is_kept(self, store: SessionStore) -> None:
        """In one message."""
        text = "0123456789abcdé\n" * 65_536
        await keep(store, "s", said(text))

        (message,) = await store.window("s", 10_000_000)

        assert message.text == text

    async def test_many_sessions_are_written_at_the_same_time(self, store: SessionStore) -> None:
        """Each log on its own is whole."""

        async def _write(name: str) -> None:
            lease = await store.acquire(name, OWNER, events=[said(name)])
            for number in range(5):
                await store.append(lease, [said(f"{name}.{number}"), MessageDelta(text=name)])
            store.release(lease)

        names = [f"s{number}" for number in range(20)]
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(_write, name)

        for name in names:
            events = await store.read(name)
            assert [event.id for event in events] == list(range(1, 12))
            texts = [e.message.text for e in events if isinstance(e, MessageRecorded)]
            assert texts == [name, *[f"{name}.{number}" for number in range(5)]]

    async def test_one_lease_may_be_written_to_by_several_tasks(self, store: SessionStore) -> None:
        """Their events do not mix within one append."""
        lease = await store.acquire("s", OWNER)

        async def _write(name: str) -> None:
            for _ in range(5):
                pair = await store.append(lease, [said(name), said(name)])
                assert pair[1].id == pair[0].id + 1

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(_write, f"{number}")

        events = await store.read("s")
        assert [event.id for event in events] == list(range(1, 51))
        assert lease.head == events[-1].id
        texts = [e.message.text for e in events if isinstance(e, MessageRecorded)]
        assert texts[::2] == texts[1::2]

    async def test_a_cancelled_append_is_whole_or_absent(self, store: SessionStore) -> None:
        """Whole exactly when it returned, so that nothing is written twice."""
        lease = await store.acquire("s", OWNER)
        returned: list[int] = []

        async def _write(name: str) -> None:
            await store.append(lease, [said(name), said(name)])
            returned.append(int(name))

        for round_number in range(10):
            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(_write, f"{4 * round_number + number}")
                if round_number % 2:
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

        events = await store.read("s")
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        texts = [e.message.text for e in events if isinstance(e, MessageRecorded)]
        assert sorted(map(int, texts[::2])) == sorted(returned)
        assert texts[::2] == texts[1::2]
