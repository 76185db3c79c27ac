"""The guardrails of a run: how far each is from denying an entry, and those that do."""

from __future__ import annotations

import panel as pn

from panel_app.data_store import RunTopic
from panel_app.look import parts, theme
from panel_app.look.formatting import escape, sentence
from panel_app.views.run_tabs.gauges import Gauge, gauges

_CSS = """
.guards { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px; }
.guard { border: 1px solid rgba(125,136,152,.28); border-radius: 8px; padding: 10px 14px 12px; }
.name { font-weight: 600; margin-bottom: 2px; }
.track { height: 7px; border-radius: 4px; background: rgba(125,136,152,.22); margin: 8px 0 6px; overflow: hidden; }
.fill { height: 100%; border-radius: 4px; }
.words { font-size: 12px; opacity: .8; font-variant-numeric: tabular-nums; }
"""


class Guards:
    """One gauge for each guardrail that is on."""

    title = "Guardrails"

    def __init__(self) -> None:
        self._pane = pn.pane.HTML("", stylesheets=[_CSS], sizing_mode="stretch_width", margin=(12, 4))
        self.content = self._pane

    def show(self, topic: RunTopic) -> None:
        """Show the distances as they are now."""
        cards = [_card(gauge) for gauge in gauges(topic)]
        trips = "".join(
            f"<li>{parts.diamond(theme.LOSS)}<b>{escape(sentence(rule.removeprefix('guard_')))}</b> denies entries now</li>"
            for rule in topic.row.trips
        )
        halted = f"<li>{parts.diamond(theme.LOSS)}<b>kill switch</b>: no entry leaves</li>" if topic.row.halted else ""
        lit = f"<ul style='list-style:none;padding:0;margin:0 0 12px'>{halted}{trips}</ul>" if halted or trips else ""
        html = lit + (f'<div class="guards">{"".join(cards)}</div>' if cards else "<p>This run has no guardrail.</p>")
        if self._pane.object != html:
            self._pane.object = html


def _card(gauge: Gauge) -> str:
    used = min(1.0, max(0.0, gauge.used or 0.0))
    colour = theme.LOSS if used >= 1.0 else theme.WARNING if used >= 0.75 else theme.ACCENT
    words = f"now {escape(gauge.now)} · limit {escape(gauge.limit)}"
    return (
        f'<div class="guard"><div class="name">{escape(gauge.rule.capitalize())}</div>'
        f'<div class="track" role="meter" aria-valuenow="{used * 100:.0f}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-label="{escape(gauge.rule)}"><div class="fill" style="width:{used * 100:.0f}%;background:{colour}"></div></div>'
        f'<div class="words">{words}</div><div class="words"><b>{escape(gauge.left)}</b></div></div>'
    )
