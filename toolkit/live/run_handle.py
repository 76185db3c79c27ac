"""A LiveRun in the hands of a notebook: look at it, stop it, wait for it."""

from __future__ import annotations

import html
from datetime import datetime
from typing import Any
from uuid import UUID

from toolkit.errors import RunError
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.live.hosting.host import RunThread
from toolkit.live.promoting.stages import advance_stage
from toolkit.live.review.closed_rows import closed_rows
from toolkit.live.review.drift import DriftReport, Model, measure_drift
from toolkit.live.review.explain import Explanation, bar_open, explain
from toolkit.store.reading.queries import ReadSide
from toolkit.store.reading.records import EventRow, FleetRow, IntentRow, TradeRow
from toolkit.store.runs import RunRecord

_TRADE_COLUMNS = (
    "symbol", "side", "lots", "entry_time", "entry_price", "exit_time", "exit_price", "exit_reason", "profit", "commission",
    "swap",
)  # fmt: skip


class LiveRunHandle:
    """One run.

    Parameters
    ----------
    engine
        The process's engine.
    live_run_id
        The run.
    thread
        The thread of this process that hosts it, if one does.
    model
        The backtest that drift is measured against.
    """

    def __init__(
        self, engine: Engine, live_run_id: UUID, thread: RunThread | None = None, model: Model | None = None
    ) -> None:
        self._engine = engine
        self._thread = thread
        self._model = model
        self.id = live_run_id

    @property
    def record(self) -> RunRecord:
        """The run's row as it is now."""
        return live_runs.get_run(self._engine, self._engine.principal, self.id)

    @property
    def status(self) -> str:
        """CREATED, RUNNING, PAUSED, STOPPING, STOPPED or ERROR."""
        return self.record.status

    @property
    def summary(self) -> FleetRow:
        """Status, equity and counters in one row."""
        return self._read.run(self._engine.principal, self.id)

    @property
    def trades(self) -> Any:
        """Closed trades as a DataFrame with the columns and rows of a backtest's: each part of a position is a row."""
        import pandas as pd

        currency = self.summary.currency
        with self._engine.work(write=False) as work:
            rows = closed_rows(work.connection, self.id, currency)
        return pd.DataFrame([{c: row[c] for c in _TRADE_COLUMNS} for row in rows], columns=list(_TRADE_COLUMNS))

    @property
    def trade_rows(self) -> list[TradeRow]:
        """Every trade, open ones included, with exact Decimals."""
        return list(self._read.trades(self._engine.principal, run_id=self.id))

    @property
    def intents(self) -> list[IntentRow]:
        """Every intent of the run with state and latency."""
        return list(self._read.intents(self._engine.principal, run_id=self.id, limit=100_000))

    @property
    def events(self) -> list[EventRow]:
        """What happened, in words, oldest first."""
        return list(self._read.events(self._engine.principal, run_id=self.id, limit=100_000))

    def stop(self, *, flatten: bool = False, wait: float | None = 10.0) -> str:
        """Ask the run to stop, with ``flatten`` after closing its positions; return its status.

        Parameters
        ----------
        wait
            Seconds to wait for a host in this process to carry it out; None returns at once.
        """
        live_runs.stop_live_run(self._engine, self._engine.principal, self.id, flatten=flatten)
        if self._thread is not None and wait is not None:
            self._thread.join(wait)
        return self.status

    def pause(self) -> None:
        """Make no decision until `resume`; stops stay at the platform."""
        live_runs.pause_live_run(self._engine, self._engine.principal, self.id)

    def resume(self) -> None:
        """Go on after a pause."""
        live_runs.resume_live_run(self._engine, self._engine.principal, self.id)

    def explain(self, bar_time: datetime | str, symbol: str | None = None) -> Explanation:
        """Return everything known of the bar that opened at ``bar_time``: nodes, decision, intents, answers, why not.

        Parameters
        ----------
        bar_time
            With a timezone, or text such as ``"2017-03-14T08:00"``, which is UTC unless it says otherwise.
        symbol
            Whose bar, of a run on several symbols; its first one's when left out.
        """
        moment = bar_open(bar_time) if isinstance(bar_time, str) else bar_time
        return explain(self._engine, self._engine.principal, self.id, moment, symbol)

    def drift(self) -> DriftReport:
        """Replay the run's version over the bars it saw and return the difference, split by cause."""
        if self._model is None:
            raise RunError("drift needs the research packages: pip install 'seatrial[research]' and use tk.run(id)")
        return measure_drift(self._engine, self._engine.principal, self.id, self._model)

    def advance_stage(self, *, account: str, **given: Any) -> LiveRunHandle:
        """Create a run of the same version one stage up; see `toolkit.live.promoting.stages.advance_stage`."""
        given.setdefault("drift", None if self._model is None else self.drift)
        fresh = advance_stage(self._engine, self._engine.principal, self.id, account=account, **given)
        return LiveRunHandle(self._engine, fresh.live_run_id, None, self._model)

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the host in this process to finish; return the status."""
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.error is not None:
                raise self._thread.error
        return self.status

    @property
    def _read(self) -> ReadSide:
        return ReadSide(self._engine.database)

    def __repr__(self) -> str:
        run = self.summary
        return (
            f"LiveRun({run.bot} v{run.version_number} on {run.account}, {', '.join(run.symbols)} {run.timeframe}, {run.stage}, "
            f"{run.status}, {run.bars_count:,} bars, {run.closed_trades} trades, equity {run.equity} {run.currency})"
        )

    def _repr_html_(self) -> str:
        run = self.summary
        facts = [
            ("status", run.status + (f": {run.last_error}" if run.last_error else "")),
            ("bot", f"{run.bot} v{run.version_number} ({run.version_hash[:12]})"),
            ("account", f"{run.account} ({run.environment}), stage {run.stage}"),
            ("feed", f"{', '.join(run.symbols)} {run.timeframe}, {run.bars_count:,} bars"),
            ("trades", f"{run.closed_trades} closed, {run.open_positions} open"),
            ("equity", f"{run.equity:,} {run.currency}"),
            ("last action", run.last_action),
        ]
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts
        )
        return f"<h4>LiveRun {html.escape(str(self.id))}</h4><table>{rows}</table>"
