"""Redis as a wake-up of the page's store: quicker with it, right without it."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from panel_app.context import store_of
from panel_app.data_store.redis_wake import RedisWake
from toolkit.bootstrap import build
from toolkit.live.outside.news import NewsBell, news_channel, redis_is_configured
from toolkit.settings import Settings
from toolkit.store.sql.models import User

DEADLINE = 20.0


def _until(truth: Any) -> None:
    end = monotonic() + DEADLINE
    while not truth():
        assert monotonic() < end, "did not happen in time"
        sleep(0.01)


def test_redis_hint_makes_the_store_look_long_before_its_own_turn(redis_url: str, tmp_path: Path) -> None:
    """A store that would poll once an hour shows a row that another process committed within seconds."""
    settings = Settings(home=tmp_path, redis_url=redis_url)
    writer, reader = build(settings), build(settings)
    store = store_of(reader)
    store.interval_seconds = 3600.0
    topic = store.listing("users", store.operations.users)
    woken = Event()
    subscription = store.watch(topic, woken.set)
    _until(lambda: store.polled_at is not None)  # the first hint is the subscription itself
    before = len(topic.rows)  # type: ignore[arg-type]
    sleep(1.1)  # a list is read at most once a second
    with writer.work() as work:
        work.connection.execute(User.__table__.insert().values(
            user_id=uuid4(), name="news", kind="human", role="viewer", created_at=writer.now()))  # fmt: skip
        work.commit()
    _until(lambda: len(topic.rows) == before + 1)  # type: ignore[arg-type]
    assert woken.is_set()
    subscription.close()
    store.close()
    writer.close()
    reader.close()


def test_redis_that_is_gone_wakes_nobody_and_stops_nobody(tmp_path: Path) -> None:
    """With nothing listening on the address a commit is as quick as ever, and the store still polls."""
    settings = Settings(home=tmp_path, redis_url="redis://127.0.0.1:9/0")
    engine = build(settings)
    store = store_of(engine)
    store.interval_seconds = 0.05
    subscription = store.watch(store.listing("users", store.operations.users), lambda: None)
    begun = monotonic()
    with engine.work() as work:
        work.connection.execute(User.__table__.update().values(role="admin"))
        work.commit()
    assert monotonic() - begun < 1.0
    _until(lambda: store.polled_at is not None)
    assert store.failure == ""
    subscription.close()
    store.close()
    engine.close()


def test_redis_hints_of_another_database_are_not_heard(redis_url: str, tmp_path: Path) -> None:
    """Two installations on one Redis do not wake each other; many commits in a row are few hints."""
    heard: list[float] = []
    mine, other = (Settings(home=tmp_path / name, redis_url=redis_url) for name in ("mine", "other"))
    wake = RedisWake(redis_url, news_channel(mine), lambda: heard.append(monotonic()))
    assert wake.listening.wait(DEADLINE)
    stranger, friend = NewsBell(redis_url, news_channel(other)), NewsBell(redis_url, news_channel(mine))
    begun = len(heard)
    stranger.ring()
    sleep(0.3)
    assert len(heard) == begun
    for _ in range(1000):
        friend.ring()
    _until(lambda: len(heard) > begun)
    sleep(0.3)
    assert len(heard) - begun <= 5
    for part in (wake, stranger, friend):
        part.close()


def test_redis_of_the_default_address_is_not_taken_for_one_that_is_configured(tmp_path: Path) -> None:
    """Only an address that was given, or a gateway on Redis, makes processes talk to Redis."""
    assert not redis_is_configured(Settings(home=tmp_path))
    assert redis_is_configured(Settings(home=tmp_path, redis_url="redis://127.0.0.1:6379/1"))
    assert redis_is_configured(Settings(home=tmp_path, gateway="redis", signing_key="k1:" + "0" * 64))
