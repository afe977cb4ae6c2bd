"""A database whose writer stands still at a statement, while the test does something else."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import anyio.to_thread
from attrs import define, field

from agentrail.session import SQLiteSessionStore


@define(eq=False)
class Held:
    """The writer of a store, which stands still at its next statement of a kind."""

    statement: str
    """How the statement begins."""
    _entered: threading.Event = field(factory=threading.Event)
    _let_go: threading.Event = field(factory=threading.Event)

    def __call__(self, statement: str) -> None:
        """Be told of a statement that is about to run, in the writer's thread."""
        if statement.lower().startswith(self.statement) and not self._entered.is_set():
            self._entered.set()
            assert self._let_go.wait(30)

    async def there(self) -> None:
        """Return when the writer stands there."""
        assert await anyio.to_thread.run_sync(self._entered.wait, 30)

    def let_go(self) -> None:
        """Let the writer go on."""
        self._let_go.set()


@contextmanager
def held(store: SQLiteSessionStore, statement: str = "begin immediate") -> Generator[Held]:
    """Hold the store's writer at a statement; by default before it does anything."""
    writer = Held(statement)
    store._database._writer.set_trace_callback(writer)
    try:
        yield writer
    finally:
        writer.let_go()
