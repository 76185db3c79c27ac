"""Looking back at a run for the page: explain, drift, log lines; slow questions are answered on a thread, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import panel as pn

from panel_app.data_store.session_feed import running_loop
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine

T = TypeVar("T")
_TAIL_BYTES: Final = 4_000_000
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seatrial-review")


def ask(question: Callable[[], T], done: Callable[[T], None], refused: Callable[[Exception], None]) -> None:
    """Answer a slow question on a thread and hand the answer to the session that asks, on its own loop and with its lock.

    Parameters
    ----------
    done
        Called with the answer.
    refused
        Called with what the question raised.
    """
    document = pn.state.curdoc
    loop = running_loop()

    def work() -> None:
        try:
            answer = partial(done, question())
        except Exception as error:  # noqa: BLE001 - shown to the person who asked, whatever it was
            answer = partial(refused, error)
        if document is not None and document.session_context is not None:
            document.add_next_tick_callback(answer)
        elif loop is not None:
            loop.call_soon_threadsafe(answer)
        else:
            answer()

    _thread.submit(work)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that some process of this machine wrote about a run."""

    at: str
    level: str
    event: str
    facts: str


class Review:
    """What one principal may ask about past decisions.

    Parameters
    ----------
    engine
        The process's engine; no desk is opened.
    principal
        Who asks.
    """

    def __init__(self, engine: Engine, principal: Principal) -> None:
        self._engine = engine
        self._principal = principal

    def explain(self, run_id: UUID, moment: datetime) -> Any:
        """Return why the run did what it did on the bar that opened then; see `toolkit.live.review.explain`."""
        from toolkit.live.review.explain import explain

        return explain(self._engine, self._principal, run_id, moment)

    def drift(self, run_id: UUID) -> Any:
        """Return how far the run is from its model; see `toolkit.live.review.drift`."""
        from toolkit.live.review.drift import measure_drift
        from toolkit.research.backtest import model_trades

        return measure_drift(self._engine, self._principal, run_id, model_trades)

    def log(self, run_id: UUID, limit: int = 300) -> list[LogLine]:
        """Return the newest log lines of this machine that name the run, newest first."""
        wanted = str(run_id)
        found: list[LogLine] = []
        folder = self._engine.settings.home / "logs"
        for path in sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, reverse=True):
            found.extend(_line(text) for text in _tail(path) if wanted in text)
        found.sort(key=lambda line: line.at, reverse=True)
        return found[:limit]


def _tail(path: Path) -> list[str]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace").splitlines()


def _line(text: str) -> LogLine:
    try:
        facts: dict[str, Any] = json.loads(text)
    except ValueError:
        return LogLine("", "", text[:500], "")
    at, level = str(facts.pop("timestamp", "")), str(facts.pop("level", ""))
    event = str(facts.pop("event", ""))
    return LogLine(at, level, event, ", ".join(f"{name} {value}" for name, value in facts.items()))
