"""The intents of a run: the latest as a timeline of their states, all of them as a table."""

from __future__ import annotations

import panel as pn

from panel_app.charts.timeline import FEW, MOST, IntentTimeline
from panel_app.data_store import RunTopic
from panel_app.look import parts, tables
from panel_app.look.export import export_button


class Intents:
    """Timeline and table."""

    title = "Intents"

    def __init__(self, topic: RunTopic) -> None:
        self._timeline = IntentTimeline(_room(topic))
        # The figure is put in place when it is complete: one that changes while the browser builds it breaks there.
        self._pane = pn.pane.Bokeh(None, sizing_mode="stretch_width", margin=(4, 2, 0, 2))
        self._table = tables.intents_table()
        self._seen = -1
        self.content = pn.Column(
            export_button(f"intents-{str(topic.run_id)[:8]}", lambda: list(topic.intents)), self._pane, self._table,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def show(self, topic: RunTopic) -> None:
        """Show the intents when any changed."""
        if topic.intents.seq == self._seen:
            return
        self._seen = topic.intents.seq
        newest = sorted(topic.intents, key=lambda row: row.created_at, reverse=True)
        parts.fill(self._table, tables.intent_rows(newest))
        shown = newest[:MOST]
        steps = topic.operations.steps(topic.reader, [row.intent_id for row in shown])
        if self._pane.object is None or self._timeline.most != _room(topic):
            self._timeline = IntentTimeline(_room(topic))
            self._timeline.show(shown, steps)
            self._pane.object = self._timeline.figure
        else:
            self._timeline.show(shown, steps)


def _room(topic: RunTopic) -> int:
    return FEW if len(topic.intents) <= FEW else MOST
