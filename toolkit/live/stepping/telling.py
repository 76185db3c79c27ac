"""Telling a standing trouble once: into the run's history when it begins, not at every attempt."""

from __future__ import annotations

from uuid import UUID

from toolkit.live.engine import Engine
from toolkit.store.runs import RunRecord, Runs, add_event
from toolkit.telemetry.redaction import redact_text

_RETELL_SECONDS = 300.0
_told: dict[tuple[UUID, str], tuple[str, float]] = {}


def tell_once(engine: Engine, run: RunRecord, kind: str, message: str) -> None:
    """Write an event unless the same one was written in the last minutes; the run's heartbeat moves in any case."""
    message = redact_text(message)
    key = (run.live_run_id, kind)
    told, at = _told.get(key, ("", 0.0))
    clock = engine.clock.monotonic()
    new = told != message or clock - at >= _RETELL_SECONDS
    with engine.work(engine.service) as work:
        if new:
            add_event(work.connection, engine.now(), run, kind, message, level="warning")
        Runs(work.connection, engine.service).beat(run.live_run_id, engine.now())
        work.commit()
    if new:
        _told[key] = (message, clock)
