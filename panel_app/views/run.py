"""One run: what it trades, how it stands, its prices with entries, exits, stops and targets, its equity, and its tables."""

from __future__ import annotations

from collections.abc import Callable
from statistics import quantiles
from typing import Any
from uuid import UUID

import panel as pn
import panel_material_ui as pmui

from panel_app import theme
from panel_app.charts.equity import EquityChart
from panel_app.charts.price import PriceChart
from panel_app.data_store import DataStore, RunTopic
from panel_app.formatting import DASH, age, escape, figure, latency, money
from panel_app.session_feed import SessionFeed
from panel_app.views import parts, tables
from toolkit import clock
from toolkit.store.queries import Reader
from toolkit.store.records import FleetRow

_SPANS = {"Latest": 180, "1 month": 520, "3 months": 1560}


class RunView(pn.viewable.Viewer):
    """A run that keeps itself up to date, on the page and in a notebook.

    Parameters
    ----------
    store
        The process's data store.
    run_id
        Which run.
    reader
        Who looks; the store's own principal when left out. `NotFound` when that principal may not see the run.
    actions
        Returns what goes beside the heading (buttons); None shows none.
    """

    def __init__(
        self,
        store: DataStore,
        run_id: UUID,
        *,
        reader: Reader | None = None,
        actions: Callable[[RunTopic], Any] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.run_id = run_id
        self._store = store
        self._topic: RunTopic = store.run(run_id, reader)
        self._seen = {"trades": 0, "intents": 0, "events": 0}
        self._curve_seen = -1
        self._heading = parts.Heading()
        self._tiles = parts.Tiles()
        self._tables = {
            "trades": tables.trades_table(), "intents": tables.intents_table(), "events": tables.events_table()
        }  # fmt: skip
        self._chart: PriceChart | None = None
        self._equity: EquityChart | None = None
        self._bokeh: list[pn.pane.Bokeh] = []
        self._tabs = self._make_tabs()
        self._actions = actions(self._topic) if actions is not None else None
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            pn.FlexBox(
                self._heading,
                *([self._actions] if self._actions is not None else []),
                align_items="center",
                gap="10px",
                margin=0,
                sizing_mode="stretch_width",
            ),
            self._tiles,
            *self._charts(),
            self._tabs,
            self.feed.heartbeat,
            sizing_mode="stretch_width",
            styles={"gap": "14px"},
            margin=0,
        )
        self.refresh()
        self.feed.start()

    def __panel__(self) -> Any:
        return self._layout

    def close(self) -> None:
        """Stop following the run."""
        self.feed.close()

    def refresh(self) -> None:
        """Bring everything that is shown up to date."""
        row = self._topic.row
        changed_trades = self._topic.trades.since(self._seen["trades"])
        if self._chart is not None and self._equity is not None:
            self._chart.grow(self._topic.stop)
            if changed_trades or row.open_positions:
                self._chart.show_trades(changed_trades.rows if changed_trades else [])
            if self._topic.curve.version != self._curve_seen:
                self._curve_seen = self._topic.curve.version
                self._equity.show(self._topic.curve)
            if self._bokeh and pn.state.curdoc is None:
                pn.io.push_notebook(*self._bokeh)
        self._seen["trades"] = changed_trades.seq
        self._show_table()
        if self._actions is not None:
            self._actions.refresh()
        self._show_heading(row)
        self._show_tiles(row)

    # ---- pieces

    def _charts(self) -> list[Any]:
        topic = self._topic
        if topic.bars is None:
            words = f"No price chart: {topic.bars_missing}."
            return [pmui.Alert(escape(words), severity="info", sizing_mode="stretch_width", margin=0)]
        self._chart = PriceChart(topic.bars, topic.stop)
        self._equity = EquityChart(topic.bars, float(topic.row.capital), self._chart.x_range)
        chart = self._chart
        buttons = [
            pmui.Button(label=label, variant="text", size="small", margin=0, on_click=self._zoom(chart, span))
            for label, span in (*_SPANS.items(), ("All", None))
        ]
        legend = pn.pane.HTML(
            _LEGEND,
            margin=(2, 8),
            styles={"margin-left": "auto", "opacity": ".85", "font-size": "12px", "max-width": "100%"},
        )
        self._bokeh = [
            pn.pane.Bokeh(chart.figure, sizing_mode="stretch_width", margin=(0, 2, 6, 6)),
            pn.pane.Bokeh(self._equity.layout, sizing_mode="stretch_width", margin=(0, 2, 6, 6)),
        ]
        title = " · ".join((*topic.row.symbols, topic.row.timeframe, "bid"))
        return [
            pmui.Paper(
                pn.FlexBox(_caption(title), *buttons, legend, align_items="center", margin=(4, 4, 0, 8)),
                self._bokeh[0],
                elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0,
            ),
            pmui.Paper(
                pn.FlexBox(_caption(f"Equity and drawdown · {topic.row.currency}"), margin=(6, 4, 0, 8)),
                self._bokeh[1],
                elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0,
            ),
        ]  # fmt: skip

    def _zoom(self, chart: PriceChart, span: int | None) -> Callable[[Any], None]:
        def click(_event: Any) -> None:
            if span is None:
                chart.show_all()
            else:
                chart.follow(span)

        return click

    def _make_tabs(self) -> Any:
        strategy = pn.pane.HTML("", sizing_mode="stretch_width", margin=8)
        strategy.object = version_html(self._topic)
        tabs = pmui.Tabs(
            ("Trades", self._tables["trades"]),
            ("Intents", self._tables["intents"]),
            ("Events", self._tables["events"]),
            ("Strategy", strategy),
            dynamic=True,
            sizing_mode="stretch_width",
            margin=0,
        )
        tabs.param.watch(lambda _event: self._show_table(), "active")
        return tabs

    def _show_table(self) -> None:
        # Only the table in view is brought up to date; the others follow when their tab is opened.
        name = ("trades", "intents", "events", "")[self._tabs.active]
        topic = self._topic
        if name == "trades" and topic.trades.seq != self._seen.get("trades_shown"):
            digits = topic.bars.instrument.digits if topic.bars is not None else None
            parts.fill(self._tables[name], tables.trade_rows(list(topic.trades), digits or 5))
            self._seen["trades_shown"] = topic.trades.seq
        elif name == "intents" and topic.intents.seq != self._seen["intents"]:
            newest = sorted(topic.intents, key=lambda row: row.created_at, reverse=True)
            parts.fill(self._tables[name], tables.intent_rows(newest))
            self._seen["intents"] = topic.intents.seq
        elif name == "events" and topic.events.seq != self._seen["events"]:
            rows = sorted(topic.events, key=lambda row: row.event_id)
            parts.fill(self._tables[name], tables.event_rows(rows))
            self._seen["events"] = topic.events.seq

    def _show_heading(self, row: FleetRow) -> None:
        beat = row.heartbeat_age_seconds(clock.now())
        chips = [
            (row.status.capitalize(), theme.STATUS_COLOURS.get(row.status, theme.NEUTRAL)),
            (f"{row.stage} stage", ""),
            (f"account {row.account}", ""),
            (" ".join((*row.symbols, row.timeframe)), ""),
            (f"heartbeat {age(beat)}" if row.status == "RUNNING" else "", ""),
            ("account halted" if row.halted else "", theme.LOSS),
            *((f"guardrail {rule}", theme.WARNING) for rule in row.trips),
            (f"{row.unresolved_intents} unresolved" if row.unresolved_intents else "", theme.LOSS),
        ]
        error = row.last_error or self._store.failure
        self._heading.put(f"{row.bot} v{row.version_number}", chips, error)

    def _show_tiles(self, row: FleetRow) -> None:
        topic = self._topic
        closed = [trade for trade in topic.trades if trade.exit_time is not None]
        won = sum(1 for trade in closed if trade.net > 0)
        total = row.realised
        percent = float(total / row.capital * 100) if row.capital else 0.0
        fall = float(topic.curve.fall.min()) if len(topic.curve.fall) else 0.0
        answers = [float(intent.latency_ms) for intent in topic.intents if intent.latency_ms is not None]
        bars = f"{row.bars_count:,} bars" + (f" of {len(topic.bars):,}" if topic.bars is not None else "")
        gained = row.equity - row.capital
        open_words = f"{row.open_positions} open position{'' if row.open_positions == 1 else 's'}"
        self._tiles.put(
            [
                parts.Tile("Equity", money(row.equity), money(gained, row.currency, signed=True),
                           theme.money_colour(float(gained))),
                parts.Tile("Realised", money(total, signed=True), figure(percent, 2, "%", signed=True),
                           theme.money_colour(percent)),
                parts.Tile("Open profit", money(row.open_profit, signed=True), open_words),
                parts.Tile("Max drawdown", figure(fall, 2, "%") if fall else DASH, "of equity, so far"),
                parts.Tile("Trades", f"{len(closed):,}", f"{won / len(closed):.0%} won" if closed else "none closed yet"),
                parts.Tile("Intents", f"{row.intents_count:,}", f"{row.fills_count:,} filled, {row.refused_count:,} refused"),
                parts.Tile("Send to answer", _middle(answers), _slowest(answers)),
                parts.Tile("Market time", f"{row.cursor:%d %b %H:%M}" if row.cursor else DASH, bars),
            ]
        )  # fmt: skip


def _middle(values: list[float]) -> str:
    return latency(sorted(values)[len(values) // 2]) if values else DASH


def _slowest(values: list[float]) -> str:
    return f"95 % under {latency(quantiles(values, n=20)[-1])}" if len(values) > 1 else ""


def _caption(text: str) -> Any:
    return pn.pane.HTML(f"<b>{escape(text)}</b>", margin=(6, 12, 4, 4))


def version_html(topic: RunTopic) -> str:
    """Return the version of a run in words: what it does, its note, its hash."""
    from panel_app.views.describe import spec_in_words

    detail = topic.detail
    lines = "".join(f"<li>{escape(line)}</li>" for line in spec_in_words(detail.spec_json))
    note = f"<p>{escape(detail.note)}</p>" if detail.note else ""
    return (
        f"<h3>{escape(detail.bot)} version {detail.version_number}</h3>{note}<ul>{lines}</ul>"
        f"<p style='opacity:.7'>version <code>{escape(detail.version_hash)}</code></p>"
    )


def _key(colour: str, shape: str, words: str) -> str:
    return f'<span style="display:inline-block;margin-right:10px"><span style="color:{colour}">{shape}</span> {words}</span>'


_LEGEND = (
    _key(theme.ACCENT, "\N{BLACK UP-POINTING TRIANGLE}", "long")
    + _key(theme.ACCENT, "\N{BLACK DOWN-POINTING TRIANGLE}", "short")
    + _key(theme.PROFIT, "\N{BLACK CIRCLE}", "exit in profit")
    + _key(theme.LOSS, "\N{BLACK CIRCLE}", "exit at a loss")
    + _key(theme.LEVEL_STOP, "\N{HORIZONTAL ELLIPSIS}", "stop")
    + _key(theme.LEVEL_TARGET, "\N{HORIZONTAL ELLIPSIS}", "target")
)
