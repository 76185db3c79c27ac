"""Structured logging: one JSON object a line, with the ids that let one signal be followed through every process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TextIO
from uuid import UUID

import structlog

from toolkit.telemetry.redaction import redact

CORRELATION_IDS = ("account_id", "live_run_id", "signal_id", "intent_id")


def configure_logging(level: str = "INFO", *, stream: TextIO | None = None, as_json: bool = True) -> None:
    """Set up logging for this process; called once by whoever starts it, never at import.

    Parameters
    ----------
    level
        Name of the lowest level that is written.
    stream
        Where lines go; standard error by default.
    as_json
        False writes coloured text for a person at a terminal.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level must be DEBUG, INFO, WARNING or ERROR, was {level!r}: set SEATRIAL_LOG_LEVEL")
    out = stream or sys.stderr
    renderer: Any = structlog.processors.JSONRenderer(serializer=_dumps) if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def stop_logging() -> None:
    """Write no more lines; before the stream of `configure_logging` is closed."""
    structlog.reset_defaults()


def get_logger(name: str) -> Any:
    """Return a logger that names its part of the toolkit in every line; silent until `configure_logging` was called.

    A notebook that never asked for log lines gets none.
    """
    return _Lazy(name)


class _Lazy:
    """Looks the configuration up at each line, so that loggers made at import follow it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, level: str) -> Any:
        if not structlog.is_configured():
            return _nothing
        return getattr(structlog.get_logger().bind(logger=self._name), level)


def _nothing(*_words: Any, **_values: Any) -> None:
    return None


@contextmanager
def correlated(**ids: UUID | str | None) -> Iterator[None]:
    """Add correlation ids to every line written inside the block, in this context only; None ids are left out.

    Examples
    --------
    >>> with correlated(live_run_id=run.live_run_id, signal_id="20170103T100000Z"):  # doctest: +SKIP
    ...     log.info("signal")
    """
    bound = {name: str(value) for name, value in ids.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**bound):
        yield


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in a log event; a structlog processor."""
    return {key: redact(value, key) for key, value in event.items()}


def _dumps(event: Any, default: Any = None, **_ignored: Any) -> str:
    return json.dumps(event, default=_plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return str(value)
