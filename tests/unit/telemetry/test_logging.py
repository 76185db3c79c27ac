"""Log lines: JSON, correlated, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from uuid import uuid4

import pytest
import structlog
from pydantic import SecretStr

from toolkit.telemetry.events import EventKind, words
from toolkit.telemetry.logging import configure_logging, correlated, get_logger
from toolkit.telemetry.metrics import NO_METRICS, Metrics
from toolkit.telemetry.redaction import redact, redact_text


@pytest.fixture
def lines():
    """Log lines of one test as dicts."""
    out = io.StringIO()
    configure_logging("DEBUG", stream=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()


def test_a_line_carries_the_ids_of_its_block(lines):
    """Ids bound around a block are in its lines and in no later ones."""
    run = uuid4()
    log = get_logger("execution")
    with correlated(live_run_id=run, signal_id="s1", intent_id=None):
        log.info("sent", lots="0.5")
    log.info("after")
    inside, after = lines()
    assert (inside["live_run_id"], inside["signal_id"], inside["event"]) == (str(run), "s1", "sent")
    assert "intent_id" not in inside
    assert "live_run_id" not in after


def test_nested_blocks_restore_what_they_found(lines):
    """An inner id is gone at the end of its block; the outer one stays."""
    log = get_logger("x")
    with correlated(live_run_id="outer"):
        with correlated(live_run_id="inner"):
            log.info("a")
        log.info("b")
    assert [line["live_run_id"] for line in lines()] == ["inner", "outer"]


CANARY = "canary-7f3a91"


@pytest.mark.parametrize(
    "event",
    [
        {"password": CANARY},
        {"nested": {"api_key": CANARY}},
        {"secret": SecretStr(CANARY)},
        {"url": f"postgresql://user:{CANARY}@host/db"},
        {"text": f"login failed: password={CANARY}"},
        {"header": f"Authorization: Bearer {CANARY}"},
        {"several": [f"amqp://u:{CANARY}@h/", "plain"]},
    ],
)
def test_a_planted_secret_is_in_no_line(lines, event):
    """Secrets are masked by name, by type and by form, at any depth."""
    get_logger("x").error("trouble", **event)
    assert CANARY not in json.dumps(lines())


def test_a_secret_in_a_traceback_is_masked(lines):
    """The text of an exception goes through the same filter."""
    try:
        raise RuntimeError(f"could not connect to redis://u:{CANARY}@host")
    except RuntimeError:
        get_logger("x").exception("failed")
    assert CANARY not in json.dumps(lines())


def test_what_is_not_secret_stays_readable():
    """Numbers under "token" and keys that identify signals are not masked."""
    assert redact({"token": 7, "idempotency_key": "ab" * 32}) == {"token": 7, "idempotency_key": "ab" * 32}
    assert redact_text("sent 0.5 lots at 1.10010") == "sent 0.5 lots at 1.10010"


def test_nothing_is_written_until_logging_is_configured(capsys):
    """A notebook that never asked for log lines gets none."""
    structlog.reset_defaults()
    get_logger("x").warning("quiet")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_an_unknown_level_is_refused():
    """The message names the levels and the setting."""
    with pytest.raises(ValueError, match="SEATRIAL_LOG_LEVEL"):
        configure_logging("LOUD")


def test_lines_below_the_level_are_not_written():
    """A level filters before a line is rendered."""
    out = io.StringIO()
    configure_logging(logging.getLevelName(logging.WARNING), stream=out)
    get_logger("x").info("quiet")
    structlog.reset_defaults()
    assert out.getvalue() == ""


def test_metrics_are_exposed_by_name():
    """A counted intent shows under the name operators alert on."""
    pytest.importorskip("prometheus_client")
    metrics = Metrics()
    metrics.count("intents_total", action="OPEN_TRADE", state="FILLED")
    assert 'seatrial_intents_total{action="OPEN_TRADE",state="FILLED"} 1.0' in metrics.exposition()


def test_without_prometheus_metrics_do_nothing():
    """The no-op object takes every call."""
    NO_METRICS.count("intents_total", action="OPEN_TRADE", state="FILLED")
    with NO_METRICS.timed("reconcile_seconds"):
        pass
    assert (NO_METRICS.enabled, NO_METRICS.exposition()) == (False, "")


def test_an_unknown_metric_is_refused_even_when_disabled():
    """A misspelt name fails in development, not silently in production."""
    with pytest.raises(KeyError, match="intents_totl"):
        NO_METRICS.count("intents_totl")


def test_every_kind_has_words():
    """A person never reads an identifier."""
    assert all("_" not in words(kind) for kind in EventKind)
    assert words("something_new") == "Something new"
