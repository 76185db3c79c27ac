"""What every session of this process shares, made when the first session needs it: the engine and its data store."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import Engine as Database

from panel_app.data_store import DataStore
from panel_app.data_store.redis_wake import RedisWake
from toolkit.errors import Forbidden
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.outside.news import news_channel, redis_is_configured
from toolkit.settings import Settings
from toolkit.store.people.accounts import find_user

_lock = Lock()
_engine: Engine | None = None
_stores: WeakKeyDictionary[Database, DataStore] = WeakKeyDictionary()


def store_of(engine: Engine) -> DataStore:
    """Return the data store over an engine's database, the same one each time; for the page and for notebooks alike."""
    with _lock:
        store = _stores.get(engine.database)
        if store is None:
            listen = _redis_wake(engine.settings) if redis_is_configured(engine.settings) else None
            store = DataStore(engine.database, engine.settings.home, engine.principal, listen=listen)
            _stores[engine.database] = store
        return store


def _redis_wake(settings: Settings) -> Callable[[Callable[[], None]], RedisWake]:
    url, channel = settings.redis_url.get_secret_value(), news_channel(settings)
    return lambda wake: RedisWake(url, channel, wake)


def shared_engine() -> Engine:
    """Return the engine of this process, built from the settings the first time; it opens no platform session."""
    from toolkit.bootstrap import build

    global _engine
    with _lock:
        if _engine is None:
            _engine = build()
        return _engine


def reader_of_session(engine: Engine) -> Principal:
    """Return the principal of the session being served: the user who logged in, else the one the process acts as.

    Raises
    ------
    NotFound
        When somebody logged in whom the toolkit does not know as a user.
    Forbidden
        When the page has users and nobody is logged in.
    """
    import panel as pn

    name = pn.state.user
    if name is None:
        if pn.config.cookie_secret is not None:
            raise Forbidden("log in first: this page was started with users")
        return engine.principal
    with engine.work(write=False) as work:
        return find_user(work.connection, name)
