"""The guardrail gauges: each full exactly when its rule denies the next entry, and never a guess."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from panel_app.data_store import DataStore, RunTopic
from panel_app.views.run_tabs.gauges import Gauge, gauges
from tests.unit.panel_app.test_data_store import Who
from toolkit import clock
from toolkit.store.sql import models as m


def _topic(seed: Any, seeding: Any, rows: int = 250, mark: tuple[str, str] | None = None, **limits: Any) -> RunTopic:
    bars = seeding.made_bars(300)
    run = seed.run(seed.account(), seed.version(), bars, guards_json=json.dumps(limits))
    run.advance(rows)
    if mark is not None:
        day = seeding.at(bars, rows - 1) - timedelta(days=2)
        seed.add(
            [m.EquityMark(account_id=run.account_id, scope=str(run.run_id), day=day, base_equity=Decimal(mark[0]),
                          peak_equity=Decimal(mark[1]), updated_at=clock.now())]
        )  # fmt: skip
    store = DataStore(seed.engine, seed.home, Who(seed.user_id))
    return store.run(run.run_id)


def _only(topic: RunTopic) -> Gauge:
    (found,) = gauges(topic)
    return found


def test_drawdown_is_measured_from_the_highest_start_of_a_day(seed: Any, seeding: Any) -> None:
    """Half the allowed fall from the peak fills half the gauge; the whole of it, or more, fills it."""
    topic = _topic(seed, seeding, mark=("10000", "20000"), drawdown_percent="50")
    fallen = (Decimal(20000) - topic.row.equity) / Decimal(20000) * 100
    gauge = _only(topic)
    assert gauge.used == float(fallen / 50)
    assert "20,000" in gauge.limit
    assert topic.row.day_base == Decimal(10000)


def test_drawdown_that_was_reset_is_said_to_be_measured_anew(seed: Any, seeding: Any) -> None:
    """A peak of zero is a reset: no share is shown, and no fall is made up."""
    gauge = _only(_topic(seed, seeding, mark=("10000", "0"), drawdown_percent="5"))
    assert gauge.used is None
    assert "anew" in gauge.left


@pytest.mark.parametrize(("limit", "used"), [(1, 1.0), (2, 0.5)])
def test_open_positions_are_counted_over_all_symbols(seed: Any, seeding: Any, limit: int, used: float) -> None:
    """One open position of one allowed is full, of two it is half."""
    gauge = _only(_topic(seed, seeding, rows=255, max_open=limit))
    assert gauge.used == used
    assert ("denied" in gauge.left) is (limit == 1)


def test_lots_and_exposure_count_what_is_open_at_the_last_close(seed: Any, seeding: Any) -> None:
    """0.10 of 0.40 lots is a quarter; exposure is its value in the account's currency over equity."""
    topic = _topic(seed, seeding, rows=255, max_lots="0.4", max_exposure="2")
    lots, exposure = gauges(topic)
    assert lots.used == pytest.approx(0.25)
    bars = topic.bars
    assert bars is not None
    value = Decimal("0.10") * 100_000 * bars.instrument.price(int(bars.bid_close[topic.stop - 1]))
    assert exposure.used == pytest.approx(float(value / topic.row.equity / 2))


def test_losses_in_a_row_are_those_since_the_day_began(seed: Any, seeding: Any) -> None:
    """Only the newest losing trades of the present day count; a day that began after them leaves none."""
    topic = _topic(seed, seeding, mark=("10000", "10000"), max_consecutive_losses=3)
    assert topic.day is not None
    closed = sorted((t for t in topic.trades if t.exit_time), key=lambda t: t.exit_time, reverse=True)
    expected = 0
    for trade in closed:
        if trade.exit_time < topic.day.day or trade.net >= 0:
            break
        expected += 1
    assert _only(topic).used == expected / 3
    topic.day = replace(topic.day, day=closed[0].exit_time + timedelta(hours=1))
    assert _only(topic).used == 0.0


def test_trading_hours_are_read_by_the_market_time(seed: Any, seeding: Any) -> None:
    """Inside its hours the gauge is empty, outside it is full."""
    topic = _topic(seed, seeding, trading_hours="Mon-Sun 00:00-24:00 UTC")
    assert _only(topic).used == 0.0
    hour = topic.row.cursor.hour
    shut = f"Mon-Sun {(hour + 2) % 22:02d}:00-{(hour + 2) % 22 + 1:02d}:00 UTC"
    object.__setattr__(topic.detail, "guards_json", json.dumps({"trading_hours": shut}))
    assert _only(topic).used == 1.0


def test_a_rule_that_this_page_does_not_know_is_still_listed(seed: Any, seeding: Any) -> None:
    """A guard of a newer toolkit appears with its limit and no share."""
    gauge = _only(_topic(seed, seeding, max_moon_phase=uuid4().hex))
    assert gauge.used is None
    assert gauge.rule == "max moon phase"
