"""Units of the Open API into the toolkit's records, exactly, and nowhere else.

Volumes are hundredths of a unit, lot sizes too; money is a whole number over ``10 ** moneyDigits``; spot prices, bars and
relative stops are hundred-thousandths; other prices are floats on the symbol's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from toolkit.clock import from_ns, to_ns
from toolkit.errors import BadInput, UnknownSymbol, must_be
from toolkit.execution.ports import (
    ClientTag,
    OrderType,
    PlatformDeal,
    PlatformOrder,
    PlatformPosition,
)
from toolkit.market import Bars, Instrument, Side, Timeframe, find_instrument
from toolkit.platforms.ctrader import codes
from toolkit.platforms.ctrader.messages import pb

_FIAT = frozenset({"USD", "EUR", "GBP", "JPY", "CHF", "AUD", "NZD", "CAD", "SEK", "NOK", "DKK", "PLN", "HUF", "CZK",
                   "SGD", "HKD", "MXN", "ZAR", "TRY", "CNH", "RON", "ILS", "THB"})  # fmt: skip
_METALS = frozenset({"XAU", "XAG", "XPT", "XPD"})


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of the server: its contract facts by our name, and what the server needs."""

    symbol_id: int
    name: str
    facts: Instrument
    lot_size: int
    enabled: bool


def symbol(light: pb.ProtoOALightSymbol, full: pb.ProtoOASymbol, assets: Mapping[int, str], ours: str) -> Symbol:
    """Return a symbol from its two messages.

    Raises
    ------
    BadInput
        When the server states no lot size or no volumes: nothing can be traded by guesses.
    """
    lot = int(full.lotSize)
    if lot <= 0 or full.minVolume <= 0 or full.stepVolume <= 0:
        raise BadInput(
            must_be(f"lot size and volumes of {light.symbolName}", "stated by the server", "missing", "ask the broker")
        )
    base, quote = assets[light.baseAssetId], assets[light.quoteAssetId]
    currency = base in _FIAT
    mode = {0: "points", 1: "percent"}.get(full.swapCalculationType, "none")
    pip = Decimal(1).scaleb(-full.pipPosition)
    per_pip = Decimal(10) ** (full.digits - full.pipPosition)
    swap = (_float(full.swapLong), _float(full.swapShort))
    if mode == "points":
        swap = (swap[0] * per_pip, swap[1] * per_pip)  # the server states pips
    try:
        known: Instrument | None = find_instrument(ours)
    except UnknownSymbol:
        known = None
    # an index's underlying is an asset of the server like a currency is; only the table, or its name, tells them apart
    money = currency or base in _METALS or (known is not None and known.base_currency == base)
    stated: dict[str, Any] = {
        "symbol": ours,
        "quote_currency": quote,
        "pip_size": pip,
        "contract_size": Decimal(lot) / 100,
        "volume_min": _lots(full.minVolume, lot),
        "volume_max": _lots(full.maxVolume, lot),
        "volume_step": _lots(full.stepVolume, lot),
        "digits": full.digits,
        "base_currency": base if money else None,
        "swap_mode": mode if any(swap) else "none",
        "swap_long": swap[0],
        "swap_short": swap[1],
        "swap_triple_weekday": (full.swapRollover3Days - 1) % 7 if full.swapRollover3Days else 2,
        "source": "the cTrader server",
    }
    if known is not None:
        facts = replace(known, **stated)  # what the server does not state: margin's way, asset class
    else:
        forex = currency and quote in _FIAT
        kind = "forex" if forex else "metal" if base in _METALS else "index"
        facts = Instrument(**stated, margin_mode="forex" if forex else "cfd_leverage", asset_class=kind)
    return Symbol(int(full.symbolId), light.symbolName, facts, lot, full.tradingMode == codes.TRADING_ENABLED)


def _float(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _lots(volume: int, lot_size: int) -> Decimal:
    return Decimal(volume) / Decimal(lot_size)


def lots(volume: int, of: Symbol) -> Decimal:
    """Return a volume as lots; the server's volumes are whole steps."""
    return of.facts.lots(of.facts.steps_floor(_lots(volume, of.lot_size)))


def volume(wanted: Decimal, of: Symbol) -> int:
    """Return lots as the server's volume.

    Raises
    ------
    BadInput
        When it is not a whole number of the server's units.
    """
    units = wanted * of.lot_size
    if units != units.to_integral_value():
        raise BadInput(must_be("lots", f"a multiple of {Decimal(1) / of.lot_size}", wanted, "round down to the step"))
    return int(units)


def money(value: int, digits: int) -> Decimal:
    """Return an amount."""
    return Decimal(value).scaleb(-digits)


def price(value: float, facts: Instrument) -> Decimal:
    """Return a price of the server on the symbol's grid: the nearest point, its floats are not exact."""
    return facts.price(facts.to_points(_float(value)))


def level(value: float, facts: Instrument) -> Decimal | None:
    """Return a stop or target, None where the message has none."""
    return None if value == 0.0 else price(value, facts)


def spot(value: int, facts: Instrument) -> Decimal:
    """Return a spot price."""
    return facts.price(facts.to_points(Decimal(value) / codes.PRICE_UNIT))


def relative(distance: Decimal) -> int:
    """Return a distance in the server's hundred-thousandths."""
    return int((distance * codes.PRICE_UNIT).to_integral_value())


def moment(milliseconds: int) -> datetime:
    """Return a moment of the server, whose clock is UTC."""
    return from_ns(int(milliseconds) * 1_000_000)


def stamp(when: datetime) -> int:
    """Return a moment as the server's milliseconds."""
    return to_ns(when) // 1_000_000


def label_of(tag: ClientTag) -> str:
    """Return the label of an order: the run, and the number that finds the order when a comment was cut."""
    return f"{tag.label}#{tag.magic}"


def run_and_magic(label: str) -> tuple[str, int]:
    """Return what `label_of` joined; a label that is not ours has no number."""
    run, mark, number = label.rpartition("#")
    return (run, int(number)) if mark and number.isdigit() else (label, 0)


def _side(trade_side: int) -> Side:
    return Side.BUY if trade_side == codes.BUY else Side.SELL


def position(p: pb.ProtoOAPosition, of: Symbol, profit: Decimal, digits: int) -> PlatformPosition:
    """Return an open position; its number is for life and is what a command needs."""
    data = p.tradeData
    run, magic = run_and_magic(data.label)
    return PlatformPosition(
        position_id=str(p.positionId),
        ticket=str(p.positionId),
        symbol=of.facts.symbol,
        side=_side(data.tradeSide),
        lots=lots(data.volume, of),
        open_price=price(p.price, of.facts),
        opened_at=moment(data.openTimestamp),
        stop_loss=level(p.stopLoss, of.facts),
        take_profit=level(p.takeProfit, of.facts),
        swap=money(p.swap, digits),
        profit=profit,
        tag_text=data.comment,
        magic=magic,
        label=run,
    )


def order(o: pb.ProtoOAOrder, of: Symbol) -> PlatformOrder:
    """Return an order, working or done."""
    data = o.tradeData
    run, magic = run_and_magic(data.label)
    kind = {codes.LIMIT: OrderType.LIMIT, codes.STOP: OrderType.STOP}.get(o.orderType, OrderType.MARKET)
    trigger = {OrderType.LIMIT: o.limitPrice, OrderType.STOP: o.stopPrice}.get(kind, 0.0)
    asked, done = lots(data.volume, of), lots(o.executedVolume, of)
    state = codes.ORDER_STATES.get(o.orderStatus, "working")
    return PlatformOrder(
        order_id=str(o.orderId),
        symbol=of.facts.symbol,
        side=_side(data.tradeSide),
        order_type=kind,
        lots=asked,
        filled_lots=done,
        state="partial" if state == "cancelled" and done else state,
        placed_at=moment(data.openTimestamp),
        limit_price=level(trigger, of.facts),
        stop_loss=level(o.stopLoss, of.facts),
        take_profit=level(o.takeProfit, of.facts),
        expires_at=moment(o.expirationTimestamp) if o.expirationTimestamp else None,
        position_id=str(o.positionId) if o.positionId else None,
        tag_text="" if o.closingOrder else o.clientOrderId or data.comment,
        magic=0 if o.closingOrder else magic,
        label=run,
    )


def exit_reason(o: pb.ProtoOAOrder | None, deal_side: Side, entry: Decimal, done: Decimal) -> str:
    """Return why a position was closed, empty where only the one who asked can know.

    The order that carries out a stop or a target is of one kind for both; where it does not tell them apart by its own
    price, the target is the one that gained.
    """
    if o is None:
        return ""
    if o.isStopOut:
        return "stop_out"
    if o.orderType != codes.STOP_LOSS_TAKE_PROFIT:
        return ""
    if o.stopPrice and not o.limitPrice:
        return "stop_loss"
    if o.limitPrice and not o.stopPrice:
        return "take_profit"
    gained = (entry - done) * deal_side.sign > 0  # the closing deal is of the other side
    return "take_profit" if gained else "stop_loss"


def deal(d: pb.ProtoOADeal, o: pb.ProtoOAOrder | None, of: Symbol, digits: int) -> PlatformDeal:
    """Return an execution; who asked for it is on its order."""
    entry: Literal["in", "out", "inout"] = "in"
    profit, commission, swap = Decimal(0), money(d.commission, digits), Decimal(0)
    done = price(d.executionPrice, of.facts)
    reason = ""
    if d.HasField("closePositionDetail"):
        detail = d.closePositionDetail
        their = detail.moneyDigits or digits
        entry = "inout" if 0 < detail.closedVolume < d.filledVolume else "out"
        profit = money(detail.grossProfit - detail.pnlConversionFee, their)
        swap = money(detail.swap, their)
        reason = exit_reason(o, _side(d.tradeSide), _float(detail.entryPrice), done)
    ours = o is not None and not o.closingOrder
    label = o.tradeData.label if o is not None else ""
    run, magic = run_and_magic(label)
    return PlatformDeal(
        deal_id=str(d.dealId),
        order_id=str(d.orderId),
        position_id=str(d.positionId),
        symbol=of.facts.symbol,
        side=_side(d.tradeSide),
        entry=entry,
        lots=lots(d.filledVolume, of),
        price=done,
        profit=profit,
        commission=commission,
        swap=swap,
        at=moment(d.executionTimestamp),
        reason=reason,
        tag_text=(o.tradeData.comment or o.clientOrderId) if o is not None and ours else "",
        magic=magic if ours else 0,
        label=run,
    )


def bars(found: Iterable[pb.ProtoOATrendbar], of: Symbol, timeframe: Timeframe, spread_points: int) -> Bars:
    """Return the server's bars, which are of the bid side; the ask lies the given spread above."""
    rows = list(found)
    facts = of.facts
    low = np.array([r.low for r in rows], np.int64)
    deltas = {
        "open": np.array([r.deltaOpen for r in rows], np.int64),
        "high": np.array([r.deltaHigh for r in rows], np.int64),
        "low": np.zeros(len(rows), np.int64),
        "close": np.array([r.deltaClose for r in rows], np.int64),
    }
    scale = facts.scale
    columns: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for name, delta in deltas.items():
        # whole numbers throughout: hundred-thousandths to points, halves up
        points = ((low + delta) * scale * 2 + codes.PRICE_UNIT) // (2 * codes.PRICE_UNIT)
        columns[f"bid_{name}"] = points
        columns[f"ask_{name}"] = points + spread_points
    ts = np.array([r.utcTimestampInMinutes for r in rows], np.int64) * 60_000_000_000
    return Bars.from_arrays(
        facts.symbol,
        timeframe,
        ts,
        **columns,
        volume=np.array([r.volume for r in rows], np.float64),
        instrument=facts,
    )
