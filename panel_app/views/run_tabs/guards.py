"""The guardrails of a run: how far each is from denying an entry, and those that do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import panel as pn

from panel_app.data_store import RunTopic
from panel_app.look import parts, theme
from panel_app.look.formatting import DASH, escape, figure, money, sentence
from toolkit.clock import to_ns

_CSS = """
.guards { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 12px; }
.guard { border: 1px solid rgba(125,136,152,.28); border-radius: 8px; padding: 10px 14px 12px; }
.name { font-weight: 600; margin-bottom: 2px; }
.track { height: 7px; border-radius: 4px; background: rgba(125,136,152,.22); margin: 8px 0 6px; overflow: hidden; }
.fill { height: 100%; border-radius: 4px; }
.words { font-size: 12px; opacity: .8; font-variant-numeric: tabular-nums; }
"""


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


class Guards:
    """One gauge for each guardrail that is on."""

    title = "Guardrails"

    def __init__(self) -> None:
        self._pane = pn.pane.HTML("", stylesheets=[_CSS], sizing_mode="stretch_width", margin=(12, 4))
        self.content = self._pane

    def show(self, topic: RunTopic) -> None:
        """Show the distances as they are now."""
        cards = [_card(gauge, topic) for gauge in gauges(topic)]
        trips = "".join(
            f"<li>{parts.diamond(theme.LOSS)}<b>{escape(sentence(rule.removeprefix('guard_')))}</b> denies entries now</li>"
            for rule in topic.row.trips
        )
        halted = f"<li>{parts.diamond(theme.LOSS)}<b>kill switch</b>: no entry leaves</li>" if topic.row.halted else ""
        lit = f"<ul style='list-style:none;padding:0;margin:0 0 12px'>{halted}{trips}</ul>" if halted or trips else ""
        html = lit + (f'<div class="guards">{"".join(cards)}</div>' if cards else "<p>This run has no guardrail.</p>")
        if self._pane.object != html:
            self._pane.object = html


def gauges(topic: RunTopic) -> list[Gauge]:
    """Return the distance to trip of every guardrail that is on, in the order of the stored guards."""
    facts: dict[str, Any] = json.loads(topic.detail.guards_json or "{}")
    makers = {
        "daily_loss_percent": _daily_loss, "max_open_per_symbol": _max_open, "cooldown_bars": _cooldown,
        "max_spread_pips": _spread,
    }  # fmt: skip
    found = []
    for name, limit in facts.items():
        if limit in (None, 0, "0", False, {}, []):
            continue
        maker = makers.get(name)
        rule = sentence(name.removesuffix("_percent").removesuffix("_pips"))
        found.append(
            Gauge(rule, str(limit), DASH, None, "watched at the entry") if maker is None else maker(topic, limit)
        )
    return found


def _daily_loss(topic: RunTopic, limit: Any) -> Gauge:
    row, allowed = topic.row, Decimal(str(limit))
    base = row.day_base
    if base is None or base <= 0:
        return Gauge("daily loss", f"{allowed:f} % of the day's base", DASH, None, "no day begun yet")
    lost = max(Decimal(0), (base - row.equity) / base * 100)
    left = base * allowed / 100 - max(Decimal(0), base - row.equity)
    cents = left.quantize(Decimal("0.01"))
    return Gauge(
        "daily loss", f"{allowed:f} % of {money(base, row.currency)}", figure(float(lost), 2, "%"), float(lost / allowed),
        f"{money(max(cents, Decimal(0)), row.currency)} left",
    )  # fmt: skip


def _max_open(topic: RunTopic, limit: Any) -> Gauge:
    held: dict[str, int] = dict.fromkeys(topic.row.symbols, 0)
    for trade in topic.trades:
        if trade.exit_time is None:
            held[trade.symbol] = held.get(trade.symbol, 0) + 1
    most = max(held.values(), default=0)
    left = int(limit) - most
    words = "full: the next entry is denied" if left <= 0 else f"{left} more"
    return Gauge("open positions per symbol", str(limit), str(most), most / int(limit), words)


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


def _card(gauge: Gauge, topic: RunTopic) -> str:
    used = min(1.0, max(0.0, gauge.used or 0.0))
    colour = theme.LOSS if used >= 1.0 else theme.WARNING if used >= 0.75 else theme.ACCENT
    words = f"now {escape(gauge.now)} · limit {escape(gauge.limit)}"
    return (
        f'<div class="guard"><div class="name">{escape(gauge.rule.capitalize())}</div>'
        f'<div class="track" role="meter" aria-valuenow="{used * 100:.0f}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-label="{escape(gauge.rule)}"><div class="fill" style="width:{used * 100:.0f}%;background:{colour}"></div></div>'
        f'<div class="words">{words}</div><div class="words"><b>{escape(gauge.left)}</b></div></div>'
    )
