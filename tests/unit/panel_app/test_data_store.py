"""The data store: news reach every watcher, a slow or dying one harms nobody, and nobody watching means no work."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from threading import Event
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest

from panel_app.data_store import DataStore
from toolkit.errors import NotFound


@dataclass(frozen=True)
class Who:
    """The little that the store knows of a principal."""

    user_id: UUID


@pytest.fixture
def watched(seed: Any, seeding: Any) -> Any:
    """A store over one run of 300 bars, of which 100 have passed."""
    run = seed.run(seed.account(), seed.version(), seeding.made_bars(300))
    run.advance(100)
    store = DataStore(seed.engine, seed.home, Who(seed.user_id), interval_seconds=0.02)
    yield store, run
    store.close()


def _until(truth: Any, seconds: float = 10.0) -> None:
    end = monotonic() + seconds
    while not truth():
        assert monotonic() < end, "did not happen in time"
        sleep(0.01)


def test_nothing_runs_until_somebody_watches_and_nothing_after(watched: Any) -> None:
    """The store's thread lives exactly as long as there is a subscription."""
    store, run = watched
    topic = store.run(run.run_id)
    assert store._thread is None
    subscription = store.watch(topic, lambda: None)
    assert store._thread is not None
    subscription.close()
    subscription.close()
    _until(lambda: store._thread is None)
    assert store.watched == 0


def test_a_commit_wakes_the_watcher_and_is_there_when_it_looks(watched: Any) -> None:
    """After bars are committed the topic holds them: row, trades, intents, events and the equity curve agree."""
    store, run = watched
    woken = Event()
    subscription = store.watch(store.run(run.run_id), woken.set)
    topic = store.run(run.run_id)
    woken.clear()
    run.advance(120)
    _until(lambda: topic.row.bars_count == 220 and topic.curve.equity.size == 220)
    assert woken.is_set()
    assert topic.stop == 220
    assert len(topic.trades) == 6
    assert len(topic.intents) == 11
    assert len(topic.events) == 11
    subscription.close()


def test_two_sessions_of_one_principal_share_one_topic(watched: Any) -> None:
    """The second watcher costs no second poll: both look at the same object."""
    store, run = watched
    topic = store.run(run.run_id)
    first = store.watch(topic, lambda: None)
    second = store.watch(store.run(run.run_id), lambda: None)
    assert first.topic is second.topic is topic
    first.close()
    second.close()


def test_a_view_made_before_it_watches_is_kept_up_to_date_afterwards(watched: Any) -> None:
    """A page looks first and subscribes once its browser is ready; what it looked at is what the store then polls."""
    store, run = watched
    topic = store.run(run.run_id)
    run.advance(40)
    subscription = store.watch(topic, lambda: None)
    _until(lambda: topic.row.bars_count == 140)
    subscription.close()


def test_a_topic_that_nobody_holds_is_forgotten_and_read_anew(watched: Any) -> None:
    """Memory follows the views: without one the topic goes, and the next one sees the present."""
    store, run = watched
    topic = store.run(run.run_id)
    assert len(store._topics) == 1
    del topic
    gc.collect()
    assert len(store._topics) == 0
    run.advance(40)
    assert store.run(run.run_id).row.bars_count == 140


def test_a_watcher_that_fails_is_dropped_and_the_others_are_still_told(watched: Any) -> None:
    """A session that raises when it is woken loses its subscription; its neighbour hears of the news."""
    store, run = watched

    def broken() -> None:
        raise RuntimeError("this session is gone")

    store.watch(store.run(run.run_id), broken)
    heard = Event()
    good = store.watch(store.run(run.run_id), heard.set)
    run.advance(40)
    _until(heard.is_set)
    _until(lambda: store.watched == 1)
    good.close()


def test_a_failing_read_is_shown_and_then_forgotten(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database cannot be read the store says so; when it can again, the words go and the news arrive."""
    store, run = watched
    subscription = store.watch(store.run(run.run_id), lambda: None)
    topic = store.run(run.run_id)
    real = topic.poll
    monkeypatch.setattr(topic, "poll", lambda: (_ for _ in ()).throw(OSError("disk gone")))
    _until(lambda: "cannot be read" in store.failure)
    monkeypatch.setattr(topic, "poll", real)
    run.advance(40)
    _until(lambda: store.failure == "" and topic.row.bars_count == 140)
    subscription.close()


def test_ownership_a_run_of_somebody_else_cannot_be_watched(watched: Any) -> None:
    """A principal without the account gets NotFound, and the store keeps nothing of the attempt."""
    store, run = watched
    with pytest.raises(NotFound):
        store.run(run.run_id, Who(uuid4()))
    assert store.watched == 0


def test_the_fleet_shows_the_open_profit_at_the_last_bar(watched: Any) -> None:
    """A run with an open position carries its profit at the close of the run's last bar, in money's own digits."""
    store, run = watched
    run.advance(15)  # bar 90 opened a position, bar 115 would close it
    (row,) = store.fleet().runs
    (trade,) = store.read.trades(store.principal, only_open=True)
    close = run.bars.instrument.price(
        int(run.bars.bid_close[run.row - 1] if trade.side == "BUY" else run.bars.ask_close[run.row - 1])
    )
    sign = 1 if trade.side == "BUY" else -1
    assert row.open_profit == ((close - trade.entry_price) * sign * trade.lots * 100_000).quantize(row.realised)
    assert row.equity == row.capital + row.realised + row.open_profit
    assert row.marked
