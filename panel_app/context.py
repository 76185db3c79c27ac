"""What every session of this process shares, made when the first session needs it: settings, database, data store."""

from __future__ import annotations

from threading import Lock

from panel_app.data_store import DataStore
from toolkit.settings import Settings
from toolkit.store.accounts import LOCAL_USER, find_user
from toolkit.store.engine import make_engine
from toolkit.store.queries import Reader

_lock = Lock()
_store: DataStore | None = None


def open_store(settings: Settings | None = None, *, user: str = LOCAL_USER) -> DataStore:
    """Return a data store on the database of the settings, looking as that user.

    Raises
    ------
    NotFound
        When there is no such user yet: nothing was ever run here.
    """
    settings = settings or Settings()
    engine = make_engine(settings.effective_database_url)
    with engine.connect() as connection:
        principal = find_user(connection, user)
    return DataStore(engine, settings.home, principal)


def shared_store() -> DataStore:
    """Return the one data store of this process."""
    global _store
    with _lock:
        if _store is None:
            _store = open_store()
        return _store


def reader_of_session(store: DataStore) -> Reader:
    """Return the principal of the session being served: the user who logged in, else the store's own."""
    return store.principal
