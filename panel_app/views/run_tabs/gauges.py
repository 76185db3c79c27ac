"""How far each guardrail of a run is from denying an entry, told from what the page knows of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from panel_app.data_store import RunTopic
from panel_app.look.formatting import DASH, figure, money, sentence
from toolkit.clock import to_ns
from toolkit.risk.trading_hours import TradingHours
from toolkit.store.reading.records import TradeRow


@dataclass(frozen=True, slots=True)
class Gauge:
    """A guardrail and how much of its limit is used.

    Attributes
    ----------
    used
        Share of the limit, 1.0 or more when it denies entries; None when it cannot be told from here.
    """

    rule: str
    limit: str
    now: str
    used: float | None
    left: str


def gauges(topic: RunTopic) -> list[Gauge]:
    """Return the distance to trip of every guardrail that is on, in the order of the stored guards."""
    facts: dict[str, Any] = json.loads(topic.detail.guards_json or "{}")
    found = []
    for name, limit in facts.items():
        if limit in (None, 0, "0", False, {}, []):
            continue
        maker = _MAKERS.get(name, _unknown)
        found.append(maker(topic, limit) if maker is not _unknown else _unknown(topic, limit, name))
    return found


def _unknown(_topic: RunTopic, limit: Any, name: str = "") -> Gauge:
    rule = sentence(name.removesuffix("_percent").removesuffix("_pips"))
    return Gauge(rule, str(limit), DASH, None, "watched at the entry")


def _daily_loss(topic: RunTopic, limit: Any) -> Gauge:
    base = topic.row.day_base
    if base is None or base <= 0:
        return Gauge("daily loss", f"{Decimal(str(limit)):f} % of the day's base", DASH, None, "no day begun yet")
    return _fallen("daily loss", topic, base, limit, "")


def _drawdown(topic: RunTopic, limit: Any) -> Gauge:
    peak = None if topic.day is None else topic.day.peak
    if peak is None or peak <= 0:
        words = "measured anew from tomorrow" if peak is not None else "no day begun yet"
        return Gauge("drawdown", f"{Decimal(str(limit)):f} % of the highest day's start", DASH, None, words)
    return _fallen("drawdown", topic, peak, limit, "the highest start of a day, ")


def _fallen(rule: str, topic: RunTopic, base: Decimal, limit: Any, whose: str) -> Gauge:
    row, allowed = topic.row, Decimal(str(limit))
    lost = max(Decimal(0), (base - row.equity) / base * 100)
    left = (base * allowed / 100 - max(Decimal(0), base - row.equity)).quantize(Decimal("0.01"))
    return Gauge(
        rule, f"{allowed:f} % of {whose}{money(base, row.currency)}", figure(float(lost), 2, "%"), float(lost / allowed),
        f"{money(max(left, Decimal(0)), row.currency)} left",
    )  # fmt: skip


def _open_trades(topic: RunTopic) -> list[TradeRow]:
    return [trade for trade in topic.trades if trade.exit_time is None]


def _max_open_per_symbol(topic: RunTopic, limit: Any) -> Gauge:
    held: dict[str, int] = dict.fromkeys(topic.row.symbols, 0)
    for trade in _open_trades(topic):
        held[trade.symbol] = held.get(trade.symbol, 0) + 1
    return _counted("open positions per symbol", max(held.values(), default=0), int(limit), "full")


def _max_open(topic: RunTopic, limit: Any) -> Gauge:
    return _counted("open positions", len(_open_trades(topic)), int(limit), "full")


def _losing_streak(topic: RunTopic, limit: Any) -> Gauge:
    count = 0
    ended = [trade for trade in topic.trades if trade.exit_time is not None]
    for trade in sorted(ended, key=lambda trade: (trade.exit_time, trade.trade_id), reverse=True):
        today = topic.day is None or (trade.exit_time is not None and trade.exit_time >= topic.day.day)
        if not today or trade.net >= 0:
            break
        count += 1
    return _counted("losses in a row today", count, int(limit), "reached")


def _counted(rule: str, count: int, limit: int, full: str) -> Gauge:
    left = limit - count
    words = f"{full}: the next entry is denied" if left <= 0 else f"{left} more"
    return Gauge(rule, str(limit), str(count), count / limit, words)


def _max_lots(topic: RunTopic, limit: Any) -> Gauge:
    held: dict[str, Decimal] = {}
    for trade in _open_trades(topic):
        held[trade.symbol] = held.get(trade.symbol, Decimal(0)) + trade.open_lots
    most, allowed = max(held.values(), default=Decimal(0)), Decimal(str(limit))
    left = max(Decimal(0), allowed - most)
    return Gauge("open lots per symbol", f"{allowed:f}", f"{most:f}", float(most / allowed), f"{left:f} lots left")


def _max_exposure(topic: RunTopic, limit: Any) -> Gauge:
    allowed, row = Decimal(str(limit)), topic.row
    words = f"{allowed:f} times equity"
    value = _notional(topic)
    if value is None or row.equity <= 0:
        return Gauge("exposure", words, DASH, None, "no rate known here: watched at the entry")
    times = value / row.equity
    left = (allowed * row.equity - value).quantize(Decimal(1))
    return Gauge(
        "exposure", words, figure(float(times), 2, "times"), float(times / allowed),
        f"{money(max(left, Decimal(0)), row.currency)} left",
    )  # fmt: skip


def _notional(topic: RunTopic) -> Decimal | None:
    """Return the value of all open positions in account currency at the last close; no rate is guessed."""
    bars, place = topic.bars, topic.stop - 1
    total = Decimal(0)
    for trade in _open_trades(topic):
        if bars is None or place < 0 or trade.symbol != bars.symbol:
            return None
        instrument = bars.instrument
        units = trade.open_lots * instrument.contract_size
        if topic.row.currency == instrument.quote_currency:
            units *= instrument.price(int(bars.bid_close[place]))
        elif topic.row.currency != instrument.base_currency:
            return None
        total += units
    return total


def _cooldown(topic: RunTopic, limit: Any) -> Gauge:
    exits = [trade.exit_time for trade in topic.trades if trade.exit_time is not None]
    if not exits or topic.bars is None:
        return Gauge("cooldown", f"{limit} bars after an exit", "no exit yet", 0.0, "free")
    last = int(topic.bars.ts.searchsorted(to_ns(max(exits)), side="right")) - 1
    # The next entry would be made on the bar after the last one seen.
    since = topic.stop - last
    waiting = max(0, int(limit) - since + 1)
    words = f"{waiting} more bar{'' if waiting == 1 else 's'}" if waiting else "over"
    used = 1.0 if waiting else 0.0
    return Gauge("cooldown", f"{limit} bars after an exit", f"{since} bars since the last", used, words)


def _spread(topic: RunTopic, limit: Any) -> Gauge:
    bars, place = topic.bars, topic.stop - 1
    if bars is None or place < 0:
        return Gauge("spread", f"{limit} pips", DASH, None, "no price known here")
    points = int(bars.ask_close[place]) - int(bars.bid_close[place])
    pips = float(bars.instrument.price(points) / bars.instrument.pip_size)
    return Gauge("spread", f"{limit} pips", figure(pips, 1, "pips"), pips / float(limit), "at the last close")


def _trading_hours(topic: RunTopic, limit: Any) -> Gauge:
    cursor = topic.row.cursor
    if cursor is None:
        return Gauge("trading hours", str(limit), DASH, None, "no market time yet")
    allowed = TradingHours(str(limit)).allows(to_ns(cursor))
    words = "entries are allowed" if allowed else "entries are denied until they begin"
    return Gauge("trading hours", str(limit), "inside" if allowed else "outside", 0.0 if allowed else 1.0, words)


def _quote_age(_topic: RunTopic, limit: Any) -> Gauge:
    return Gauge("age of the quote", f"{limit} s", DASH, None, "watched at the entry")


_MAKERS: dict[str, Callable[..., Gauge]] = {
    "daily_loss_percent": _daily_loss,
    "drawdown_percent": _drawdown,
    "max_open_per_symbol": _max_open_per_symbol,
    "max_open": _max_open,
    "max_consecutive_losses": _losing_streak,
    "max_lots": _max_lots,
    "max_exposure": _max_exposure,
    "cooldown_bars": _cooldown,
    "max_spread_pips": _spread,
    "trading_hours": _trading_hours,
    "max_quote_age_seconds": _quote_age,
}
