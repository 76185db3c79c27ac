"""What the simulated trade server holds, as the package's tuples: times in server wall seconds, prices and volumes as floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.clock import from_ns
from toolkit.errors import ConversionRateMissing
from toolkit.execution.ports import OrderType
from toolkit.market import Instrument
from toolkit.market.platform_clock import PlatformClock, find_clock
from toolkit.platforms.metatrader5.convert import ServerTime
from toolkit.platforms.simmt5.surface.constants import CONSTANTS as C
from toolkit.platforms.simmt5.surface.tuples import make
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.platforms.simulated.book.records import Deal, Order, Position
from toolkit.simulation import rules

_REASONS = {"stop_loss": 4, "take_profit": 5, "stop_out": 6, "manual": 0}
_STATES = {
    "working": C["ORDER_STATE_PLACED"],
    "filled": C["ORDER_STATE_FILLED"],
    "partial": C["ORDER_STATE_PARTIAL"],
    "cancelled": C["ORDER_STATE_CANCELED"],
    "expired": C["ORDER_STATE_EXPIRED"],
    "rejected": C["ORDER_STATE_REJECTED"],
}
_EXPERT = 3
_CALC_MODES = {"forex": 0, "cfd": 2, "cfd_index": 3, "cfd_leverage": 4, "forex_no_leverage": 5}
_SWAP_MODES = {"none": 0, "points": 1, "money_base": 2, "money": 3, "money_account": 4, "percent": 5}


class Server:
    """The simulated server's view of a venue.

    Parameters
    ----------
    platform
        The venue with the account.
    clock
        The server's wall clock.
    names
        The server's names by ours, where they differ; otherwise ours with ``suffix``.
    """

    def __init__(
        self, platform: SimulatedPlatform, clock: PlatformClock | str, names: Mapping[str, str], suffix: str
    ) -> None:
        self.platform = platform
        self.venue = platform.venue
        self.time = ServerTime(find_clock(clock))
        self._names, self._suffix = dict(names), suffix
        self.stops_level = self.freeze_level = 0
        self.filling_mode, self.exemode = 1, C["SYMBOL_TRADE_EXECUTION_MARKET"]
        self.trade_mode: dict[str, int] = {}
        self.gone: set[str] = set()  # symbols the server no longer has, by our names
        self.ticks_within_bars = False
        self.fifo_close = False
        self.stops_with_entry = True
        self.volume_limit = 0.0
        self.limit_orders = 200

    # --- names and times -------------------------------------------------------------------------------------------

    def name_of(self, symbol: str) -> str:
        """Return the server's name of one of our symbols."""
        return self._names.get(symbol, symbol + self._suffix)

    def symbols(self) -> dict[str, str]:
        """Return our symbols by the server's names."""
        return {self.name_of(s): s for s in self.venue.prices.instruments if s not in self.gone}

    def facts(self, symbol: str) -> Instrument:
        """Return contract facts by our name."""
        return self.venue.prices.instrument(symbol)

    def wall(self, ns: int) -> tuple[int, int]:
        """Return a moment as server wall seconds and milliseconds."""
        seconds = self.time.wall(from_ns(ns))
        return seconds, seconds * 1000 + ns // 1_000_000 % 1000

    @property
    def now_ns(self) -> int:
        """Return the venue's clock."""
        return self.venue.now_ns

    def quote(self, symbol: str) -> tuple[int, int, int] | None:
        """Return bid, ask and the moment of the last tick, None before the first.

        Recorded bars have one at each open. With ``ticks_within_bars`` the price of the open goes on being quoted until the
        bar ends, as a server does that runs.
        """
        clock = self.venue.state.clock_ns
        found = self.venue.prices.quote(symbol, clock)
        replay = self.venue.prices.replays.get(symbol)
        if found is None or replay is None or not self.ticks_within_bars:
            return found
        row = replay.opened(clock) - 1
        under_way = row >= 0 and int(replay.close_ns[row]) > clock
        return (found[0], found[1], clock) if under_way else found

    # --- records ---------------------------------------------------------------------------------------------------

    def _price(self, symbol: str, points: int) -> float:
        return float(self.facts(symbol).price(points))

    def _lots(self, symbol: str, steps: int) -> float:
        return float(self.facts(symbol).lots(steps))

    def _money(self, minor: int) -> float:
        return float(self.platform.account.money(minor))

    def position(self, p: Position) -> Any:
        """Return a ``TradePosition``."""
        seconds, milliseconds = self.wall(p.opened_ns)
        quote = self.venue.prices.quote(p.symbol, self.venue.state.clock_ns)
        mark = rules.close_quote(p.sign, quote[0], quote[1]) if quote else p.open_points
        return make(
            "TradePosition",
            ticket=p.ticket,
            time=seconds,
            time_msc=milliseconds,
            time_update=seconds,
            time_update_msc=milliseconds,
            type=_side(p.sign),
            magic=p.magic,
            identifier=p.position_id,
            reason=_EXPERT,
            volume=self._lots(p.symbol, p.steps),
            price_open=p.cost / p.steps / self.facts(p.symbol).scale,
            sl=self._price(p.symbol, p.stop_points),
            tp=self._price(p.symbol, p.target_points),
            price_current=self._price(p.symbol, mark),
            swap=self._money(p.swap),
            profit=self._money(self.venue.ledger.open_profit(p, self.venue.state.clock_ns)),
            symbol=self.name_of(p.symbol),
            comment=p.tag,
        )

    def order(self, o: Order) -> Any:
        """Return a ``TradeOrder``."""
        setup, setup_ms = self.wall(o.placed_ns)
        done, done_ms = self.wall(o.done_ns) if o.done_ns else (0, 0)
        expires = self.wall(o.expires_ns)[0] if o.expires_ns else 0
        return make(
            "TradeOrder",
            ticket=o.order_id,
            time_setup=setup,
            time_setup_msc=setup_ms,
            time_done=done,
            time_done_msc=done_ms,
            time_expiration=expires,
            type=C["ORDER_TYPE_CLOSE_BY"] if o.action == "close_by" else order_type(o.order_type, o.sign),
            type_time=C["ORDER_TIME_SPECIFIED"] if expires else C["ORDER_TIME_GTC"],
            type_filling=C["ORDER_FILLING_RETURN"] if o.price_points else C["ORDER_FILLING_FOK"],
            state=_STATES[o.state],
            magic=o.magic,
            position_id=o.position_id,
            reason=_EXPERT,
            volume_initial=self._lots(o.symbol, o.steps),
            volume_current=self._lots(o.symbol, o.steps - o.filled_steps),
            price_open=self._price(o.symbol, o.price_points),
            sl=self._price(o.symbol, o.stop_points),
            tp=self._price(o.symbol, o.target_points),
            symbol=self.name_of(o.symbol),
            comment=o.tag,
        )

    def deal(self, d: Deal) -> Any:
        """Return a ``TradeDeal``; the server's own exits carry its comment, not ours."""
        seconds, milliseconds = self.wall(d.at_ns)
        level = self._price(d.symbol, d.price_points)
        comment = {"stop_loss": f"[sl {level}]", "take_profit": f"[tp {level}]", "stop_out": "[so]"}.get(
            d.reason, d.tag
        )
        return make(
            "TradeDeal",
            ticket=d.deal_id,
            order=d.order_id,
            time=seconds,
            time_msc=milliseconds,
            type=_side(d.sign),
            entry={"in": 0, "out": 1, "inout": 2, "out_by": 3}[d.entry],
            magic=d.magic,
            position_id=d.position_id,
            reason=_REASONS.get(d.reason, _EXPERT),
            volume=self._lots(d.symbol, d.steps),
            price=level,
            commission=self._money(d.commission),
            swap=self._money(d.swap),
            profit=self._money(d.profit),
            fee=0.0,
            symbol=self.name_of(d.symbol),
            comment=comment,
        )

    def deposit(self) -> Any:
        """Return the deal of the opening balance, which every real account begins with."""
        first = self.venue.journal.first_deal_ns()
        at = (self.now_ns if first is None else first) - 3_600_000_000_000
        seconds, milliseconds = self.wall(max(at, 0))
        return make(
            "TradeDeal",
            time=seconds,
            time_msc=milliseconds,
            type=C["DEAL_TYPE_BALANCE"],
            profit=float(self.platform.account.balance),
            volume=0.0,
            price=0.0,
            commission=0.0,
            swap=0.0,
            fee=0.0,
        )

    def account(self, login: int, server: str, trade_mode: int) -> Any:
        """Return an ``AccountInfo``."""
        ledger, ns = self.venue.ledger, self.venue.state.clock_ns
        balance, equity, margin = self.venue.state.balance, ledger.equity(ns), ledger.margin_used()
        paper = self.platform.account
        return make(
            "AccountInfo",
            login=login,
            trade_mode=trade_mode,
            leverage=paper.leverage or 0,
            limit_orders=self.limit_orders,
            trade_allowed=True,
            trade_expert=True,
            margin_mode=C[f"ACCOUNT_MARGIN_MODE_RETAIL_{paper.mode.upper()}"],
            currency_digits=_digits(paper.money(1)),
            fifo_close=self.fifo_close,
            balance=self._money(balance),
            credit=0.0,
            profit=self._money(equity - balance),
            equity=self._money(equity),
            margin=self._money(margin),
            margin_free=self._money(equity - margin),
            margin_level=100.0 * equity / margin if margin else 0.0,
            margin_so_call=50.0,
            margin_so_so=float(paper.stop_out_percent),
            name="Simulated",
            server=server,
            currency=paper.currency,
            company="SimMT5",
        )

    def symbol(self, symbol: str, *, visible: bool) -> Any:
        """Return a ``SymbolInfo``."""
        facts = self.facts(symbol)
        quote = self.quote(symbol)
        bid, ask, ns = quote or (0, 0, 0)
        value = self._tick_value(symbol)
        return make(
            "SymbolInfo",
            select=visible,
            visible=visible,
            time=self.wall(ns)[0] if quote else 0,
            digits=facts.digits,
            spread=ask - bid,
            spread_float=True,
            trade_calc_mode=_CALC_MODES.get(facts.margin_mode, 0),
            trade_mode=self.trade_mode.get(symbol, C["SYMBOL_TRADE_MODE_FULL"]),
            trade_stops_level=self.stops_level,
            trade_freeze_level=self.freeze_level,
            trade_exemode=self.exemode,
            swap_mode=_SWAP_MODES.get(facts.swap_mode, 0),
            swap_rollover3days=(facts.swap_triple_weekday + 1) % 7,
            expiration_mode=15,
            filling_mode=self.filling_mode,
            order_mode=127,
            bid=self._price(symbol, bid),
            ask=self._price(symbol, ask),
            point=float(facts.point),
            trade_tick_value=value,
            trade_tick_value_profit=value,
            trade_tick_value_loss=value,
            trade_tick_size=float(facts.point),
            trade_contract_size=float(facts.contract_size),
            volume_min=float(facts.volume_min),
            volume_max=float(facts.volume_max),
            volume_step=float(facts.volume_step),
            volume_limit=self.volume_limit,
            swap_long=float(facts.swap_long),
            swap_short=float(facts.swap_short),
            currency_base=facts.base_currency or facts.quote_currency,
            currency_profit=facts.quote_currency,
            currency_margin=facts.base_currency or facts.quote_currency,
            name=self.name_of(symbol),
            path=f"Sim\\{self.name_of(symbol)}",
        )

    def _tick_value(self, symbol: str) -> float:
        """Return what one point of one lot is worth; 0 while its conversion is not quoted, as on a real terminal."""
        try:
            num, den = self.venue.prices.point_value(symbol, self.venue.state.clock_ns)
        except ConversionRateMissing:
            return 0.0
        per_step = num / den / float(10 ** _digits(self.platform.account.money(1)))
        return per_step / float(self.facts(symbol).volume_step)


def _side(sign: int) -> int:
    return C["ORDER_TYPE_BUY"] if sign > 0 else C["ORDER_TYPE_SELL"]


def order_type(kind: OrderType, sign: int) -> int:
    """Return the package's number of an order type and side."""
    base = {OrderType.MARKET: 0, OrderType.LIMIT: 2, OrderType.STOP: 4}[kind]
    return base + (0 if sign > 0 else 1)


def _digits(unit: Any) -> int:
    """Return the decimals of a currency from its smallest unit."""
    return -int(unit.as_tuple().exponent)
