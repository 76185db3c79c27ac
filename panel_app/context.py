"""What every session of this process shares, made when the first session needs it: the engine and its data store."""

from __future__ import annotations

from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import Engine as Database

from panel_app.data_store import DataStore
from toolkit.live.engine import Engine
from toolkit.store.queries import Reader

_lock = Lock()
_engine: Engine | None = None
_stores: WeakKeyDictionary[Database, DataStore] = WeakKeyDictionary()


def store_of(engine: Engine) -> DataStore:
    """Return the data store over an engine's database, the same one each time; for the page and for notebooks alike."""
    with _lock:
        store = _stores.get(engine.database)
        if store is None:
            store = DataStore(engine.database, engine.settings.home, engine.principal)
            _stores[engine.database] = store
        return store


def shared_engine() -> Engine:
    """Return the engine of this process, built from the settings the first time; it opens no platform session."""
    from toolkit.bootstrap import build

    global _engine
    with _lock:
        if _engine is None:
            _engine = build()
        return _engine


def shared_store() -> DataStore:
    """Return the one data store of this process."""
    return store_of(shared_engine())


def reader_of_session(store: DataStore) -> Reader:
    """Return the principal of the session being served: the user who logged in, else the store's own."""
    return store.principal
