"""What every platform must do, whatever stands behind it: one suite, run over all of them, hedging and netting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol, cast

import pytest

from toolkit.errors import PlatformUnavailable, UnknownSymbol
from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformDeal,
    PlatformPosition,
    TradingPlatform,
)
from toolkit.market import Instrument, Side, find_instrument
from toolkit.platforms.simctrader import SimCTraderPlatform
from toolkit.platforms.simmt5 import STRICT, SimMT5Platform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.simulation.account import PaperAccount

START = datetime(2024, 3, 5, 9, tzinfo=UTC)
D = Decimal


def facts() -> Instrument:
    """Return EURUSD's contract facts."""
    return find_instrument("EURUSD")


class Harness(Protocol):
    """A platform under test and the market around it."""

    platform: TradingPlatform
    hedging: bool

    def move(self, bid: str, ask: str) -> None:
        """Let a minute pass and the quote become this."""

    def restart(self, faults: FaultScript | None = None) -> None:
        """End the process's session and begin a new one on the same account."""

    def cut(self) -> None:
        """Take the connection away."""

    def by_hand(self, position_id: str) -> None:
        """Close a position as a person at the terminal."""


class Simulated:
    """The paper venue, driven by pushed quotes."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.hedging = mode == "hedging"
        self.account = PaperAccount("USD", 10_000, mode=mode)  # type: ignore[arg-type]
        self.path = folder / "venue.sqlite"
        self.moment = START
        self.last = ("1.10000", "1.10010")
        self._open(None)
        self.move(*self.last)

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], faults=faults)
        self.platform: TradingPlatform = self.venue
        self.platform.connect()

    def move(self, bid: str, ask: str) -> None:
        self.last = (bid, ask)
        self.moment += timedelta(minutes=1)
        self.venue.push_quote("EURUSD", D(bid), D(ask), self.moment)

    def restart(self, faults: FaultScript | None = None) -> None:
        self.venue.close()
        self._open(faults)

    def cut(self) -> None:
        self.venue.disconnect()

    def by_hand(self, position_id: str) -> None:
        self.venue.manual_close(position_id)


class OverMetaTrader(Simulated):
    """The MetaTrader 5 adapter over the module's double, whose trade server is a paper venue."""

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], checks=STRICT, faults=faults)
        self.adapter = SimMT5Platform(self.venue, suffix=".r")
        self.platform = self.adapter
        self.platform.connect()

    def restart(self, faults: FaultScript | None = None) -> None:
        self.adapter.close()
        self._open(faults)

    def cut(self) -> None:
        self.adapter.terminal.cut_line()


class OverCTrader(Simulated):
    """The cTrader adapter over a real TLS socket to the sandbox, whose book is a paper venue."""

    def _open(self, faults: FaultScript | None) -> None:
        self.venue = SimulatedPlatform(self.path, self.account, [facts()], checks=STRICT, faults=faults)
        self.adapter = SimCTraderPlatform(self.venue, self.path.parent, reply_seconds=1.0)
        self.platform = self.adapter
        self.platform.connect()

    def move(self, bid: str, ask: str) -> None:
        super().move(bid, ask)
        if hasattr(self, "adapter"):
            self.adapter.published()

    def restart(self, faults: FaultScript | None = None) -> None:
        self.adapter.close()
        self._open(faults)

    def cut(self) -> None:
        self.adapter.sandbox.cut()


MAKERS: dict[str, Callable[[Path, str], Harness]] = {
    "simulated": Simulated,
    "mt5": OverMetaTrader,
    "ctrader": OverCTrader,
}


@pytest.fixture(params=[f"{name}-{mode}" for name in MAKERS for mode in ("hedging", "netting")])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Every platform in both position modes; EURUSD stands at 1.10000 / 1.10010."""
    name, mode = request.param.rsplit("-", 1)
    harness = MAKERS[name](tmp_path, mode)
    yield harness
    harness.platform.close()


_tags = iter(range(1, 10**9))


def tag() -> ClientTag:
    """Return a tag never used before, as long as real ones are."""
    n = next(_tags)
    return ClientTag(f"q1{n:026d}", (0x5EA << 51) | n, "run-1")


def opens(
    at: Harness,
    side: Side = Side.BUY,
    lots: str = "0.10",
    stop: str | None = None,
    target: str | None = None,
    mark: ClientTag | None = None,
) -> OrderResult:
    """Open at market and expect it done."""
    result = at.platform.send(
        OpenOrder(
            mark or tag(),
            "EURUSD",
            side,
            OrderType.MARKET,
            D(lots),
            stop_loss=None if stop is None else D(stop),
            take_profit=None if target is None else D(target),
        )
    )
    assert result.outcome is Outcome.DONE, result
    return result


def only(at: Harness) -> PlatformPosition:
    """Return the one open position."""
    (position,) = at.platform.book().positions
    return position


def deals(at: Harness) -> tuple[PlatformDeal, ...]:
    """Return all deals there are."""
    return at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).deals


def test_platform_connect_shows_the_account(at: Harness) -> None:
    """Connecting gives login, currency, balance and the position mode."""
    account = at.platform.connect()
    assert (account.currency, account.balance, account.equity) == ("USD", D(10_000), D(10_000))
    assert account.hedging is at.hedging
    assert account.connected and account.trading_allowed
    assert account.environment in ("paper", "demo")


def test_platform_instrument_states_contract_facts(at: Harness) -> None:
    """The platform's facts are those trading is sized by."""
    found = at.platform.instrument("EURUSD")
    assert (found.contract_size, found.digits, found.pip_size) == (D(100_000), 5, D("0.0001"))
    assert (found.volume_min, found.volume_step) == (D("0.01"), D("0.01"))
    assert (found.base_currency, found.quote_currency) == ("EUR", "USD")


def test_platform_unknown_symbol_is_named(at: Harness) -> None:
    """A symbol the platform does not have raises UnknownSymbol, and an order on it is refused for good."""
    with pytest.raises(UnknownSymbol, match="NOSUCH"):
        at.platform.instrument("NOSUCH")
    result = at.platform.send(OpenOrder(tag(), "NOSUCH", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is Outcome.FINAL


def test_platform_quote_carries_its_moment_in_utc(at: Harness) -> None:
    """Bid, ask and the time of the quote in UTC."""
    quote = at.platform.quote("EURUSD")
    assert (quote.bid, quote.ask) == (D("1.10000"), D("1.10010"))
    assert quote.ts == START + timedelta(minutes=1)
    assert at.platform.now() >= quote.ts


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "1.10010"), (Side.SELL, "1.10000")])
def test_platform_market_order_fills_and_is_in_the_book(at: Harness, side: Side, price: str) -> None:
    """An entry is a position, with its levels, and a deal."""
    stop, target = ("1.09500", "1.11000") if side is Side.BUY else ("1.10500", "1.09000")
    mark = tag()
    result = opens(at, side, stop=stop, target=target, mark=mark)
    position = only(at)
    assert result.position_id == position.position_id
    assert result.filled_lots == D("0.10") and result.price == D(price) and result.protected
    assert (position.side, position.lots, position.open_price) == (side, D("0.10"), D(price))
    assert (position.stop_loss, position.take_profit) == (D(stop), D(target))
    (deal,) = deals(at)
    assert (deal.entry, deal.side, deal.price, deal.position_id) == ("in", side, D(price), position.position_id)
    assert deal.deal_id in result.deal_ids


def test_platform_tag_comes_back_everywhere(at: Harness) -> None:
    """Our tag and number are on the position, the order and the deal."""
    mark = tag()
    opens(at, mark=mark)
    history = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1))
    for record in (only(at), history.orders[0], history.deals[0]):
        assert (record.tag_text, record.magic) == (mark.text, mark.magic)


def test_platform_close_books_the_profit(at: Harness) -> None:
    """A closed position moves the balance by exactly its deal."""
    result = opens(at, Side.BUY, "0.10")
    at.move("1.10210", "1.10220")
    assert at.platform.book().account.equity == D("10020.00")
    closed = at.platform.send(ClosePosition(tag(), str(result.position_id)))
    assert (closed.outcome, closed.price) == (Outcome.DONE, D("1.10210"))
    book = at.platform.book()
    assert book.positions == () and book.account.balance == D("10020.00")
    assert deals(at)[-1].profit == D("20.00") and deals(at)[-1].entry == "out"


def test_platform_reduce_keeps_the_rest(at: Harness) -> None:
    """A partial close leaves the same position with what remains."""
    result = opens(at, Side.SELL, "0.10")
    closed = at.platform.send(ClosePosition(tag(), str(result.position_id), D("0.03")))
    assert (closed.outcome, closed.filled_lots) == (Outcome.DONE, D("0.03"))
    position = only(at)
    assert (position.position_id, position.lots, position.side) == (result.position_id, D("0.07"), Side.SELL)


def test_platform_pinned_close_never_flips(at: Harness) -> None:
    """Closing twice, or more than there is, ends flat: no position of the other side appears."""
    result = opens(at, Side.BUY, "0.10")
    pinned = str(result.position_id)
    first = at.platform.send(ClosePosition(tag(), pinned, D("0.50")))
    again = at.platform.send(ClosePosition(tag(), pinned))
    assert (first.outcome, first.filled_lots) == (Outcome.DONE, D("0.10"))
    assert again.outcome is Outcome.ALREADY
    assert at.platform.book().positions == ()


def test_platform_modify_sets_both_levels(at: Harness) -> None:
    """Stop and target are absolute; asking for what is already so is ALREADY."""
    result = opens(at, stop="1.09500")
    change = ModifyProtection(tag(), str(result.position_id), D("1.09700"), D("1.10900"))
    assert at.platform.send(change).outcome is Outcome.DONE
    assert (only(at).stop_loss, only(at).take_profit) == (D("1.09700"), D("1.10900"))
    assert at.platform.send(change).outcome is Outcome.ALREADY


def test_platform_modify_removes_a_level(at: Harness) -> None:
    """None takes a level away."""
    result = opens(at, stop="1.09500", target="1.10900")
    change = ModifyProtection(tag(), str(result.position_id), D("1.09500"), None)
    assert at.platform.send(change).outcome is Outcome.DONE
    assert (only(at).stop_loss, only(at).take_profit) == (D("1.09500"), None)


def test_platform_modify_of_a_closed_position_is_already(at: Harness) -> None:
    """There is nothing left to protect."""
    result = opens(at)
    at.platform.send(ClosePosition(tag(), str(result.position_id)))
    gone = at.platform.send(ModifyProtection(tag(), str(result.position_id), D("1.09000"), None))
    assert gone.outcome is Outcome.ALREADY


def test_platform_stop_loss_closes_the_position(at: Harness) -> None:
    """A quote beyond the stop ends the position with the reason stop_loss, joined by its position."""
    result = opens(at, Side.BUY, stop="1.09900")
    at.move("1.09890", "1.09900")
    assert at.platform.book().positions == ()
    deal = deals(at)[-1]
    assert (deal.reason, deal.entry, deal.position_id) == ("stop_loss", "out", result.position_id)
    assert deal.price == D("1.09890")


def test_platform_take_profit_closes_a_short_on_the_ask(at: Harness) -> None:
    """A short's target is reached by the ask, not by the bid."""
    opens(at, Side.SELL, stop="1.10500", target="1.09900")
    at.move("1.09895", "1.09905")
    assert len(at.platform.book().positions) == 1
    at.move("1.09885", "1.09895")
    assert at.platform.book().positions == ()
    assert deals(at)[-1].reason == "take_profit"


@pytest.mark.parametrize(
    ("side", "stop", "target"),
    [
        (Side.BUY, "1.10500", None),
        (Side.BUY, None, "1.09500"),
        (Side.SELL, "1.09500", None),
        (Side.SELL, None, "1.10500"),
    ],
)
def test_platform_level_on_the_wrong_side_is_refused(
    at: Harness, side: Side, stop: str | None, target: str | None
) -> None:
    """A stop or target on the wrong side opens nothing."""
    result = at.platform.send(
        OpenOrder(
            tag(),
            "EURUSD",
            side,
            OrderType.MARKET,
            D("0.1"),
            stop_loss=None if stop is None else D(stop),
            take_profit=None if target is None else D(target),
        )
    )
    assert result.outcome is Outcome.FINAL
    assert at.platform.book().positions == ()


@pytest.mark.parametrize("lots", ["0.005", "0.015", "0", "100000"])
def test_platform_volume_off_the_rules_is_refused(at: Harness, lots: str) -> None:
    """Volumes below the minimum, between two steps or above the maximum open nothing."""
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D(lots)))
    assert result.outcome is Outcome.FINAL, result
    assert at.platform.book().positions == ()


@pytest.mark.parametrize(
    ("order_type", "side", "price", "bid", "ask"),
    [
        (OrderType.LIMIT, Side.BUY, "1.09900", "1.09885", "1.09895"),
        (OrderType.LIMIT, Side.SELL, "1.10100", "1.10105", "1.10115"),
        (OrderType.STOP, Side.BUY, "1.10100", "1.10095", "1.10105"),
        (OrderType.STOP, Side.SELL, "1.09900", "1.09895", "1.09905"),
    ],
)
def test_platform_pending_order_waits_and_fills(
    at: Harness, order_type: OrderType, side: Side, price: str, bid: str, ask: str
) -> None:
    """A pending order is working until its price comes, then a position that carries the tag."""
    mark = tag()
    placed = at.platform.send(OpenOrder(mark, "EURUSD", side, order_type, D("0.10"), D(price)))
    assert placed.outcome is Outcome.WORKING
    (order,) = at.platform.book().orders
    assert (order.order_id, order.state, order.limit_price) == (placed.order_id, "working", D(price))
    assert (order.order_type, order.side, order.tag_text, order.magic) == (order_type, side, mark.text, mark.magic)
    at.move(bid, ask)
    book = at.platform.book()
    assert book.orders == () and len(book.positions) == 1
    assert (book.positions[0].side, book.positions[0].magic) == (side, mark.magic)


def test_platform_pending_order_on_the_wrong_side_is_refused(at: Harness) -> None:
    """A buy limit above the market is refused, not filled."""
    wrong = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.10500")))
    assert wrong.outcome is Outcome.FINAL
    assert at.platform.book().orders == ()


def test_platform_cancel_ends_a_working_order(at: Harness) -> None:
    """A cancelled order is history with the state cancelled; a second cancel is ALREADY."""
    placed = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000")))
    assert at.platform.send(CancelOrder(tag(), str(placed.order_id))).outcome is Outcome.DONE
    assert at.platform.book().orders == ()
    ended = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).orders
    assert [(o.order_id, o.state) for o in ended] == [(placed.order_id, "cancelled")]
    assert at.platform.send(CancelOrder(tag(), str(placed.order_id))).outcome is Outcome.ALREADY


def test_platform_expired_order_is_history(at: Harness) -> None:
    """An order past its expiry no longer fills."""
    until = at.platform.now() + timedelta(minutes=3)
    at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000"), expires_at=until))
    for _ in range(4):
        at.move("1.10000", "1.10010")
    at.move("1.08980", "1.08990")
    assert at.platform.book().orders == () and at.platform.book().positions == ()
    ended = at.platform.history(START - timedelta(days=1), at.platform.now() + timedelta(days=1)).orders
    assert [o.state for o in ended] == ["expired"]


def test_platform_opposite_order_follows_the_position_mode(at: Harness) -> None:
    """Hedging holds both sides; netting reduces, ends flat, then turns."""
    opens(at, Side.BUY, "0.10")
    opens(at, Side.SELL, "0.04")
    if at.hedging:
        assert sorted((p.side, p.lots) for p in at.platform.book().positions) == [
            (Side.BUY, D("0.10")),
            (Side.SELL, D("0.04")),
        ]
        return
    assert (only(at).side, only(at).lots) == (Side.BUY, D("0.06"))
    opens(at, Side.SELL, "0.06")
    assert at.platform.book().positions == ()


def test_platform_netting_turn_is_one_deal_in_and_out(at: Harness) -> None:
    """A netted order larger than the position turns it; the position keeps its id."""
    if at.hedging:
        pytest.skip("hedging accounts do not net")
    first = opens(at, Side.BUY, "0.10")
    at.move("1.10110", "1.10120")
    opens(at, Side.SELL, "0.30")
    position = only(at)
    assert (position.side, position.lots, position.open_price) == (Side.SELL, D("0.20"), D("1.10110"))
    assert position.position_id == first.position_id
    assert (deals(at)[-1].entry, deals(at)[-1].profit) == ("inout", D("10.00"))


def test_platform_netting_adds_at_the_average_price(at: Harness) -> None:
    """A second order of the same side joins the position; profits add up exactly."""
    if at.hedging:
        pytest.skip("hedging accounts do not net")
    opens(at, Side.BUY, "0.10")
    at.move("1.10100", "1.10110")
    opens(at, Side.BUY, "0.20")
    position = only(at)
    assert position.lots == D("0.30")
    assert abs(position.open_price - D("1.10077")) <= D("0.00001")
    at.move("1.10200", "1.10210")
    at.platform.send(ClosePosition(tag(), position.position_id))
    assert at.platform.book().account.balance == D(10_000) + D("19.00") + D("18.00")


def test_platform_two_positions_are_closed_apart(at: Harness) -> None:
    """On a hedging account an exit touches its own position only."""
    if not at.hedging:
        pytest.skip("a netting account has one position a symbol")
    first, second = opens(at, Side.BUY, "0.10"), opens(at, Side.BUY, "0.20")
    at.platform.send(ClosePosition(tag(), str(first.position_id)))
    assert only(at).position_id == second.position_id


def test_platform_history_is_complete_and_within_its_span(at: Harness) -> None:
    """Every deal of the span is there, in order, and none outside it."""
    first = opens(at, Side.BUY, "0.10")
    between = at.platform.now() + timedelta(seconds=30)
    at.move("1.10100", "1.10110")
    at.platform.send(ClosePosition(tag(), str(first.position_id)))
    end = at.platform.now() + timedelta(days=1)
    assert [d.entry for d in at.platform.history(START, end).deals] == ["in", "out"]
    assert [d.entry for d in at.platform.history(START, between).deals] == ["in"]
    assert [d.entry for d in at.platform.history(between, end).deals] == ["out"]
    assert all(d.at.tzinfo is not None for d in at.platform.history(START, end).deals)


def test_platform_balance_is_the_sum_of_its_deals(at: Harness) -> None:
    """Start balance plus profit, commission and swap of all deals is the balance."""
    for k, side in enumerate((Side.BUY, Side.SELL, Side.BUY)):
        result = opens(at, side, "0.10")
        at.move(f"1.10{k}50", f"1.10{k}60")
        at.platform.send(ClosePosition(tag(), str(result.position_id)))
    booked = sum((d.profit + d.commission + d.swap for d in deals(at)), D(0))
    assert at.platform.book().account.balance == D(10_000) + booked


def test_platform_profit_agrees_with_what_is_booked(at: Harness) -> None:
    """The platform's own profit calculation equals the deal that follows."""
    result = opens(at, Side.SELL, "0.30")
    at.move("1.09800", "1.09815")
    expected = at.platform.profit("EURUSD", Side.SELL, D("0.30"), D("1.10000"), D("1.09815"))
    at.platform.send(ClosePosition(tag(), str(result.position_id)))
    assert deals(at)[-1].profit == expected == D("55.50")


def test_platform_margin_is_stated_in_account_currency(at: Harness) -> None:
    """One lot of EURUSD at 1.1 and 1:30 blocks 110,000 / 30."""
    assert at.platform.margin("EURUSD", Side.BUY, D(1), D("1.10000")) == D("3666.67")


def test_platform_manual_close_is_seen_as_manual(at: Harness) -> None:
    """A person's close is a deal on our position without our tag; our own close is then ALREADY."""
    mark = tag()
    result = opens(at, mark=mark)
    at.by_hand(str(result.position_id))
    assert at.platform.book().positions == ()
    deal = deals(at)[-1]
    assert (deal.position_id, deal.entry, deal.reason) == (result.position_id, "out", "manual")
    assert deal.tag_text != mark.text
    assert at.platform.send(ClosePosition(tag(), str(result.position_id))).outcome is Outcome.ALREADY


def test_platform_restart_gives_the_same_book(at: Harness) -> None:
    """After a new session positions, orders and history are what they were."""
    opens(at, Side.BUY, "0.10", stop="1.09000", target="1.12000")
    at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.LIMIT, D("0.1"), D("1.09000")))
    before, past = at.platform.book(), deals(at)
    at.restart()
    at.platform.connect()
    after = at.platform.book()
    assert (after.positions, after.orders, deals(at)) == (before.positions, before.orders, past)
    assert after.account.balance == before.account.balance


def test_platform_restart_keeps_watching_the_stop(at: Harness) -> None:
    """A stop set before the restart fires after it."""
    opens(at, Side.BUY, stop="1.09900")
    at.restart()
    at.move("1.09880", "1.09890")
    assert at.platform.book().positions == ()
    assert deals(at)[-1].reason == "stop_loss"


def test_platform_without_connection_reads_fail_and_sends_are_not_accepted(at: Harness) -> None:
    """A failed read raises, it never looks like an empty book; a command that never left may be sent again."""
    opens(at)
    at.cut()
    with pytest.raises(PlatformUnavailable):
        at.platform.book()
    with pytest.raises(PlatformUnavailable):
        at.platform.history(START, START + timedelta(days=1))
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is Outcome.NOT_ACCEPTED
    at.platform.connect()
    assert len(at.platform.book().positions) == 1


@pytest.mark.parametrize(
    ("kind", "outcome", "exists"),
    [
        (FaultKind.REJECT, Outcome.FINAL, False),
        (FaultKind.REQUOTE, Outcome.NOT_ACCEPTED, False),
        (FaultKind.MARKET_CLOSED, Outcome.WAIT, False),
        (FaultKind.COMMAND_LOST, Outcome.UNKNOWN, False),
        (FaultKind.ANSWER_LOST, Outcome.UNKNOWN, True),
    ],
)
def test_platform_fault_has_its_class_and_its_truth(
    at: Harness, kind: FaultKind, outcome: Outcome, exists: bool
) -> None:
    """Each fault maps to its outcome; only the book tells whether an unknown one was carried out."""
    at.restart(FaultScript([Fault(kind)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    result = at.platform.send(OpenOrder(mark, "EURUSD", Side.BUY, OrderType.MARKET, D("0.1")))
    assert result.outcome is outcome
    assert [p.magic for p in at.platform.book().positions] == ([mark.magic] if exists else [])


def test_platform_late_acceptance_appears_later_with_our_tag(at: Harness) -> None:
    """An order answered UNKNOWN may turn up after a while, under the tag it was sent with."""
    at.restart(FaultScript([Fault(FaultKind.LATE_ACCEPTANCE, seconds=150)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    order = OpenOrder(mark, "EURUSD", Side.BUY, OrderType.MARKET, D("0.1"))
    assert at.platform.send(order).outcome is Outcome.UNKNOWN
    at.move("1.10000", "1.10010")
    assert at.platform.book().positions == ()
    for _ in range(3):
        at.move("1.10000", "1.10010")
    assert only(at).magic == mark.magic


def test_platform_partial_fill_reports_what_was_filled(at: Harness) -> None:
    """The rest of a partial fill is dead, and the answer equals the deals."""
    at.restart(FaultScript([Fault(FaultKind.PARTIAL, share=D("0.3"))]))
    at.move("1.10000", "1.10010")
    result = at.platform.send(OpenOrder(tag(), "EURUSD", Side.BUY, OrderType.MARKET, D("0.10")))
    assert (result.outcome, result.filled_lots) == (Outcome.PARTIAL, D("0.03"))
    assert only(at).lots == sum((d.lots for d in deals(at)), D(0)) == D("0.03")


def test_platform_cut_comment_leaves_the_magic(at: Harness) -> None:
    """When the venue shortens the comment, our number still identifies the order."""
    at.restart(FaultScript([Fault(FaultKind.CUT_COMMENT, length=16)]))
    at.move("1.10000", "1.10010")
    mark = tag()
    opens(at, mark=mark)
    assert (only(at).tag_text, only(at).magic) == (mark.text[:16], mark.magic)


def test_platform_changed_ticket_is_closed_by_its_id_for_life(at: Harness) -> None:
    """A position whose ticket changed is still found by the id it was opened with."""
    if isinstance(at, OverCTrader):
        pytest.skip("a cTrader position has one number, for life")
    at.restart(FaultScript([Fault(FaultKind.CHANGE_TICKET)]))
    at.move("1.10000", "1.10010")
    result = opens(at)
    assert only(at).ticket != only(at).position_id == result.position_id
    assert at.platform.send(ClosePosition(tag(), str(result.position_id))).outcome is Outcome.DONE
    assert at.platform.book().positions == ()


def test_platform_fill_without_protection_says_so(at: Harness) -> None:
    """A fill whose stop was not taken over is reported unprotected, and can be protected afterwards.

    An adapter may try by itself, right after the fill; here the venue refuses that.
    """
    at.restart(FaultScript([Fault(FaultKind.NO_PROTECTION), Fault(FaultKind.REJECT, on="modify")]))
    at.move("1.10000", "1.10010")
    result = opens(at, stop="1.09500")
    assert result.protected is False and only(at).stop_loss is None
    change = ModifyProtection(tag(), str(result.position_id), D("1.09500"), None)
    if at.platform.send(change).outcome is Outcome.FINAL:  # the one refusal, where the adapter had not tried
        assert at.platform.send(change).outcome is Outcome.DONE
    assert only(at).stop_loss == D("1.09500")


def test_platform_close_is_safe_to_call_twice(at: Harness) -> None:
    """Ending a session again does nothing."""
    at.platform.close()
    at.platform.close()


def test_platform_satisfies_the_protocol(at: Harness) -> None:
    """Every method of the protocol is there."""
    wanted = [n for part in TradingPlatform.__mro__ for n in vars(part) if not n.startswith("_")]
    assert [n for n in wanted if not hasattr(cast(object, at.platform), n)] == []
