"""Fill rules as the paper venue carries them out, and its equality with a plain bar-by-bar walk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.clock import from_ns
from toolkit.errors import ConversionRateMissing, PlatformError, ReadFailed
from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    Outcome,
)
from toolkit.market import Bars, Instrument, Side, find_instrument
from toolkit.platforms.simulated import FaultScript, SimulatedPlatform
from toolkit.simulation import rules
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = ClientTag("q1" + "a" * 26, 7)


def make_bars(rows: list[tuple[int, int, int, int]], spread: int = 10, symbol: str = "EURUSD") -> Bars:
    """Build hourly bars from bid open, high, low, close in points."""
    table = np.array(rows, dtype=np.int64).T
    ts = np.array([round((START + i * HOUR).timestamp()) * 10**9 for i in range(len(rows))], dtype=np.int64)
    names = ("open", "high", "low", "close")
    columns = {f"bid_{n}": table[k] for k, n in enumerate(names)}
    columns |= {f"ask_{n}": table[k] + spread for k, n in enumerate(names)}
    return Bars.from_arrays(symbol, "H1", ts, **columns, instrument=facts_of(symbol))


def facts_of(symbol: str) -> Instrument:
    """Return contract facts of an FX pair, EURUSD's but for the names; yen pairs have three decimals."""
    names: dict[str, object] = {"symbol": symbol, "base_currency": symbol[:3], "quote_currency": symbol[3:]}
    if symbol.endswith("JPY"):
        names |= {"pip_size": "0.01", "digits": 3}
    return Instrument.from_facts(find_instrument("EURUSD").facts() | names)


def open_venue(path: Path, bars: Bars, account: PaperAccount | None = None, **more: object) -> SimulatedPlatform:
    """Open a venue that replays the bars."""
    venue = SimulatedPlatform(path / "venue.sqlite", account or PaperAccount("USD", 10_000), **more)  # type: ignore[arg-type]
    venue.load_replay(bars.symbol, bars)
    return venue


def market(side: Side, lots: str = "0.10", stop: str | None = None, target: str | None = None) -> OpenOrder:
    """Return a market order on EURUSD."""
    return OpenOrder(
        TAG,
        "EURUSD",
        side,
        OrderType.MARKET,
        Decimal(lots),
        stop_loss=None if stop is None else Decimal(stop),
        take_profit=None if target is None else Decimal(target),
    )


FLAT = (110_000, 110_050, 109_950, 110_000)


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "1.10010"), (Side.SELL, "1.10000")])
def test_market_order_fills_at_its_side_of_the_open_quote(tmp_path: Path, side: Side, price: str) -> None:
    """A buy pays the ask and a sell gets the bid of the bar that has just opened."""
    with open_venue(tmp_path, make_bars([FLAT] * 3)) as venue:
        venue.advance_clock_to(START + HOUR)
        result = venue.send(market(side))
        assert (result.outcome, result.price) == (Outcome.DONE, Decimal(price))
        assert venue.book().positions[0].opened_at == START + HOUR


def test_slippage_makes_entry_and_exit_worse(tmp_path: Path) -> None:
    """The account's slippage is added to a buy and taken from the sell that closes it."""
    account = PaperAccount("USD", 10_000, slippage_points=3)
    with open_venue(tmp_path, make_bars([FLAT] * 3), account) as venue:
        venue.advance_clock_to(START)
        opened = venue.send(market(Side.BUY))
        closed = venue.send(ClosePosition(TAG, str(opened.position_id)))
        assert (opened.price, closed.price) == (Decimal("1.10013"), Decimal("1.09997"))


def test_long_stop_fills_at_its_level_when_the_bid_touches_it(tmp_path: Path) -> None:
    """A long is watched on the bid; the exit is dated at the open of the bar that touched."""
    bars = make_bars([FLAT, (110_000, 110_020, 109_700, 109_900), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.BUY, stop="1.09710"))
        assert venue.advance_clock_to(START + HOUR) == 0
        assert venue.advance_clock_to(START + 2 * HOUR) == 1
        deal = venue.deals_after(None)[-1]
        assert (deal.reason, deal.price, deal.at) == ("stop_loss", Decimal("1.09710"), START + HOUR)
        assert deal.profit == Decimal("-30.00")


def test_short_stop_is_watched_on_the_ask(tmp_path: Path) -> None:
    """A short is stopped by the ask although the bid never reached the level."""
    bars = make_bars([FLAT, (110_000, 110_295, 109_990, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.SELL, stop="1.10300"))
        venue.advance_clock_to(START + 2 * HOUR)
        assert venue.deals_after(None)[-1].price == Decimal("1.10300")


def test_stop_goes_before_the_target_inside_one_bar(tmp_path: Path) -> None:
    """A bar that reaches both levels is a loss."""
    bars = make_bars([FLAT, (110_000, 110_900, 109_100, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.BUY, stop="1.09500", target="1.10500"))
        venue.advance_clock_to(START + 2 * HOUR)
        assert venue.deals_after(None)[-1].reason == "stop_loss"


def test_gap_over_the_stop_fills_at_the_open_before_anything_else_there(tmp_path: Path) -> None:
    """A position gapped over its stop is closed at the worse open and dated there."""
    bars = make_bars([FLAT, (108_000, 108_100, 107_900, 108_050), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        opened = venue.send(market(Side.BUY, stop="1.09500"))
        assert venue.advance_clock_to(START + HOUR) == 1
        deal = venue.deals_after(None)[-1]
        assert (deal.price, deal.at, deal.reason) == (Decimal("1.08000"), START + HOUR, "stop_loss")
        assert venue.send(ClosePosition(TAG, str(opened.position_id))).outcome is Outcome.ALREADY


def test_gap_over_the_target_fills_at_the_better_open(tmp_path: Path) -> None:
    """A target gapped over is paid at the open quote."""
    bars = make_bars([FLAT, (112_000, 112_100, 111_900, 112_050), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.BUY, stop="1.09500", target="1.10500"))
        venue.advance_clock_to(START + HOUR)
        deal = venue.deals_after(None)[-1]
        assert (deal.reason, deal.price) == ("take_profit", Decimal("1.12000"))


def test_fill_bar_is_watched_for_its_own_stop(tmp_path: Path) -> None:
    """The range of the bar in which a position was opened can stop it."""
    with open_venue(tmp_path, make_bars([(110_000, 110_020, 109_500, 109_600), FLAT])) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.BUY, stop="1.09700"))
        venue.advance_clock_to(START + HOUR)
        assert venue.deals_after(None)[-1].at == START


def test_last_bar_is_watched_and_then_marked_at_its_close(tmp_path: Path) -> None:
    """Past the end of the data an open position is marked at the last close, not closed."""
    with open_venue(tmp_path, make_bars([FLAT, (110_000, 110_300, 109_900, 110_200)])) as venue:
        venue.advance_clock_to(START + HOUR)
        venue.send(market(Side.BUY, lots="1"))
        venue.advance_clock_to(START + 2 * HOUR)
        position = venue.book().positions[0]
        assert position.profit == Decimal("190.00")
        assert len(venue.closed_bars("EURUSD", "H1", None, 10)) == 1


def test_commission_is_booked_on_each_side(tmp_path: Path) -> None:
    """The commission per lot and side lowers the balance at entry and at exit."""
    account = PaperAccount("USD", 10_000, commission_per_lot="3.5")
    with open_venue(tmp_path, make_bars([FLAT] * 2), account) as venue:
        venue.advance_clock_to(START)
        result = venue.send(market(Side.BUY, lots="0.10"))
        assert venue.book().account.balance == Decimal("9999.65")
        venue.send(ClosePosition(TAG, str(result.position_id)))
        deals = venue.deals_after(None)
        assert [d.commission for d in deals] == [Decimal("-0.35"), Decimal("-0.35")]
        assert venue.book().account.balance == Decimal(10_000) - Decimal("0.70") + deals[1].profit


def test_profit_converts_at_the_last_completed_close(tmp_path: Path) -> None:
    """USDJPY profit on a USD account uses the mid of the last bar that closed at or before the exit bar's open."""
    rows = [(11_000_0, 11_010_0, 10_990_0, 11_005_0), (11_005_0, 11_100_0, 11_000_0, 11_090_0), (11_090_0,) * 4]
    bars = make_bars(rows, spread=10, symbol="USDJPY")
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START + HOUR)
        entry = venue.send(
            OpenOrder(TAG, "USDJPY", Side.BUY, OrderType.MARKET, Decimal(1), take_profit=Decimal("110.560"))
        )
        assert entry.price == Decimal("110.060")
        venue.advance_clock_to(START + 2 * HOUR)
        mid = (Decimal("110.050") + Decimal("110.060")) / 2
        assert venue.deals_after(None)[-1].profit == (Decimal(50_000) / mid).quantize(Decimal("0.01"))


def test_missing_conversion_rate_is_an_error_never_one(tmp_path: Path) -> None:
    """Without a rate no position is opened whose profit could not be booked."""
    with open_venue(tmp_path, make_bars([FLAT] * 3, symbol="EURGBP")) as venue:
        venue.advance_clock_to(START + HOUR)
        opened = venue.send(OpenOrder(TAG, "EURGBP", Side.BUY, OrderType.MARKET, Decimal("0.1")))
        assert (opened.outcome, opened.code) == (Outcome.NOT_ACCEPTED, "NO_CONVERSION_RATE")
        with pytest.raises(ConversionRateMissing, match="GBP to USD"):
            venue.profit("EURGBP", Side.BUY, Decimal(1), Decimal("0.85"), Decimal("0.86"))


def test_conversion_replay_of_another_pair_is_used(tmp_path: Path) -> None:
    """A loaded GBPUSD series converts EURGBP profits into USD."""
    gbp = make_bars([(125_000,) * 4] * 4, spread=0, symbol="GBPUSD")
    with open_venue(tmp_path, make_bars([FLAT] * 4, symbol="EURGBP")) as venue:
        venue.load_replay("GBPUSD", gbp)
        venue.advance_clock_to(START + HOUR)
        venue.send(OpenOrder(TAG, "EURGBP", Side.SELL, OrderType.MARKET, Decimal(1)))
        assert venue.book().positions[0].profit == Decimal("-12.50")
        assert venue.conversion_rate("GBP", "USD").decimal == Decimal("1.25")
        with pytest.raises(ConversionRateMissing, match="USD"):
            venue.conversion_rate("GBP", "EUR")


@pytest.mark.parametrize(
    ("order_type", "side", "price", "filled"),
    [
        (OrderType.LIMIT, Side.BUY, "1.09900", "1.09900"),
        (OrderType.STOP, Side.BUY, "1.10200", "1.10200"),
        (OrderType.LIMIT, Side.SELL, "1.10100", "1.10100"),
        (OrderType.STOP, Side.SELL, "1.09800", "1.09800"),
    ],
)
def test_pending_order_fills_at_its_price_inside_a_range(
    tmp_path: Path, order_type: OrderType, side: Side, price: str, filled: str
) -> None:
    """A limit and a stop order of either side fill at their price when the range reaches it."""
    bars = make_bars([FLAT, FLAT, (110_000, 110_300, 109_700, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        placed = venue.send(OpenOrder(TAG, "EURUSD", side, order_type, Decimal("0.1"), Decimal(price)))
        assert placed.outcome is Outcome.WORKING
        assert venue.advance_clock_to(START + 2 * HOUR) == 0
        assert venue.advance_clock_to(START + 3 * HOUR) == 1
        assert venue.book().positions[0].open_price == Decimal(filled)
        assert venue.history(START, START + 3 * HOUR).orders[0].state == "filled"


def test_pending_order_gapped_over_fills_at_the_open(tmp_path: Path) -> None:
    """A stop order passed by a gap fills at the worse open."""
    bars = make_bars([FLAT, (110_500, 110_600, 110_400, 110_500), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.STOP, Decimal("0.1"), Decimal("1.10200")))
        assert venue.advance_clock_to(START + HOUR) == 1
        assert venue.book().positions[0].open_price == Decimal("1.10510")


def test_pending_order_can_be_stopped_in_the_bar_that_filled_it(tmp_path: Path) -> None:
    """A buy limit whose stop lies within the same range is a loss in that bar; its target there does not count."""
    bars = make_bars([FLAT, (110_000, 110_900, 109_000, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(
            OpenOrder(
                TAG,
                "EURUSD",
                Side.BUY,
                OrderType.LIMIT,
                Decimal("0.1"),
                Decimal("1.09800"),
                Decimal("1.09200"),
                Decimal("1.10200"),
            )
        )
        assert venue.advance_clock_to(START + 2 * HOUR) == 2
        assert [d.reason for d in venue.deals_after(None)] == ["", "stop_loss"]


def test_expired_order_does_not_fill_in_the_bar_of_its_end(tmp_path: Path) -> None:
    """An order that expires inside a bar is no longer alive for that bar's range."""
    bars = make_bars([FLAT, (110_000, 110_300, 109_700, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        order = OpenOrder(
            TAG,
            "EURUSD",
            Side.BUY,
            OrderType.STOP,
            Decimal("0.1"),
            Decimal("1.10200"),
            expires_at=START + timedelta(minutes=90),
        )
        venue.send(order)
        assert venue.advance_clock_to(START + 2 * HOUR) == 0
        assert [o.state for o in venue.history(START, START + 2 * HOUR).orders] == ["expired"]


def test_cancelled_order_never_fills(tmp_path: Path) -> None:
    """Cancelling is final and repeating it is harmless."""
    with open_venue(tmp_path, make_bars([FLAT, (110_000, 110_300, 109_700, 110_000), FLAT])) as venue:
        venue.advance_clock_to(START)
        placed = venue.send(OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.STOP, Decimal("0.1"), Decimal("1.10200")))
        assert venue.send(CancelOrder(TAG, str(placed.order_id))).outcome is Outcome.DONE
        assert venue.send(CancelOrder(TAG, str(placed.order_id))).outcome is Outcome.ALREADY
        assert venue.advance_clock_to(START + 2 * HOUR) == 0


def test_pushed_quote_triggers_a_stop_at_the_quote(tmp_path: Path) -> None:
    """In live paper mode a stop is filled at the quote that passed it."""
    with SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 1000), [find_instrument("EURUSD")]) as venue:
        assert venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START) == 0
        venue.send(market(Side.BUY, stop="1.09900"))
        assert venue.push_quote("EURUSD", Decimal("1.09950"), Decimal("1.09960"), START + timedelta(seconds=1)) == 0
        assert venue.push_quote("EURUSD", Decimal("1.09890"), Decimal("1.09900"), START + timedelta(seconds=2)) == 1
        assert venue.deals_after(None)[-1].price == Decimal("1.09890")
        assert venue.now() == START + timedelta(seconds=2)


def test_older_pushed_quote_is_ignored(tmp_path: Path) -> None:
    """A quote that arrives out of order neither moves the price nor fills anything."""
    with SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 1000), [find_instrument("EURUSD")]) as venue:
        venue.push_quote("EURUSD", Decimal("1.10000"), Decimal("1.10010"), START)
        venue.push_quote("EURUSD", Decimal("1.00000"), Decimal("1.00010"), START - HOUR)
        assert venue.quote("EURUSD").bid == Decimal("1.10000")


@pytest.mark.parametrize("faults", [FaultScript(wrong_side=True), FaultScript(extra_slippage_points=5)])
def test_planted_fault_changes_the_fill_price(tmp_path: Path, faults: FaultScript) -> None:
    """The demo's planted faults make fills differ from the rules."""
    with open_venue(tmp_path, make_bars([FLAT] * 2), faults=faults) as venue:
        venue.advance_clock_to(START)
        result = venue.send(market(Side.BUY))
        assert result.price == (Decimal("1.10000") if faults.wrong_side else Decimal("1.10015"))


def test_advance_is_idempotent_and_never_goes_back(tmp_path: Path) -> None:
    """Moving to the same or an earlier moment changes nothing."""
    with open_venue(tmp_path, make_bars([FLAT] * 4)) as venue:
        venue.advance_clock_to(START + 2 * HOUR)
        assert venue.advance_clock_to(START + 2 * HOUR) == 0
        assert venue.advance_clock_to(START) == 0
        assert venue.now() == START + 2 * HOUR


def test_book_refuses_to_value_a_position_without_a_price(tmp_path: Path) -> None:
    """A journal opened without its replay does not pretend that open profit is zero."""
    bars = make_bars([FLAT] * 3)
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        venue.send(market(Side.BUY))
    with SimulatedPlatform(tmp_path / "venue.sqlite") as again:
        with pytest.raises(ReadFailed, match="price of EURUSD"):
            again.book()
        again.load_replay("EURUSD", bars)
        assert len(again.book().positions) == 1


def test_changed_contract_facts_are_refused(tmp_path: Path) -> None:
    """A journal does not mix deals of two contract sizes under one symbol."""
    with open_venue(tmp_path, make_bars([FLAT] * 2)):
        pass
    facts = find_instrument("EURUSD").facts() | {"contract_size": "1000"}
    other = type(find_instrument("EURUSD")).from_facts(facts)
    with pytest.raises(PlatformError, match="contract_size"):
        SimulatedPlatform(tmp_path / "venue.sqlite", None, [other])


# --- equality with a plain walk ----------------------------------------------------------------------------------------


def walk(bars: Bars, entry: int, sign: int, stop: int, target: int) -> tuple[int, int, str] | None:
    """Return bar, price and reason of the exit of a position opened at the open of ``entry``, bar by bar."""
    for i in range(entry, len(bars)):
        bid = [int(getattr(bars, f"bid_{n}")[i]) for n in ("open", "high", "low")]
        ask = [int(getattr(bars, f"ask_{n}")[i]) for n in ("open", "high", "low")]
        reason, price = (0, 0) if i == entry else rules.open_exit(sign, stop, target, bid[0], ask[0])
        if not reason:
            reason, price = rules.range_exit(sign, stop, target, *bid, *ask)
        if reason:
            return i, price, rules.EXIT_REASONS[reason]
    return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    entry=st.integers(1, 40),
    buy=st.booleans(),
    stop=st.integers(11, 400),  # beyond the spread of 10
    target=st.one_of(st.just(0), st.integers(1, 600)),
    stride=st.sampled_from([1, 7, 1000]),
)
def test_jumping_over_bars_equals_walking_them(
    tmp_path_factory: pytest.TempPathFactory, seed: int, entry: int, buy: bool, stop: int, target: int, stride: int
) -> None:
    """However far the clock jumps at once, the exit is the one a bar-by-bar walk finds."""
    draw = np.random.default_rng(seed)
    steps = draw.integers(-120, 121, size=(300, 4))
    closes = 110_000 + np.cumsum(steps[:, 0])
    opens = np.concatenate([[110_000], closes[:-1]]) + steps[:, 1] // 4
    rows = [
        (int(o), int(max(o, c) + abs(a)), int(min(o, c) - abs(b)), int(c))
        for o, c, a, b in zip(opens, closes, steps[:, 2], steps[:, 3], strict=True)
    ]
    bars = make_bars(rows)
    sign = 1 if buy else -1
    quote = rules.entry_quote(sign, int(bars.bid_open[entry]), int(bars.ask_open[entry]))
    sl, tp = rules.protection_levels(sign, quote, stop, target)
    expected = walk(bars, entry, sign, sl, tp)
    price = bars.instrument.price
    with open_venue(tmp_path_factory.mktemp("walk"), bars) as venue:
        venue.advance_clock_to(START + entry * HOUR)
        side = Side.BUY if buy else Side.SELL
        opened = venue.send(
            OpenOrder(TAG, "EURUSD", side, OrderType.MARKET, Decimal("0.1"), None, price(sl), price(tp) if tp else None)
        )
        assert opened.outcome is Outcome.DONE
        for i in range(entry, len(bars), stride):
            venue.advance_clock_to(from_ns(int(bars.ts[i])))
        venue.advance_clock_to(from_ns(int(bars.ts[-1])) + HOUR)
        exits = [d for d in venue.deals_after(None) if d.entry == "out"]
        if expected is None:
            assert exits == []
        else:
            i, at, reason = expected
            assert [(d.at, d.price, d.reason) for d in exits] == [(from_ns(int(bars.ts[i])), price(at), reason)]


def test_moved_stop_is_watched_from_then_on(tmp_path: Path) -> None:
    """After a modification the kept next event is searched anew."""
    bars = make_bars([FLAT, FLAT, FLAT, (110_000, 110_050, 109_800, 110_000), FLAT])
    with open_venue(tmp_path, bars) as venue:
        venue.advance_clock_to(START)
        opened = venue.send(market(Side.BUY, stop="1.09000"))
        assert venue.first_touch(START + 9 * HOUR) is None
        venue.advance_clock_to(START + HOUR)
        venue.send(ModifyProtection(TAG, str(opened.position_id), Decimal("1.09850"), None))
        assert venue.first_touch(START + 9 * HOUR) == START + 4 * HOUR
        assert venue.advance_clock_to(START + 5 * HOUR) == 1


@pytest.mark.parametrize("side", list(Side))
def test_entry_with_its_stop_inside_the_spread_is_refused(tmp_path: Path, side: Side) -> None:
    """The paper platform takes no stop at or beyond the quote that would close the position."""
    inside, outside = ("1.10000", "1.09999") if side is Side.BUY else ("1.10010", "1.10011")
    with open_venue(tmp_path, make_bars([FLAT] * 2)) as venue:
        venue.advance_clock_to(START)
        assert venue.send(market(side, stop=inside)).code == "INVALID_STOPS"
        assert venue.send(market(side, stop=outside)).outcome is Outcome.DONE
