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
from panel_app.data_store.seen import SeenSeries
from toolkit.errors import NotFound
from toolkit.live.stepping.sources.platform_feed import feed_name


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


def test_a_run_on_live_quotes_shows_the_bars_that_it_has_seen(seed: Any, seeding: Any) -> None:
    """Before its first bar there is none and the topic says so; then each bar that was kept is there, equal to what was seen."""
    bars = seeding.made_bars(120)
    run = seed.live_run(seed.account(), seed.version(), bars)
    store = DataStore(seed.engine, seed.home, Who(seed.user_id), interval_seconds=0.02)
    topic = store.run(run.run_id)
    assert topic.bars is None
    assert "not seen a bar" in topic.bars_missing
    for count in (50, 1, 69):
        run.advance(count)
        assert topic.poll()
        assert topic.bars is not None
        assert topic.bars.fingerprint == bars[: run.row].fingerprint
        assert topic.stop == len(topic.curve.equity) == run.row
    assert topic.bars_missing == ""


def test_a_run_on_live_quotes_reads_only_the_newest_bars_when_there_are_too_many(seed: Any, seeding: Any) -> None:
    """What is older than the newest bars that fit is left out; what comes later is added."""
    bars = seeding.made_bars(60)
    run = seed.live_run(seed.account(), seed.version(), bars)
    run.advance(40)
    who = Who(seed.user_id)
    store = DataStore(seed.engine, seed.home, who)
    row, detail = store.read.run(who, run.run_id), store.read.run_detail(who, run.run_id)
    series = SeenSeries(store.seen, who, row, detail, most=10)
    assert series.update(row.cursor)
    assert not series.update(row.cursor)
    run.advance(5)
    assert series.update(store.read.run(who, run.run_id).cursor)
    assert series.bars is not None
    assert series.bars.fingerprint == bars[30:45].fingerprint


def test_an_open_position_on_live_quotes_is_marked_at_the_last_bar_seen(seed: Any, seeding: Any) -> None:
    """The fleet's open profit of a live run is what its replayed twin shows, and moves with each bar."""
    bars = seeding.made_bars(60)
    live = seed.live_run(seed.account("live"), seed.version("Live"), bars)
    twin = seed.run(seed.account("twin"), seed.version("Twin"), bars)
    store = DataStore(seed.engine, seed.home, Who(seed.user_id))
    seen = set()
    for _ in range(3):
        live.advance(12)
        twin.advance(12)
        rows = {row.bot: row for row in _polled(store)}
        assert rows["Live"].open_profit == rows["Twin"].open_profit
        seen.add(rows["Live"].open_profit)
    assert len(seen) == 3


def _polled(store: DataStore) -> list[Any]:
    topic = store.fleet()
    topic.poll()
    return list(topic.runs)


def test_ownership_bars_that_a_foreign_run_saw_are_not_read(seed: Any, seeding: Any) -> None:
    """Whoever may not see the run gets none of the bars kept for it, though its id is known."""
    run = seed.live_run(seed.account(), seed.version(), seeding.made_bars(60))
    run.advance(40)
    store = DataStore(seed.engine, seed.home, Who(seed.user_id))
    row = store.read.run(Who(seed.user_id), run.run_id)
    feed = feed_name(store.seen.account(row.account_id))
    asked = dict(feed=feed, symbol="EURUSD", after_ns=0, until_ns=2**62, most=100)
    found = store.seen.bars(Who(seed.user_id), run.run_id, **asked)
    assert found is not None and len(found["ts"]) == 40
    assert store.seen.bars(Who(uuid4()), run.run_id, **asked) is None
