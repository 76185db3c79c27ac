"""Tabs that are tables: positions, trades, events, log lines."""

from __future__ import annotations

from typing import Any

import panel as pn

from panel_app.data_store import RunTopic
from panel_app.data_store.marks import open_profit
from panel_app.data_store.review import LogLine, Review, ask
from panel_app.look import parts, tables, theme
from panel_app.look.export import export_button
from panel_app.look.formatting import DASH, age, moment, money
from toolkit.market import money_digits
from toolkit.store.reading.records import TradeRow


class Positions:
    """What is open now: at the last price, with the distance to stop and target."""

    title = "Positions"

    def __init__(self) -> None:
        self._table = parts.table(
            {"side": "Side", "symbol": "Symbol", "lots": "Lots", "entry": "Entry", "price": "Now", "profit": "Open profit",
             "stop": "Stop", "to_stop": "To stop", "target": "Target", "to_target": "To target", "held": "Held",
             "opened": "Opened (UTC)"},
            html=("side", "profit"), right=("lots", "entry", "price", "profit", "stop", "to_stop", "target", "to_target"),
        )  # fmt: skip
        self.content = self._table

    def show(self, topic: RunTopic) -> None:
        """Show the open positions."""
        rows = [self._cells(topic, trade) for trade in topic.trades if trade.exit_time is None]
        parts.fill(self._table, rows)

    def _cells(self, topic: RunTopic, trade: TradeRow) -> dict[str, Any]:
        bars, row = topic.bars, topic.row
        place = topic.stop - 1
        digits = (bars.instrument.digits if bars is not None else None) or 5
        price = None
        profit = None
        if bars is not None and place >= 0 and trade.symbol == bars.symbol:
            points = bars.bid_close[place] if trade.side == "BUY" else bars.ask_close[place]
            price = bars.instrument.price(int(points))
            if row.cursor is not None:
                profit = open_profit(bars, trade, row.cursor, row.currency)

        def level(value: Any) -> str:
            return DASH if value is None else f"{value:.{digits}f}"

        def away(value: Any) -> str:
            if value is None or price is None or bars is None:
                return DASH
            return f"{abs(value - price) / bars.instrument.pip_size:,.1f} pips"

        cents = None if profit is None else profit.quantize(type(profit)(1).scaleb(-money_digits(row.currency)))
        held = None if row.cursor is None else (row.cursor - trade.entry_time).total_seconds()
        return {
            "side": tables.side_words(trade.side), "symbol": trade.symbol, "lots": f"{trade.open_lots:f}",
            "entry": level(trade.entry_price), "price": level(price),
            "profit": DASH if cents is None else parts.coloured(money(cents, signed=True), float(cents)),
            "stop": level(trade.stop_loss), "to_stop": away(trade.stop_loss), "target": level(trade.take_profit),
            "to_target": away(trade.take_profit), "held": age(held), "opened": moment(trade.entry_time),
        }  # fmt: skip


class Trades:
    """Every trade, newest first."""

    title = "Trades"

    def __init__(self, topic: RunTopic) -> None:
        self._table = tables.trades_table()
        self._seen = -1
        self.content = pn.Column(
            export_button(f"trades-{str(topic.run_id)[:8]}", lambda: list(topic.trades)), self._table,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def show(self, topic: RunTopic) -> None:
        """Show the trades when any changed."""
        if topic.trades.seq == self._seen:
            return
        self._seen = topic.trades.seq
        digits = topic.bars.instrument.digits if topic.bars is not None else None
        parts.fill(self._table, tables.trade_rows(list(topic.trades), digits or 5))


class Events:
    """What happened, in words, newest first."""

    title = "Events"

    def __init__(self, topic: RunTopic) -> None:
        self._table = tables.events_table()
        self._seen = -1
        self.content = pn.Column(
            export_button(f"events-{str(topic.run_id)[:8]}", lambda: list(topic.events)), self._table,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def show(self, topic: RunTopic) -> None:
        """Show the events when there are new ones."""
        if topic.events.seq != self._seen:
            self._seen = topic.events.seq
            parts.fill(self._table, tables.event_rows(sorted(topic.events, key=lambda row: row.event_id)))


class Log:
    """What processes of this machine wrote about the run."""

    title = "Log"

    def __init__(self, review: Review) -> None:
        self._review = review
        self._busy = False
        self._table = parts.table(
            {"level": "", "at": "Time (UTC)", "event": "Event", "facts": "Facts"}, html=("level",), widths={"level": 40}
        )
        self.content = self._table

    def show(self, topic: RunTopic) -> None:
        """Read the log again."""
        if not self._busy:
            self._busy = True
            ask(lambda: self._review.log(topic.run_id), self._fill, lambda error: self._fill([_unread(error)]))

    def _fill(self, lines: list[LogLine]) -> None:
        self._busy = False
        parts.fill(self._table, [self._cells(line) for line in lines])

    @staticmethod
    def _cells(line: LogLine) -> dict[str, Any]:
        colour = {"error": theme.LOSS, "critical": theme.LOSS, "warning": theme.WARNING}.get(line.level, theme.NEUTRAL)
        return {
            "level": parts.dot(colour),
            "at": line.at[:19].replace("T", " "),
            "event": line.event,
            "facts": line.facts,
        }


def _unread(error: Exception) -> LogLine:
    return LogLine("", "warning", "the log cannot be read", f"{type(error).__name__}: {error}")
