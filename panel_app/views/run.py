"""One run: what it trades, how it stands, its prices with entries, exits, stops and targets, its equity, and its tabs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from statistics import quantiles
from typing import Any
from uuid import UUID

import numpy as np
import panel as pn
import panel_material_ui as pmui

from panel_app.charts.equity import EquityChart
from panel_app.charts.indicators import Floats, node_columns
from panel_app.charts.price import PriceChart
from panel_app.data_store import DataStore, RunTopic
from panel_app.data_store.review import Review, ask
from panel_app.data_store.session_feed import SessionFeed
from panel_app.look import parts, theme
from panel_app.look.formatting import DASH, age, escape, figure, latency, moment, money
from panel_app.views.run_tabs import Place
from panel_app.views.run_tabs.guards import Guards
from panel_app.views.run_tabs.intents import Intents
from panel_app.views.run_tabs.looking_back import Drift, Explain
from panel_app.views.run_tabs.rows import Events, Log, Positions, Trades
from panel_app.views.run_tabs.version import Version
from toolkit import clock
from toolkit.research.validation.expectation import Expectation
from toolkit.store.reading.queries import Reader
from toolkit.store.reading.records import FleetRow

_SPANS = {"Latest": 180, "1 month": 520, "3 months": 1560}
SILENT_SECONDS = 30.0


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
    review
        Answers why and how far; None leaves out the tabs that ask it.
    """

    def __init__(
        self,
        store: DataStore,
        run_id: UUID,
        *,
        reader: Reader | None = None,
        actions: Callable[[RunTopic], Any] | None = None,
        review: Review | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.run_id = run_id
        self._store = store
        self._topic: RunTopic = store.run(run_id, reader)
        self._trades_seen = 0
        self._curve_seen = -1
        self._heading = parts.Heading()
        self._tiles = parts.Tiles()
        self._silence = pmui.Alert("", severity="warning", sizing_mode="stretch_width", margin=0, visible=False)
        self._alerts = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, visible=False)
        self._chart: PriceChart | None = None
        self._equity: EquityChart | None = None
        self._chart_place = pn.Column(sizing_mode="stretch_width", styles={"gap": "14px"}, margin=0)
        self._panes = pn.Column(sizing_mode="stretch_width", margin=0)
        self._legend = parts.legend(_LEGEND)
        self._bokeh: list[pn.pane.Bokeh] = []
        self._explain = Place(Explain.title, lambda: Explain(review, self._topic)) if review is not None else None
        self._shown: list[Place] = self._make_tabs(review)
        self._tabs = pmui.Tabs(
            *((place.title, place.content) for place in self._shown),
            dynamic=True,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._tabs.param.watch(lambda _event: self._show_tab(), "active")
        self._chart_place[:] = self._charts()
        self._actions = actions(self._topic) if actions is not None else None
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            parts.heading_line(self._heading, self._actions),
            self._silence,
            self._alerts,
            self._tiles,
            self._chart_place,
            self._tabs,
            self.feed.heartbeat,
            sizing_mode="stretch_width",
            styles={"gap": "14px"},
            margin=0,
        )
        self.refresh()
        self.feed.start()
        self._ask_for_indicators()

    def __panel__(self) -> Any:
        return self._layout

    def close(self) -> None:
        """Stop following the run."""
        self.feed.close()

    def refresh(self) -> None:
        """Bring everything that is shown up to date."""
        topic, row = self._topic, self._topic.row
        changed_trades = topic.trades.since(self._trades_seen)
        if self._chart is None and topic.bars is not None:  # the first bar of a run on live quotes
            self._chart_place[:] = self._charts()
            changed_trades = topic.trades.since(0)
            self._ask_for_indicators()
        if self._chart is not None and self._equity is not None:
            self._chart.grow(topic.stop, topic.bars)
            if changed_trades or row.open_positions:
                self._chart.show_trades(changed_trades.rows if changed_trades else [], topic.moves)
            if topic.curve.version != self._curve_seen:
                self._curve_seen = topic.curve.version
                self._equity.show(topic.curve, topic.bars)
                if topic.live:
                    self._ask_for_indicators()
            if self._bokeh and pn.state.curdoc is None:
                pn.io.push_notebook(*self._bokeh)
        self._trades_seen = changed_trades.seq
        self._show_tab()
        if self._actions is not None:
            self._actions.refresh()
        self._show_heading(row)
        self._show_alerts()
        self._show_tiles(row)

    # ---- pieces

    def _make_tabs(self, review: Review | None) -> list[Place]:
        topic = self._topic
        found = [
            Place(Positions.title, Positions), Place(Trades.title, lambda: Trades(topic)),
            Place(Intents.title, lambda: Intents(topic)), Place(Guards.title, Guards),
            Place(Events.title, lambda: Events(topic)),
        ]  # fmt: skip
        if review is not None and self._explain is not None:
            found += [self._explain, Place(Drift.title, lambda: Drift(review)), Place(Log.title, lambda: Log(review))]
        found.append(Place(Version.title, lambda: Version(topic)))
        return found

    def _picked(self, when: datetime) -> None:
        if self._explain is not None:
            self._tabs.active = self._shown.index(self._explain)
            explain = self._explain.tab
            assert isinstance(explain, Explain)
            explain.about(when)

    def _ask_for_indicators(self) -> None:
        bars, spec = self._topic.bars, self._topic.detail.spec_json
        if bars is not None and self._chart is not None:
            # Refused: the Strategy tab says why this toolkit cannot read the spec.
            ask(lambda: node_columns(spec, bars), self._draw_indicators, lambda _error: None)

    def _draw_indicators(self, columns: dict[str, Floats]) -> None:
        chart = self._chart
        assert chart is not None
        if chart.indicators is not None:
            chart.redraw_indicators(columns)
            return
        drawn = chart.add_indicators(columns)
        self._panes[:] = [pn.pane.Bokeh(pane, sizing_mode="stretch_width", margin=(0, 2, 6, 6)) for pane in drawn.panes]
        lines = "".join(_key(colour, "\N{EM DASH}", escape(name)) for name, colour in drawn.legend)
        self._legend.object = lines + _LEGEND

    # ---- pieces

    def _charts(self) -> list[Any]:
        topic = self._topic
        if topic.bars is None:
            words = f"No price chart: {topic.bars_missing}."
            return [pmui.Alert(escape(words), severity="info", sizing_mode="stretch_width", margin=0)]
        evidence = json.loads(topic.detail.evidence_json or "{}")
        expected = Expectation.from_facts((evidence.get("trial") or {}).get("expectation") or {})
        self._chart = PriceChart(topic.bars, topic.stop, on_pick=self._picked)
        self._equity = EquityChart(topic.bars, float(topic.row.capital), self._chart.x_range, expected=expected)
        chart = self._chart
        buttons = [
            pmui.Button(label=label, variant="text", size="small", margin=0, on_click=self._zoom(chart, span))
            for label, span in (*_SPANS.items(), ("All", None))
        ]
        self._bokeh = [
            pn.pane.Bokeh(chart.figure, sizing_mode="stretch_width", margin=(0, 2, 6, 6)),
            pn.pane.Bokeh(self._equity.layout, sizing_mode="stretch_width", margin=(0, 2, 6, 6)),
        ]
        title = " · ".join((*topic.row.symbols, topic.row.timeframe, "bid"))
        band = "" if expected is None else " · band: 90 of 100 runs that trade as its sea trial did"
        return [
            parts.paper(
                pn.FlexBox(_caption(title), *buttons, self._legend, align_items="center", margin=(4, 4, 0, 8)),
                self._bokeh[0],
                self._panes,
            ),
            parts.paper(
                pn.FlexBox(_caption(f"Equity and drawdown · {topic.row.currency}{band}"), margin=(6, 4, 0, 8)),
                self._bokeh[1],
            ),
        ]

    def _zoom(self, chart: PriceChart, span: int | None) -> Callable[[Any], None]:
        def click(_event: Any) -> None:
            if span is None:
                chart.show_all()
            else:
                chart.follow(span)

        return click

    def _show_tab(self) -> None:
        # Only the tab in view is brought up to date; the others follow when they are opened.
        self._shown[self._tabs.active].show(self._topic)

    def _show_heading(self, row: FleetRow) -> None:
        beat = row.heartbeat_age_seconds(clock.now())
        chips = [
            (row.status.capitalize(), theme.STATUS_COLOURS.get(row.status, theme.NEUTRAL)),
            (f"{row.stage} stage", ""),
            (f"account {row.account}", ""),
            (" ".join((*row.symbols, row.timeframe)), ""),
            (f"heartbeat {age(beat)}" if row.status == "RUNNING" else "", ""),
            ("account halted" if row.halted else "", theme.LOSS),
            *((f"guardrail {rule.removeprefix('guard_').replace('_', ' ')}", theme.WARNING) for rule in row.trips),
            (f"{row.unresolved_intents} unresolved" if row.unresolved_intents else "", theme.LOSS),
            (self._against_band(), theme.WARNING),
        ]
        error = row.last_error or self._store.failure
        self._heading.put(f"{row.bot} v{row.version_number}", chips, error)
        silent = row.status in ("RUNNING", "STOPPING") and (beat is None or beat > SILENT_SECONDS)
        if silent:
            asked = " It was asked to stop; nothing happens until one does." if row.status == "STOPPING" else ""
            who = "No live worker carries" if row.host == "workers" else "No process carries"
            self._silence.object = f"{who} this run: last sign of life {age(beat)} ago.{asked}"
        self._silence.visible = silent

    def _show_alerts(self) -> None:
        lines = "".join(
            f"<li>{parts.diamond(theme.LOSS if row.level == 'error' else theme.WARNING)}<b>{escape(row.title)}</b> "
            f"{escape(row.body)} <span style='opacity:.7'>since {moment(row.first_at)} UTC</span></li>"
            for row in self._topic.alerts
        )
        html = f"<ul role='status' style='list-style:none;padding:0;margin:0'>{lines}</ul>" if lines else ""
        if self._alerts.object != html:
            self._alerts.object = html
            self._alerts.visible = bool(lines)

    def _against_band(self) -> str:
        outside = 0 if self._equity is None else self._equity.outside(self._topic.curve)
        return {-1: "below expectation", 1: "above expectation"}.get(outside, "")

    def _show_tiles(self, row: FleetRow) -> None:
        topic = self._topic
        closed = [trade for trade in topic.trades if trade.exit_time is not None]
        won = sum(1 for trade in closed if trade.net > 0)
        total = row.realised
        percent = float(total / row.capital * 100) if row.capital else 0.0
        fall = float(np.min(topic.curve.fall)) if len(topic.curve.fall) else 0.0
        answers = [float(intent.latency_ms) for intent in topic.intents if intent.latency_ms is not None]
        bars = f"{row.bars_count:,} bars" + (
            f" of {len(topic.bars):,}" if topic.bars is not None and not topic.live else ""
        )
        gained = row.equity - row.capital
        open_words = f"{row.open_positions} open position{'' if row.open_positions == 1 else 's'}"
        self._tiles.put(
            [
                parts.Tile("Equity", money(row.equity), money(gained, row.currency, signed=True),
                           theme.money_colour(float(gained))),
                parts.Tile("Realised", money(total, signed=True), figure(percent, 2, "%", signed=True),
                           theme.money_colour(percent)),
                parts.Tile("Today", *_today(row)),
                parts.Tile("Open profit", money(row.open_profit, signed=True), open_words),
                parts.Tile("Max drawdown", figure(fall, 2, "%") if fall else DASH, "of equity, so far"),
                parts.Tile("Trades", f"{len(closed):,}", f"{won / len(closed):.0%} won" if closed else "none closed yet"),
                parts.Tile("Intents", f"{row.intents_count:,}", f"{row.fills_count:,} filled, {row.refused_count:,} refused"),
                parts.Tile("Send to answer", _middle(answers), _slowest(answers)),
                parts.Tile("Market time", f"{row.cursor:%d %b %H:%M}" if row.cursor else DASH, bars),
            ]
        )  # fmt: skip


def _today(row: FleetRow) -> tuple[str, str, str]:
    gained = row.day_profit
    if gained is None:
        return DASH, "no day begun yet", ""
    percent = float(gained / row.day_base * 100) if row.day_base else 0.0
    return money(gained, signed=True), figure(percent, 2, "%", signed=True), theme.money_colour(float(gained))


def _middle(values: list[float]) -> str:
    return latency(sorted(values)[len(values) // 2]) if values else DASH


def _slowest(values: list[float]) -> str:
    return f"95 % under {latency(quantiles(values, n=20)[-1])}" if len(values) > 1 else ""


def _caption(text: str) -> Any:
    return pn.pane.HTML(f"<b>{escape(text)}</b>", margin=(6, 12, 4, 4))


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
