"""The package's tuples as the toolkit's records, and times between the server's wall clock and UTC."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, cast

import numpy as np

from toolkit.clock import from_ns, to_ns
from toolkit.errors import PlatformError, UnknownSymbol, must_be
from toolkit.execution.ports import (
    AccountSnapshot,
    OrderState,
    OrderType,
    PlatformDeal,
    PlatformOrder,
    PlatformPosition,
)
from toolkit.market import Bars, Instrument, Side, Timeframe, find_instrument
from toolkit.market.platform_clock import PlatformClock
from toolkit.platforms.metatrader5 import codes

_MARGIN_MODES = {0: "forex", 2: "cfd", 3: "cfd_index", 4: "cfd_leverage", 5: "forex_no_leverage"}
_SWAP_MODES = {0: "none", 1: "points", 2: "money_base", 3: "money", 4: "money_account", 5: "percent", 6: "percent"}


class ServerTime:
    """Turns the server's wall clock seconds into UTC and back.

    Parameters
    ----------
    clock
        The server's wall clock.
    """

    def __init__(self, clock: PlatformClock) -> None:
        self.clock = clock

    def utc(self, seconds: int, milliseconds: int | None = None) -> datetime:
        """Return the moment of a wall time; of an hour shown twice the first, since the server cannot tell them apart."""
        wall = (milliseconds if milliseconds is not None else seconds * 1000) * 1_000_000
        return from_ns(int(self.clock.first_utc(np.array([wall], dtype=np.int64))[0]))

    def wall(self, moment: datetime) -> int:
        """Return a moment as the server's wall clock, whole seconds as the package takes them (a Python int)."""
        return int(self.clock.from_utc(np.array([to_ns(moment)], dtype=np.int64))[0]) // 1_000_000_000

    def utc_columns(self, seconds: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return UTC nanoseconds of a column of wall seconds."""
        return self.clock.first_utc(np.asarray(seconds, dtype=np.int64) * 1_000_000_000)


def instrument(info: Any, ours: str) -> Instrument:
    """Return the contract facts of a ``SymbolInfo``, under our name for the symbol.

    Sizes, steps, digits and currencies are the platform's. What it does not state (the size of a pip of a metal or an index,
    the asset class) comes from the packaged table where the symbol is in it.
    """
    try:
        known: Instrument | None = find_instrument(ours)
    except UnknownSymbol:
        known = None
    point = Decimal(1).scaleb(-int(info.digits))
    pip = point * 10 if info.digits in (3, 5) else point
    if known is not None and (known.pip_size / point) % 1 == 0 and known.pip_size >= point:
        pip = known.pip_size
    forex = info.trade_calc_mode in (0, 5)
    facts: dict[str, Any] = {
        "symbol": ours,
        "quote_currency": info.currency_profit,
        "base_currency": info.currency_base or None,
        "pip_size": pip,
        "digits": int(info.digits),
        "contract_size": _decimal(info.trade_contract_size),
        "volume_min": _decimal(info.volume_min),
        "volume_max": _decimal(info.volume_max),
        "volume_step": _decimal(info.volume_step),
        "margin_mode": _MARGIN_MODES.get(info.trade_calc_mode, "cfd_leverage"),
        "swap_mode": _SWAP_MODES.get(info.swap_mode, "none"),
        "swap_long": _decimal(info.swap_long),
        "swap_short": _decimal(info.swap_short),
        "swap_triple_weekday": (int(info.swap_rollover3days) - 1) % 7,  # the server counts from Sunday
        "source": "MetaTrader 5",
    }
    if known is not None:
        return replace(known, **facts)
    return Instrument(**facts, asset_class="forex" if forex else "cfd")


def _decimal(value: float) -> Decimal:
    """Return a float of the package as the decimal number it was meant to be."""
    return Decimal(repr(float(value)))


def price(value: float, facts: Instrument) -> Decimal:
    """Return a price of the package on the symbol's grid."""
    return facts.price(facts.to_points(_decimal(value)))


def level(value: float, facts: Instrument) -> Decimal | None:
    """Return a stop or target, None for the package's 0.0."""
    return None if value == 0 else price(value, facts)


def lots(value: float, facts: Instrument) -> Decimal:
    """Return a volume of the package as whole steps: the nearest, since its floats are not exact."""
    steps = int((_decimal(value) / facts.volume_step).to_integral_value())
    return facts.lots(steps)


def money(value: float, digits: int) -> Decimal:
    """Return an amount of the package, with the account currency's decimals."""
    return _decimal(value).quantize(Decimal(1).scaleb(-digits))


def account(info: Any, terminal: Any, as_of: datetime) -> AccountSnapshot:
    """Return the account as the platform shows it."""
    digits = int(info.currency_digits)
    return AccountSnapshot(
        login=str(info.login),
        server=str(info.server),
        environment=environment(info),
        currency=str(info.currency),
        balance=money(info.balance, digits),
        equity=money(info.equity, digits),
        margin=money(info.margin, digits),
        hedging=info.margin_mode == codes.MARGIN_HEDGING,
        connected=bool(terminal.connected),
        trading_allowed=trading_allowed(info, terminal),
        as_of=as_of,
        fifo_close=bool(info.fifo_close),
    )


def environment(info: Any) -> Literal["demo", "real"]:
    """Return demo or real; a mode we do not know is real, which is the careful side."""
    return cast(Literal["demo", "real"], codes.ENVIRONMENTS.get(info.trade_mode, "real"))


def trading_allowed(info: Any, terminal: Any) -> bool:
    """Tell whether account, terminal and its interface all allow trading."""
    return bool(info.trade_allowed and info.trade_expert and terminal.trade_allowed and not terminal.tradeapi_disabled)


def position(p: Any, facts: Instrument, time: ServerTime, digits: int) -> PlatformPosition:
    """Return an open position. ``identifier`` stays for life, ``ticket`` is what a command needs."""
    return PlatformPosition(
        position_id=str(p.identifier),
        ticket=str(p.ticket),
        symbol=facts.symbol,
        side=Side.BUY if p.type == codes.ORDER_BUY else Side.SELL,
        lots=lots(p.volume, facts),
        open_price=price(p.price_open, facts),
        opened_at=time.utc(p.time, p.time_msc),
        stop_loss=level(p.sl, facts),
        take_profit=level(p.tp, facts),
        swap=money(p.swap, digits),
        profit=money(p.profit, digits),
        tag_text=str(p.comment),
        magic=int(p.magic),
    )


def order(o: Any, facts: Instrument, time: ServerTime) -> PlatformOrder:
    """Return an order, working or done."""
    kind = OrderType.MARKET
    if o.type in (codes.ORDER_BUY_LIMIT, codes.ORDER_SELL_LIMIT):
        kind = OrderType.LIMIT
    elif o.type in (codes.ORDER_BUY_STOP, codes.ORDER_SELL_STOP):
        kind = OrderType.STOP
    asked, rest = lots(o.volume_initial, facts), lots(o.volume_current, facts)
    return PlatformOrder(
        order_id=str(o.ticket),
        symbol=facts.symbol,
        side=Side.BUY if o.type % 2 == 0 else Side.SELL,  # the package numbers buys even, sells odd
        order_type=kind,
        lots=asked,
        filled_lots=asked - rest,
        state=cast(OrderState, codes.ORDER_STATES.get(o.state, "working")),
        placed_at=time.utc(o.time_setup, o.time_setup_msc),
        limit_price=None if kind is OrderType.MARKET else level(o.price_open, facts),
        stop_loss=level(o.sl, facts),
        take_profit=level(o.tp, facts),
        expires_at=time.utc(o.time_expiration) if o.time_expiration else None,
        position_id=str(o.position_id) if o.position_id else None,
        tag_text=str(o.comment),
        magic=int(o.magic),
    )


def deal(d: Any, facts: Instrument, time: ServerTime, digits: int) -> PlatformDeal:
    """Return an execution; a fee of the exchange is part of its commission."""
    entry = codes.DEAL_ENTRIES.get(d.entry)
    if entry is None:
        raise PlatformError(must_be("deal entry", "0 to 3", d.entry, "update the toolkit for this terminal"))
    return PlatformDeal(
        deal_id=str(d.ticket),
        order_id=str(d.order),
        position_id=str(d.position_id),
        symbol=facts.symbol,
        side=Side.BUY if d.type == codes.DEAL_BUY else Side.SELL,
        entry=cast(Literal["in", "out", "inout"], entry),
        lots=lots(d.volume, facts),
        price=price(d.price, facts),
        profit=money(d.profit, digits),
        commission=money(d.commission + d.fee, digits),
        swap=money(d.swap, digits),
        at=time.utc(d.time, d.time_msc),
        reason="" if entry == "in" else codes.DEAL_REASONS.get(d.reason, ""),
        tag_text=str(d.comment),
        magic=int(d.magic),
    )


def bars(rates: Any, facts: Instrument, timeframe: Timeframe, time: ServerTime) -> Bars:
    """Return the package's rates as bars: they are bid prices, and their ``spread`` column gives the ask."""
    scale = facts.scale
    columns: dict[str, Any] = {}
    spread = np.asarray(rates["spread"], dtype=np.int64)
    for name in ("open", "high", "low", "close"):
        # halves cannot occur: the prices lie on the grid up to the error of a float
        points = np.rint(np.asarray(rates[name], dtype=np.float64) * scale).astype(np.int64)
        columns[f"bid_{name}"] = points
        columns[f"ask_{name}"] = points + spread
    return Bars.from_arrays(
        facts.symbol,
        timeframe,
        time.utc_columns(rates["time"]),
        **columns,
        volume=np.asarray(rates["tick_volume"], dtype=np.float64),
        instrument=facts,
    )
