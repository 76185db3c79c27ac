"""Why a run did what it did on one bar, and why not: everything that is known of it under one heading."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from toolkit.clock import from_ns, to_ns, to_utc
from toolkit.errors import BadInput, NotFound, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.review.seen_bars import seen_bars, seen_of_each
from toolkit.market import Bars
from toolkit.store.runs import Runs, Versions
from toolkit.store.sql.models import ExecutionIntent, GuardrailTrip, IntentEvent, Order, RunEvent, Trade
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.drivers.incremental import Decision, Incremental
from toolkit.strategy.drivers.joint import Fields, Joint
from toolkit.strategy.spec import StrategySpec

_INTENTS: Any = ExecutionIntent.__table__
_STEPS: Any = IntentEvent.__table__
_ORDERS: Any = Order.__table__
_TRADES: Any = Trade.__table__
_EVENTS: Any = RunEvent.__table__
_TRIPS: Any = GuardrailTrip.__table__
_BITS = ((1, "enter long"), (2, "enter short"), (4, "exit long"), (8, "exit short"))


@dataclass(frozen=True, slots=True)
class ExplainedIntent:
    """One intent of the bar with all that happened to it."""

    intent_id: UUID
    action: str
    side: str
    state: str
    reason: str
    terms: dict[str, Any]
    steps: tuple[str, ...]
    orders: tuple[dict[str, Any], ...]
    trades: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Bar, nodes, decision, sizing, guards, intents, answers and fills of one decision bar.

    Attributes
    ----------
    nodes
        Values of the strategy's named nodes at the close of the bar.
    decision
        What the strategy said, in words; empty when it said nothing.
    position
        What the run held when the decision was carried out, in words.
    why
        One line for each thing that decided the outcome, in order; also why nothing happened.
    """

    live_run_id: UUID
    bar_time: datetime
    acted_at: datetime | None
    bar: dict[str, Decimal]
    nodes: dict[str, Any]
    decision: tuple[str, ...]
    stop_points: int
    target_points: int
    position: str
    intents: tuple[ExplainedIntent, ...]
    notes: tuple[str, ...]
    why: tuple[str, ...]
    symbol: str

    def __str__(self) -> str:
        prices = ", ".join(f"{name} {value}" for name, value in self.bar.items())
        nodes = ", ".join(f"{name} {value}" for name, value in self.nodes.items())
        lines = [f"bar {self.symbol} {self.bar_time.isoformat()}: {prices}", f"nodes: {nodes}"]
        lines.append("decision: " + (", ".join(self.decision) or "none"))
        lines += [f"- {line}" for line in self.why]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        nodes = "".join(
            f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in self.nodes.items()
        )
        why = "".join(f"<li>{html.escape(line)}</li>" for line in self.why)
        said = html.escape(", ".join(self.decision) or "no decision")
        return f"<h4>{self.bar_time.isoformat()}: {said}</h4><table>{nodes}</table><ul>{why}</ul>"


def bar_open(text: str) -> datetime:
    """Return the open of a bar that a person wrote, e.g. ``2017-03-14T08:00``; UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(must_be("bar time", "like 2017-03-14T08:00", repr(text), "name a bar's open")) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def explain(
    engine: Engine, principal: Principal, live_run_id: UUID, bar_time: datetime, symbol: str | None = None
) -> Explanation:
    """Explain the bar that opened at ``bar_time``, of a run on several symbols that of its first or of the one named.

    Raises
    ------
    NotFound
        When the run has not seen a bar that opened then.
    BadInput
        When the run does not trade the symbol.
    """
    moment = to_utc(bar_time)
    with engine.work(principal, write=False) as work:
        run = Runs(work.connection, principal).get(live_run_id)
        version = Versions(work.connection, principal).get(run.bot_version_id)
    symbol = symbol or run.symbol
    if symbol not in run.symbols:
        raise BadInput(must_be("symbol", f"one of {', '.join(run.symbols)}", symbol, "name one of them"))
    several = len(run.symbols) > 1
    each = seen_of_each(engine, run, version) if several else {symbol: seen_bars(engine, run, version)}
    bars = each[symbol].seen
    row = int(bars.ts.searchsorted(to_ns(moment)))
    if row >= len(bars) or int(bars.ts[row]) != to_ns(moment) or run.cursor is None or moment > run.cursor:
        raise NotFound(f"run {live_run_id} has seen no bar that opened at {moment.isoformat()}: name a bar's open time")
    spec = StrategySpec.from_json(version.spec_json)
    values, decided, before = _decision_at(spec, {name: seen.seen for name, seen in each.items()}, symbol, row)
    acted = from_ns(int(bars.ts[row + 1])) if row + 1 < len(bars) else None
    intents = _intents(engine, principal, live_run_id, moment, symbol)
    held = _position(engine, live_run_id, acted or moment, symbol)
    notes = _notes(engine, live_run_id, moment, acted)
    words = _said(decided.code)
    why = _why(words, held, intents, notes, acted, run.stage)
    if not words and before:
        opened = from_ns(int(bars.ts[row - 1])).isoformat()
        why = [
            f"at this bar's open the run carried out what the bar before decided ({', '.join(before)}): explain {opened}",
            *why,
        ]
    return Explanation(
        live_run_id=live_run_id,
        bar_time=moment,
        acted_at=acted,
        bar={
            name: bars.instrument.price(int(column[row]))
            for name, column in bars.columns.items()
            if name.startswith("bid")
        },
        nodes={name: _word(spec, name, value) for name, value in values.items()},
        decision=words,
        stop_points=decided.stop_points,
        target_points=decided.target_points,
        position=held,
        intents=intents,
        notes=notes,
        why=tuple(why),
        symbol=symbol,
    )


def _said(code: int) -> tuple[str, ...]:
    return tuple(text for bit, text in _BITS if code & bit)


def _decision_at(
    spec: StrategySpec, series: Mapping[str, Bars], symbol: str, row: int
) -> tuple[Mapping[str, Any], Decision, tuple[str, ...]]:
    """Return the named nodes and the decision of one bar, from the first one seen on, and what the bar before said."""
    own, at = series[symbol], int(series[symbol].ts[row])
    if len(series) == 1:
        driver = Incremental(spec, own.instrument, supports=FEATURES, timeframe=own.timeframe)
        steps = [driver.step(*fields) for fields in _until(own, at)]
        return driver.values, steps[-1], _said(steps[-2].code) if row else ()
    facts = {name: bars.instrument for name, bars in series.items()}
    joint = Joint(spec, facts, supports=FEATURES, timeframe=own.timeframe)
    moments: dict[int, dict[str, Fields]] = {}
    for name, bars in series.items():
        for fields in _until(bars, at):
            moments.setdefault(fields[0], {})[name] = fields
    said = [decided[symbol] for moment in sorted(moments) if symbol in (decided := joint.step(moments[moment]))]
    return joint.drivers[symbol].values, said[-1], _said(said[-2].code) if row else ()


def _until(bars: Bars, moment: int) -> Iterator[Fields]:
    end = int(bars.ts.searchsorted(moment, side="right"))
    volume = [float("nan")] * end if bars.volume is None else bars.volume[:end].tolist()
    columns = [c[:end].tolist() for c in (bars.ts, bars.open, bars.high, bars.low, bars.close)]
    return zip(*columns, volume, strict=True)


def _word(spec: StrategySpec, name: str, value: Any) -> Any:
    kind = spec.graph.shapes[spec.named[name]].kind
    return ("false", "unknown", "true")[int(value)] if kind == "i1" else value


def _intents(
    engine: Engine, principal: Principal, live_run_id: UUID, moment: datetime, symbol: str
) -> tuple[ExplainedIntent, ...]:
    found = []
    with engine.work(principal, write=False) as work:
        db = work.connection
        query = select(_INTENTS).where(
            _INTENTS.c.live_run_id == live_run_id, _INTENTS.c.bar_time == moment, _INTENTS.c.symbol == symbol
        )
        for row in db.execute(query.order_by(_INTENTS.c.created_at)):
            steps = db.execute(select(_STEPS).where(_STEPS.c.intent_id == row.intent_id).order_by(_STEPS.c.seq))
            orders = db.execute(select(_ORDERS).where(_ORDERS.c.intent_id == row.intent_id).order_by(_ORDERS.c.attempt))
            trades = db.execute(
                select(_TRADES).where(
                    or_(_TRADES.c.intent_id == row.intent_id, _TRADES.c.position_id == (row.position_id or "-")),
                    _TRADES.c.account_id == row.account_id,
                )
            )
            found.append(
                ExplainedIntent(
                    intent_id=row.intent_id,
                    action=row.action,
                    side=row.side,
                    state=row.state,
                    reason=row.reason,
                    terms=dict(row.terms or {}),
                    steps=tuple(f"{s.from_state or 'made'} -> {s.to_state}: {s.detail or s.actor}" for s in steps),
                    orders=tuple(dict(o._mapping) for o in orders),
                    trades=tuple(dict(t._mapping) for t in trades),
                )
            )
    return tuple(found)


def _position(engine: Engine, live_run_id: UUID, at: datetime, symbol: str) -> str:
    with engine.work(engine.service, write=False) as work:
        for row in work.connection.execute(
            select(_TRADES).where(
                _TRADES.c.live_run_id == live_run_id, _TRADES.c.entry_time < at, _TRADES.c.symbol == symbol
            )
        ):
            if row.exit_time is None or row.exit_time >= at:
                return f"{row.side} {row.lots} {row.symbol} from {row.entry_price}"
    return "flat"


def _notes(engine: Engine, live_run_id: UUID, moment: datetime, acted: datetime | None) -> tuple[str, ...]:
    """Return what the run and its guardrails said between the bar's open and the act."""
    until = acted or moment + timedelta(days=1)
    with engine.work(engine.service, write=False) as work:
        events = work.connection.execute(
            select(_EVENTS.c.kind, _EVENTS.c.message)
            .where(
                _EVENTS.c.live_run_id == live_run_id,
                _EVENTS.c.kind.in_(
                    ("entry_skipped", "entry_refused", "stale_entry", "shadow_signal", "order_rejected")
                ),
                _EVENTS.c.market_time > moment,
                _EVENTS.c.market_time <= until,
            )
            .order_by(_EVENTS.c.event_id)
        ).all()
        trips = work.connection.execute(
            select(_TRIPS.c.rule, _TRIPS.c.reason).where(
                _TRIPS.c.live_run_id == live_run_id, _TRIPS.c.tripped_at > moment, _TRIPS.c.tripped_at <= until
            )
        ).all()
    return tuple(f"{e.kind}: {e.message}" for e in events) + tuple(f"guardrail {t.rule}: {t.reason}" for t in trips)


def _why(
    words: tuple[str, ...],
    held: str,
    intents: tuple[ExplainedIntent, ...],
    notes: tuple[str, ...],
    acted: datetime | None,
    stage: str,
) -> list[str]:
    lines = [f"the strategy said: {', '.join(words)}" if words else "the strategy said nothing on this bar"]
    if not words:
        return lines
    if acted is None:
        return [*lines, "the next bar has not opened, so nothing has been carried out yet"]
    lines.append(f"at the open of {acted.isoformat()} the run was {held}")
    if not intents and not notes:
        side = "BUY" if held.startswith("BUY") else "SELL"
        if held != "flat" and ("enter long" if side == "BUY" else "enter short") in words:
            lines.append("it already held that side: one position per symbol, so the entry was ignored")
        elif held == "flat" and not any(w.startswith("enter") for w in words):
            lines.append("there was nothing to exit")
        else:
            lines.append("nothing followed from it for that position")
    lines += list(notes)
    for intent in intents:
        lines.append(
            f"{intent.action} {intent.side}: {intent.state}" + (f" ({intent.reason})" if intent.reason else "")
        )
        for order in intent.orders:
            size = "" if order["lots"] is None else f"{order['lots']} lots, "
            risk = "" if order["projected_loss"] is None else f", projected loss {order['projected_loss']}"
            lines.append(
                f"  sent {size}bid {order['bid']}, ask {order['ask']}, equity {order['equity']}{risk}: {order['outcome']}"
            )
        for trade in intent.trades:
            lines.append(
                f"  trade {trade['side']} {trade['lots']} at {trade['entry_price']}, {trade['status']} {trade['exit_reason']}"
            )
    return lines if stage != "shadow" else [*lines, "the run is a shadow: nothing is sent"]
