"""What Kafka's topics remember of a span of time: telemetry built again, or a shadow run driven by it. Nothing is executed.

No gateway, no trade service and no platform is opened here: snapshots and results are read, their signatures checked, and each is
taken once, however often it was sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from toolkit.errors import NotFound
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import EnvelopeRefused, KeyRing
from toolkit.gateways.kafka.history import read_topic
from toolkit.gateways.kafka.link import KafkaLink
from toolkit.gateways.kafka.messages import account_of_key, verify
from toolkit.gateways.kafka.registry import Codec
from toolkit.gateways.kafka.topics import INTENTS, RESULTS
from toolkit.live.engine import Engine
from toolkit.store.people import audit
from toolkit.store.runs import RunRecord, Runs, add_event
from toolkit.telemetry.metrics import Metrics


@dataclass
class TopicHistory:
    """What was decided and what came of it, each once, in the order of its partition.

    Attributes
    ----------
    snapshots
        By intent.
    results
        By ``result_id``.
    repeated, refused
        Messages that had been read already, and those that are not ours: forged, unknown, malformed.
    """

    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class RebuiltRun:
    """A run as the topics tell it."""

    live_run_id: str
    intents: int
    by_state: dict[str, int]
    trades: int
    net: Decimal
    first_at: datetime | None
    last_at: datetime | None


def read_history(
    link: KafkaLink,
    codec: Codec,
    ring: KeyRing,
    accounts: Collection[UUID],
    *,
    since: datetime,
    until: datetime | None = None,
) -> TopicHistory:
    """Read both topics over a span of time, for these accounts only.

    Raises
    ------
    GatewayError
        When Kafka or the registry does not answer.
    """
    found = TopicHistory()
    for topic in (INTENTS, RESULTS):
        for message in read_topic(link, topic, since=since, until=until):
            key, value = message.key(), message.value()
            if account_of_key(key.encode() if isinstance(key, str) else key) not in accounts:
                continue
            try:
                name, record = codec.decode(value.encode() if isinstance(value, str) else value)
                if name == "pointer":
                    continue
                verify(record, ring)
            except EnvelopeRefused:
                found.refused += 1
                continue
            kept, by = (found.snapshots, "intent_id") if name == "snapshot" else (found.results, "result_id")
            if str(record[by]) in kept:
                found.repeated += 1
            else:
                kept[str(record[by])] = record
    return found


def rebuild_metrics(history: TopicHistory) -> Metrics:
    """Return the counters of the span, as workers counted them when it happened."""
    metrics = Metrics()
    for result in _intents(history):
        metrics.count("intents_total", action=result["action"], state=result["state"])
        if result["state"] == "DENIED":
            metrics.count("guardrail_trips_total", rule=result["reason"] or "unnamed")
        if result["from_state"] == "SENDING" and result["attempt"] == 1:
            snapshot = history.snapshots.get(result["intent_id"])
            if snapshot is not None:
                waited = (result["at"] - snapshot["created_at"]).total_seconds()
                metrics.observe("signal_to_send_seconds", max(0.0, waited), gateway="kafka")
    metrics.count("results_published_total", len(history.results))
    return metrics


def rebuild_runs(history: TopicHistory) -> list[RebuiltRun]:
    """Return each run of the span with its intents by the state they were left in, and its trades."""
    ids = {str(r["live_run_id"] or "") for r in (*history.snapshots.values(), *history.results.values())}
    rebuilt = []
    for run_id in sorted(ids):
        results = [r for r in _intents(history) if str(r["live_run_id"] or "") == run_id]
        last = {r["intent_id"]: r["state"] for r in results}
        snapshots = [s for s in history.snapshots.values() if str(s["live_run_id"] or "") == run_id]
        trades = [t for t in rebuild_trades(history) if str(t["live_run_id"] or "") == run_id]
        moments = sorted([r["at"] for r in results] + [s["created_at"] for s in snapshots])
        states: dict[str, int] = {}
        for state in last.values():
            states[state] = states.get(state, 0) + 1
        rebuilt.append(
            RebuiltRun(
                live_run_id=run_id,
                intents=len({*last, *(s["intent_id"] for s in snapshots)}),
                by_state=dict(sorted(states.items())),
                trades=len(trades),
                net=sum((Decimal(t[name]) for t in trades for name in ("profit", "commission", "swap")), Decimal(0)),
                first_at=moments[0] if moments else None,
                last_at=moments[-1] if moments else None,
            )
        )
    return rebuilt


def rebuild_trades(history: TopicHistory) -> list[dict[str, Any]]:
    """Return the closed trades of the span, by entry; numbers are exact decimals as text, times are the platform's."""
    closed = [r for r in history.results.values() if r["kind"] == "trade" and r["state"] == "closed"]
    return sorted(closed, key=lambda trade: (trade["entry_time"], trade["position_id"]))


def redrive_shadow(engine: Engine, principal: Principal, history: TopicHistory) -> list[RunRecord]:
    """Make, for each run of the span, a shadow run whose signals are those that the topic remembers, with what came of each.

    The shadow has ended when it is made: no host ever steps it, and it has no intents, only events.

    Returns
    -------
    list of RunRecord
        The shadows; a run that this database does not have, or that the principal may not see, gets none.
    """
    shadows = []
    for run_id in sorted({str(s["live_run_id"]) for s in history.snapshots.values() if s["live_run_id"]}):
        snapshots = [s for s in history.snapshots.values() if s["live_run_id"] == run_id]
        shadow = _redrive(engine, principal, UUID(run_id), snapshots, history)
        if shadow is not None:
            shadows.append(shadow)
    return shadows


def _redrive(
    engine: Engine, principal: Principal, run_id: UUID, snapshots: Sequence[dict[str, Any]], history: TopicHistory
) -> RunRecord | None:
    last = {r["intent_id"]: r for r in _intents(history)}
    now = engine.now()
    with engine.work(principal) as work:
        runs = Runs(work.connection, principal)
        try:
            original = runs.get(run_id)
        except NotFound:
            return None
        shadow = runs.add(
            now,
            account_id=original.account_id,
            bot_version_id=original.bot_version_id,
            symbols=list(original.symbols),
            timeframe=original.timeframe,
            stage="shadow",
            host="kafka",
            capital=original.capital,
            feed_json=original.feed_json,
            guards_json=original.guards_json,
            options_json=original.options_json,
        )
        add_event(work.connection, now, shadow, "created", f"driven by the topics' memory of run {run_id}")
        for snapshot in snapshots:
            result = last.get(snapshot["intent_id"], {})
            said = f"would send {snapshot['action']} {snapshot['side']} {snapshot['symbol']}"
            add_event(
                work.connection, now, shadow, "shadow_signal", said, market_time=snapshot["bar_time"],
                data={
                    "payload": snapshot["payload"], "original_intent": snapshot["intent_id"],
                    "state": result.get("state", ""), "reason": result.get("reason", ""), "price": result.get("price") or "",
                },
            )  # fmt: skip
        ended = runs.save(
            shadow,
            status="STOPPED",
            stopped_at=now,
            last_action="driven by Kafka's memory",
            signals_count=len(snapshots),
        )
        add_event(
            work.connection, now, shadow, "stopped", f"{len(snapshots)} signals of run {run_id}, nothing was sent"
        )
        audit.append(work.connection, now, principal, "kafka.replay", str(run_id), str(ended.live_run_id))
        work.commit()
    return ended


def _intents(history: TopicHistory) -> list[dict[str, Any]]:
    return [result for result in history.results.values() if result["kind"] == "intent"]


__all__ = [
    "RebuiltRun", "TopicHistory", "read_history", "rebuild_metrics", "rebuild_runs", "rebuild_trades", "redrive_shadow"
]  # fmt: skip
