"""What a TradeService tells: one correlated line per intent, counts and times."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from toolkit.execution.ports import OrderResult, Outcome
from toolkit.telemetry.logging import configure_logging
from toolkit.telemetry.metrics import Metrics
from toolkit.telemetry.service_watch import TelemetryWatch


@pytest.fixture
def lines():
    """Log lines of one test as dicts."""
    out = io.StringIO()
    configure_logging("DEBUG", stream=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()


def test_an_intent_leaves_one_line_with_its_ids(memory, lines):
    """Run, account and intent can be followed by their ids."""
    metrics = Metrics()
    service = memory.make_service("w", watch=TelemetryWatch(memory.account_id, metrics))
    intent = memory.entry()
    service.execute(intent.intent_id)
    (done,) = [line for line in lines() if line["event"] == "intent_carried_out"]
    assert (done["state"], done["intent_id"], done["live_run_id"], done["account_id"]) == (
        "FILLED", str(intent.intent_id), str(memory.live_run_id), str(memory.account_id),
    )  # fmt: skip


def test_trouble_is_a_warning_and_is_counted(memory, lines):
    """An UNKNOWN outcome is seen by whoever watches the metrics or the log."""
    pytest.importorskip("prometheus_client")
    metrics = Metrics()
    memory.platform.script = [OrderResult(Outcome.UNKNOWN)]
    service = memory.make_service("w", watch=TelemetryWatch(memory.account_id, metrics))
    service.execute(memory.entry().intent_id)
    assert [line["level"] for line in lines() if line["event"] == "intent_carried_out"] == ["warning"]
    assert 'seatrial_sends_total{outcome="UNKNOWN",platform="scripted"} 1.0' in metrics.exposition()
