"""The tables of a run: trades, intents and events, newest first."""

from __future__ import annotations

from typing import Any

import panel as pn

from panel_app.look import parts, theme
from panel_app.look.formatting import DASH, latency, moment, money, sentence
from toolkit.store.reading.records import EventRow, IntentRow, TradeRow

_LEVELS = {"error": theme.LOSS, "warning": theme.WARNING, "info": theme.NEUTRAL, "debug": theme.NEUTRAL}


def side_words(side: str) -> str:
    """Return a side as an arrow and a word."""
    return "\N{BLACK UP-POINTING TRIANGLE} Buy" if side == "BUY" else "\N{BLACK DOWN-POINTING TRIANGLE} Sell"


def trades_table() -> pn.widgets.Tabulator:
    """Return the table of trades."""
    return parts.table(
        {"side": "Side", "lots": "Lots", "entry": "Opened (UTC)", "entry_price": "Entry", "stop": "Stop",
         "target": "Target", "exit": "Closed (UTC)", "exit_price": "Exit", "profit": "Profit",
         "costs": "Costs", "net": "Net", "reason": "Reason"},
        html=("net", "side"), right=("lots", "entry_price", "stop", "target", "exit_price", "profit", "costs", "net"),
    )  # fmt: skip


def trade_rows(trades: list[TradeRow], digits: int) -> list[dict[str, Any]]:
    """Return trades as rows of `trades_table`, newest first."""

    def price(value: Any) -> str:
        return DASH if value is None else f"{value:.{digits}f}"

    return [
        {
            "side": side_words(row.side),
            "lots": f"{row.lots:f}", "entry": moment(row.entry_time), "entry_price": price(row.entry_price),
            "stop": price(row.stop_loss), "target": price(row.take_profit),
            "exit": moment(row.exit_time) if row.exit_time else "open", "exit_price": price(row.exit_price),
            "reason": sentence(row.exit_reason), "profit": money(row.profit, signed=True),
            "costs": money(row.commission + row.swap, signed=True),
            "net": parts.coloured(money(row.net, signed=True), float(row.net)) if row.exit_time else DASH,
        }
        for row in sorted(trades, key=lambda row: row.entry_time, reverse=True)
    ]  # fmt: skip


def intents_table() -> pn.widgets.Tabulator:
    """Return the table of intents."""
    return parts.table(
        {"state": "State", "action": "Action", "side": "Side", "symbol": "Symbol", "bar": "Decided on bar (UTC)",
         "filled": "Filled", "price": "Price", "latency": "Send to answer", "total": "Decision to result",
         "attempt": "Attempt", "reason": "Reason"},
        html=("state",), right=("filled", "price", "latency", "total", "attempt"),
    )  # fmt: skip


def intent_rows(intents: list[IntentRow]) -> list[dict[str, Any]]:
    """Return intents as rows of `intents_table`, in the order given."""
    return [
        {
            "state": parts.status_html(row.state, theme.INTENT_COLOURS), "action": sentence(row.action),
            "side": row.side.capitalize(), "symbol": row.symbol, "bar": moment(row.bar_time),
            "filled": f"{row.filled_lots:f}" if row.filled_lots else DASH,
            "price": DASH if row.average_price is None else f"{row.average_price:f}",
            "latency": latency(row.latency_ms), "total": latency(row.total_ms), "attempt": str(row.attempt),
            "reason": row.reason,
        }
        for row in intents
    ]  # fmt: skip


def events_table() -> pn.widgets.Tabulator:
    """Return the table of events."""
    return parts.table(
        {"level": "", "at": "Time (UTC)", "market": "Market time", "kind": "Event", "message": "What happened"},
        html=("level",), widths={"level": 40},
    )  # fmt: skip


def event_rows(events: list[EventRow]) -> list[dict[str, Any]]:
    """Return events as rows of `events_table`, newest first."""
    return [
        {
            "level": parts.dot(_LEVELS.get(row.level, theme.NEUTRAL)), "at": moment(row.at, seconds=True),
            "market": moment(row.market_time), "kind": sentence(row.kind), "message": row.message,
        }
        for row in reversed(events)
    ]  # fmt: skip
