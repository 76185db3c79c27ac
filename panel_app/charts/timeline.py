"""Intents as a timeline: each a bar from decision to result, its states in their colours, the time it took beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bokeh.models import ColumnDataSource, FactorRange, HoverTool, Range1d
from bokeh.plotting import figure

from panel_app.look import theme
from panel_app.look.formatting import latency, moment, sentence
from toolkit.store.reading.records import IntentRow, IntentStep

MOST = 25
FEW = 8
_PART = ("y", "left", "right", "colour", "state", "took")
_END = ("y", "x", "colour", "words")


class IntentTimeline:
    """The latest intents, newest at the top.

    Parameters
    ----------
    most
        How many it has room for; its height never changes, because a figure resized while it is being built breaks in the
        browser.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.parts = ColumnDataSource(data={name: [] for name in _PART})
        self.ends = ColumnDataSource(data={name: [] for name in _END})
        self.y_range = FactorRange()
        self.x_range = Range1d(start=0, end=10)
        self.figure = self._draw()

    def show(self, intents: Sequence[IntentRow], steps: Mapping[UUID, Sequence[IntentStep]]) -> None:
        """Draw these intents, given newest first."""
        shown = [intent for intent in intents[: self.most] if steps.get(intent.intent_id)]
        parts: list[tuple[Any, ...]] = []
        ends: list[tuple[Any, ...]] = []
        labels: list[str] = []
        furthest = 1.0
        for place, intent in enumerate(shown):
            label = f"{moment(intent.bar_time)[5:]} {sentence(intent.action).split(' ')[0]} {intent.side.lower()} #{place + 1}"
            labels.append(label)
            way = steps[intent.intent_id]
            at = [(step.at - way[0].at).total_seconds() * 1000.0 for step in way]
            for step, left, right in zip(way, at, at[1:], strict=False):
                colour = theme.INTENT_COLOURS.get(step.to_state, theme.NEUTRAL)
                parts.append((label, left, right, colour, sentence(step.to_state), latency(right - left)))
            end = way[-1]
            took = f"{sentence(end.to_state)}, {latency(at[-1])}"
            ends.append((label, at[-1], theme.INTENT_COLOURS.get(end.to_state, theme.NEUTRAL), took))
            furthest = max(furthest, at[-1])
        empty = [" " * (place + 1) for place in range(self.most - len(labels))]
        self.y_range.factors = empty + labels[::-1]
        self.x_range.update(start=-0.01 * furthest, end=furthest * 1.35)
        self.parts.data = {name: [row[place] for row in parts] for place, name in enumerate(_PART)}
        self.ends.data = {name: [row[place] for row in ends] for place, name in enumerate(_END)}

    def _draw(self) -> Any:
        plot = figure(
            height=60 + 22 * self.most, sizing_mode="stretch_width", x_range=self.x_range, y_range=self.y_range, tools="",
            toolbar_location=None, name="intents", x_axis_label="milliseconds since the decision was durable",
        )  # fmt: skip
        plot.outline_line_color = None
        plot.ygrid.grid_line_color = None
        bars = plot.hbar(
            "y", left="left", right="right", height=0.55, source=self.parts, color="colour", line_color=None
        )
        plot.scatter("x", "y", source=self.ends, size=9, color="colour")
        plot.text("x", "y", text="words", source=self.ends, x_offset=9, y_offset=1, text_baseline="middle",
                  text_font_size="11px", text_color=theme.NEUTRAL)  # fmt: skip
        plot.add_tools(HoverTool(renderers=[bars], tooltips=[("state", "@state"), ("for", "@took")]))
        return plot
