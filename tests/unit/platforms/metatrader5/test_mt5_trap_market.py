"""Traps of time, bars and facts: server wall clock (7), the forming bar and late revisions (12), symbols and their facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mt5_terminal import BUY, START, TAG, D, adapter, deal_request, venue

from toolkit.clock import ManualClock, from_ns, to_ns
from toolkit.errors import ReadFailed, UnknownSymbol
from toolkit.execution.ports import OpenOrder, OrderType, Outcome
from toolkit.market import Side, find_instrument, sample_bars
from toolkit.platforms.metatrader5 import MetaTrader5Platform, convert
from toolkit.platforms.simmt5 import STRICT, SimMT5, SimMT5Platform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount


def test_mt5_trap_7_times_are_server_wall_clock(sim: SimMT5) -> None:
    """09:00 UTC in March before Europe changes is 11:00 on New York + 7; the adapter gives UTC back."""
    tick = sim.symbol_info_tick("EURUSD")
    assert tick.time == int(START.timestamp()) + 2 * 3600
    at = adapter(sim)
    assert at.quote("EURUSD").ts == START
    at.send(BUY)
    assert at.book().positions[0].opened_at == START
    summer = START + timedelta(days=10)
    sim.platform.push_quote("EURUSD", D("1.1"), D("1.1"), summer)
    assert sim.symbol_info_tick("EURUSD").time == int(summer.timestamp()) + 3 * 3600
    assert at.quote("EURUSD").ts == summer


def test_mt5_trap_7_history_is_asked_in_server_time_with_room(sim: SimMT5) -> None:
    """A deal of this second is found although the server's clock runs hours ahead."""
    at = adapter(sim)
    at.send(BUY)
    assert len(at.history(START, START).deals) == 1
    assert at.history(START + timedelta(seconds=1), START + timedelta(hours=9)).deals == ()
    naive = sim.history_deals_get(START - timedelta(hours=1), START + timedelta(hours=1))
    assert [d for d in naive or () if d.type < 2] == []  # what asking in UTC would have missed


def test_mt5_trap_7_expiration_is_sent_in_server_time(sim: SimMT5) -> None:
    """The expiry of a pending order comes back as the UTC moment asked for."""
    at = adapter(sim)
    until = START + timedelta(hours=3)
    at.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09"), expires_at=until))
    assert at.book().orders[0].expires_at == until


def test_mt5_trap_12_forming_bar_is_position_0_and_never_closed(tmp_path: Path) -> None:
    """The bar under way is the last row; the adapter leaves it out until a newer one has opened."""
    bars = sample_bars("EURUSD", "H1")[:50]
    at = SimMT5Platform(SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 10_000), checks=STRICT))
    at.load_replay("EURUSD", bars)
    at.connect()
    at.advance_clock_to(from_ns(int(bars.ts[9])))
    rates = at.terminal.copy_rates_from_pos("EURUSD", at.terminal.TIMEFRAME_H1, 0, 3)
    assert rates["high"][-1] == rates["low"][-1] == rates["open"][-1] == bars.open[9]
    closed = at.closed_bars("EURUSD", "H1", None, 100)
    assert closed.ts.tolist() == bars.ts[:9].tolist()
    assert all((column == bars[:9].columns[name]).all() for name, column in closed.columns.items())
    assert at.closed_bars("EURUSD", "H1", from_ns(int(bars.ts[3])), 2).ts.tolist() == bars.ts[4:6].tolist()
    assert len(at.closed_bars("EURUSD", "H1", from_ns(int(bars.ts[8])), 2)) == 0
    at.close()


def test_mt5_trap_12_check_that_passes_promises_nothing(tmp_path: Path) -> None:
    """``order_check`` says 0 and the server refuses all the same: its answer counts, and only once was anything sent."""
    with venue(tmp_path, faults=FaultScript([Fault(FaultKind.REJECT, on="open")])) as paper:
        sim = SimMT5(paper)
        at = adapter(sim)
        assert sim.order_check(deal_request()).retcode == 0
        assert at.send(BUY).outcome is Outcome.FINAL
        assert paper.venue.state.sends["any"] == 1


def test_mt5_trap_12_late_revision_of_a_closed_bar_is_reported(tmp_path: Path) -> None:
    """A bar that changed after it was handed out is named once."""
    bars = sample_bars("EURUSD", "H1")[:50]
    at = SimMT5Platform(SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 10_000), checks=STRICT))
    at.load_replay("EURUSD", bars)
    at.connect()
    at.advance_clock_to(from_ns(int(bars.ts[9])))
    at.closed_bars("EURUSD", "H1", None, 100)
    real = at.terminal.copy_rates_range

    def revised(*arguments: Any) -> Any:
        rates = real(*arguments).copy()
        rates["high"][0] += 0.0005
        return rates

    at.terminal.copy_rates_range = revised  # type: ignore[method-assign]
    at.advance_clock_to(from_ns(int(bars.ts[11])))
    after = from_ns(int(bars.ts[8]))
    assert len(at.closed_bars("EURUSD", "H1", after, 100)) == 2
    at.closed_bars("EURUSD", "H1", after, 100)
    assert len(at.revisions) == 1 and "changed after it had closed" in at.revisions[0]
    at.close()


def test_mt5_symbol_table_and_suffix_name_the_same_symbol(tmp_path: Path) -> None:
    """Orders, positions and quotes carry our name; the server sees its own."""
    with venue(tmp_path) as paper:
        sim = SimMT5(paper, suffix=".pro")
        at = adapter(sim, suffix=".pro")
        at.send(BUY)
        assert sim.positions_get()[0].symbol == "EURUSD.pro"  # type: ignore[index]
        assert at.book().positions[0].symbol == "EURUSD"
        with pytest.raises(UnknownSymbol, match="suffix"):
            adapter(sim).instrument("EURUSD")


@pytest.mark.parametrize("suffix", [".r", "m", "#", "_i", ".pro"])
def test_mt5_any_suffix_is_taken_off_and_put_on(tmp_path: Path, suffix: str) -> None:
    """Quotes, orders and positions go by our name whatever the server's names end on."""
    with venue(tmp_path) as paper:
        at = adapter(SimMT5(paper, suffix=suffix), suffix=suffix)
        assert at.server_name("EURUSD") == f"EURUSD{suffix}" and at.quote("EURUSD").bid == D("1.1")
        assert at.send(BUY).outcome is Outcome.DONE
        assert at.book().positions[0].symbol == at.deals_of(at.book().positions[0].position_id)[0].symbol == "EURUSD"


def test_mt5_position_of_a_person_in_a_symbol_without_our_suffix_does_not_blind_us(tmp_path: Path) -> None:
    """A symbol outside the account's naming keeps its own name in book and history, and ours is not mistaken for it."""
    account = PaperAccount("USD", 10_000)
    facts = [find_instrument("EURUSD"), replace(find_instrument("EURUSD"), symbol="PLAIN"),
             replace(find_instrument("EURUSD"), symbol="US500")]  # fmt: skip
    with SimulatedPlatform(tmp_path / "v.sqlite", account, facts, checks=STRICT) as paper:
        for symbol in ("EURUSD", "PLAIN", "US500"):
            paper.push_quote(symbol, D("1.10000"), D("1.10010"), START)
        # at the server: EURUSD.r is ours, and there are a plain EURUSD and a US500 that a person trades
        sim = SimMT5(paper, names={"EURUSD": "EURUSD.r", "PLAIN": "EURUSD"})
        sim.initialize()
        at = adapter(sim, suffix=".r")
        sim.order_send(deal_request(symbol="US500", magic=0, comment="by hand"))
        sim.order_send(deal_request(symbol="EURUSD", magic=0, comment="by hand"))
        at.send(BUY)
        assert [p.symbol for p in at.book().positions] == ["US500", "EURUSD*", "EURUSD"]
        assert [d.symbol for d in at.history(START, START).deals] == ["US500", "EURUSD*", "EURUSD"]
        assert at.server_name("EURUSD") == "EURUSD.r"


def test_mt5_history_in_a_symbol_that_is_gone_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was traded before the server dropped a symbol neither stops the read nor is told twice."""
    account = PaperAccount("USD", 10_000)
    old = replace(find_instrument("EURUSD"), symbol="OLD")
    with SimulatedPlatform(tmp_path / "v.sqlite", account, [find_instrument("EURUSD"), old], checks=STRICT) as paper:
        for symbol in ("EURUSD", "OLD"):
            paper.push_quote(symbol, D("1.10000"), D("1.10010"), START)
        sim = SimMT5(paper)
        sim.initialize()
        ticket = sim.order_send(deal_request(symbol="OLD")).order
        sim.order_send(deal_request(symbol="OLD", type=1, position=ticket, price=1.1))
        at = adapter(sim)
        at.send(BUY)
        sim.server.gone.add("OLD")
        for _ in range(2):
            assert [d.symbol for d in at.history(START, START).deals] == ["EURUSD"]
        assert caplog.text.count("no such symbol any more") == 1


def test_mt5_instrument_facts_equal_the_packaged_ones(sim: SimMT5) -> None:
    """The facts read from the terminal are those it was made from, in every field."""
    assert adapter(sim).instrument("EURUSD") == find_instrument("EURUSD")


def test_mt5_three_routes_to_the_pip_value_agree(sim: SimMT5) -> None:
    """Tick value, profit calculation and contract arithmetic give 10 USD a pip and lot."""
    at = adapter(sim)
    value = at.point_value("EURUSD")
    assert value is not None and value * 10 == D("10.0")
    assert at.profit("EURUSD", Side.BUY, D(1), D("1.1"), D("1.1001")) == D("10.00")


def test_mt5_volumes_of_floats_are_whole_steps() -> None:
    """0.1 + 0.2 lots as the package gives them is 0.30, not 0.29."""
    assert convert.lots(0.1 + 0.2, find_instrument("EURUSD")) == D("0.30")
    assert convert.lots(0.29999999999999993, find_instrument("EURUSD")) == D("0.30")


def test_mt5_now_is_this_machines_utc(sim: SimMT5) -> None:
    """The adapter's clock is the one it was given."""
    login, server, _ = sim.logged_in
    clock = ManualClock(START)
    at = MetaTrader5Platform(sim, login=login, server=server, clock="UTC", utc=clock)
    clock.advance(5)
    assert at.now() == START + timedelta(seconds=5)
    assert from_ns(0).tzinfo is UTC


def test_mt5_ticks_are_in_utc_whole_and_within_the_span(tmp_path: Path) -> None:
    """The server's wall milliseconds become UTC over a week with a clock change; a symbol that is gone is a failed read."""
    bars = sample_bars("EURUSD", "H1")[:2_000]
    server = SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 10_000), checks=STRICT)
    at = SimMT5Platform(server, suffix=".r", clock="New York + 7")
    at.load_replay("EURUSD", bars)
    at.advance_clock_to(from_ns(int(bars.ts[1_900])))
    at.connect()
    change = int(bars.ts.searchsorted(to_ns(datetime(2017, 3, 12, tzinfo=UTC))))
    first, last = change - 40, change + 40
    found = at.ticks("EURUSD", from_ns(int(bars.ts[first])), from_ns(int(bars.ts[last])))
    facts = bars.instrument
    assert [q.ts for q in found] == [from_ns(ns) for ns in bars.ts[first : last + 1].tolist()]
    assert [(facts.to_points(q.bid), facts.to_points(q.ask)) for q in found] == list(
        zip(bars.bid_open[first : last + 1].tolist(), bars.ask_open[first : last + 1].tolist(), strict=True)
    )
    newest = at.ticks("EURUSD", from_ns(int(bars.ts[1_899])), at.now())
    assert [q.ts for q in newest] == [from_ns(int(bars.ts[1_899])), from_ns(int(bars.ts[1_900]))]
    at.terminal.copy_ticks_range = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(ReadFailed, match="ticks of EURUSD"):
        at.ticks("EURUSD", from_ns(int(bars.ts[first])), at.now())
    at.close()
