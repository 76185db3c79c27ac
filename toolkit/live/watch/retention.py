"""Retention: what may go, without taking from a run under way the bars that its drift is measured over."""

from __future__ import annotations

from datetime import datetime

from toolkit.clock import from_ns
from toolkit.live.engine import Engine
from toolkit.live.stepping.run_state import decode
from toolkit.store.runs import ACTIVE, Runs
from toolkit.store.upkeep.retention import Pruned, prune


def prune_older(engine: Engine, before: datetime) -> Pruned:
    """Remove what is older than a moment and needed by nobody; money, intents, trades and the audit trail always stay."""
    with engine.work(engine.service, write=False) as work:
        under_way = Runs(work.connection, engine.service).all(statuses=ACTIVE)
    edge = before
    for run in under_way:
        first_ns = decode(run.state)[0].extra.get("first_ns")
        if first_ns is not None:
            edge = min(edge, from_ns(int(first_ns)))
    with engine.work(engine.service) as work:
        gone = prune(work.connection, before, bars_before=edge)
        work.commit()
    return gone
