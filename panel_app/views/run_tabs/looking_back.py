"""Why the run did what it did on a bar, and how far it is from its own model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app.data_store import RunTopic
from panel_app.data_store.review import Review, ask
from panel_app.look import parts, theme
from panel_app.look.formatting import escape, moment, money
from toolkit.store.people.operations import DriftMark

_WORKING = "<p style='opacity:.7'>Working it out …</p>"


class Explain:
    """Everything known of one bar: the one clicked on the chart, or the one whose time is typed."""

    title = "Explain"

    def __init__(self, review: Review, topic: RunTopic) -> None:
        self._review = review
        self._topic = topic
        self._when = pmui.TextInput(
            label="Open of the bar (UTC)", placeholder="2017-03-01 14:00", size="small", width=220
        )
        asks = pmui.Button(label="Explain", variant="outlined", size="small", on_click=lambda _event: self._typed())
        latest = pmui.Button(
            label="Latest decision", variant="text", size="small", on_click=lambda _event: self._latest()
        )
        self._answer = pn.pane.HTML(
            "<p>Click a bar on the price chart, or type the time at which it opened.</p>", sizing_mode="stretch_width",
            margin=(4, 10),
        )  # fmt: skip
        self.content = pn.Column(
            pn.FlexBox(self._when, asks, latest, align_items="center", gap="6px", margin=(8, 4, 0, 4)),
            self._answer, sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def show(self, topic: RunTopic) -> None:
        """Nothing changes by itself: a bar that is over stays as it is."""

    def about(self, when: datetime) -> None:
        """Explain the bar that opened then."""
        self._when.value = moment(when)
        self._answer.object = _WORKING
        run_id = self._topic.run_id
        ask(lambda: self._review.explain(run_id, when), self._say, self._refuse)

    def _say(self, found: Any) -> None:
        self._answer.object = found._repr_html_()

    def _refuse(self, error: Exception) -> None:
        self._answer.object = f"<p>{escape(error)}</p>"

    def _typed(self) -> None:
        text = str(self._when.value_input or self._when.value or "").strip()
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            self._answer.object = f"<p>A time must look like 2017-03-01 14:00, was {escape(text)!r}.</p>"
            return
        self.about(when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC))

    def _latest(self) -> None:
        decided = [intent.bar_time for intent in self._topic.intents if intent.bar_time is not None]
        if decided:
            self.about(max(decided))
        else:
            self._answer.object = "<p>The run has decided nothing yet.</p>"


class Drift:
    """The run against its own version, replayed over the bars it saw: measured now, and as the watchdog stored it hourly."""

    title = "Drift"

    def __init__(self, review: Review) -> None:
        self._review = review
        self._measured_at = -1
        self._busy = False
        self._answer = pn.pane.HTML(_WORKING, sizing_mode="stretch_width", margin=(12, 10))
        self._stored = parts.table(
            {"at": "Measured (UTC)", "gap": "Profit gap", "matched": "Trades matched", "missing": "Missing", "extra": "Extra",
             "words": "In words"}, html=("gap",), right=("gap", "matched", "missing", "extra"),
        )  # fmt: skip
        self._stored_seen = -1
        self.content = pn.Column(
            self._answer, pn.pane.HTML("<b>Measured by the watchdog, hourly</b>", margin=(6, 10)), self._stored,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def show(self, topic: RunTopic) -> None:
        """Measure again when a trade closed since the last time; what is stored comes with the run's events."""
        if topic.events.seq != self._stored_seen:
            self._stored_seen = topic.events.seq
            marks = topic.operations.drift_history(topic.reader, topic.run_id)
            parts.fill(self._stored, [_drift_cells(mark) for mark in marks])
        if not self._busy and topic.row.closed_trades != self._measured_at:
            self._busy = True
            self._measured_at = topic.row.closed_trades
            ask(lambda: self._review.drift(topic.run_id), self._say, self._refuse)

    def _say(self, found: Any) -> None:
        self._busy = False
        self._answer.object = found._repr_html_()

    def _refuse(self, error: Exception) -> None:
        self._busy = False
        self._answer.object = f"<p>{escape(error)}</p>"


def _drift_cells(mark: DriftMark) -> dict[str, Any]:
    light = parts.diamond(theme.WARNING) if mark.profit_gap or mark.level != "info" else parts.dot(theme.PROFIT)
    return {
        "at": moment(mark.at), "gap": f"{light}{escape(money(mark.profit_gap, signed=True))}", "matched": f"{mark.matched:,}",
        "missing": str(mark.missing), "extra": str(mark.extra), "words": mark.words,
    }  # fmt: skip
