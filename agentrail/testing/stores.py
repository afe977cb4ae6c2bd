"""The contract of ``SessionStore``, as tests that every implementation runs."""

from agentrail.testing._store_compact import StoreCompactContract
from agentrail.testing._store_deletions import StoreDeletionsContract
from agentrail.testing._store_lease import StoreLeaseContract
from agentrail.testing._store_log import StoreLogContract
from agentrail.testing._store_turns import StoreTurnsContract
from agentrail.testing._store_unused import StoreUnusedContract
from agentrail.testing._store_window import StoreWindowContract


class SessionStoreContract(
    StoreLogContract,
    StoreLeaseContract,
    StoreWindowContract,
    StoreCompactContract,
    StoreTurnsContract,
    StoreDeletionsContract,
    StoreUnusedContract,
):
    """Tests what ``SessionStore`` promises.

    Subclass it in a test module and override the fixture ``make``::

        class TestMyStore(SessionStoreContract):
            @pytest.fixture
            def make(self, tmp_path):
                return lambda: MyStore(tmp_path / "sessions")

    Each call of what ``make`` returns gives a store, not started yet, over the same storage: a
    second one while the first is open stands for the next life of a host that was killed.  Where
    a store tells the living from the dead, override ``crash`` too, an async method that has the
    others take a store for dead.

    The tests are ``async`` and run under anyio's pytest plugin, so the module needs
    ``pytestmark = pytest.mark.anyio`` or ``anyio_mode = "auto"``.
    """
