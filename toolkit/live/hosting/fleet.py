"""Hosting all runs of an installation in one process: one poll per feed and one read per book a round, idle runs in one write.

A run is advanced when its feed shows a newer bar than its cursor, or when it has something half done; all others only
have their heartbeat moved, together. Everything is decided by the rows, so several such processes, and hosts of single
runs, may be at work at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from toolkit.errors import ToolkitError
from toolkit.live.advance import advance
from toolkit.live.engine import Engine
from toolkit.live.hosting.turns import turn_of
from toolkit.live.stepping.progress import Progress
from toolkit.live.stepping.sources.rounds import Round, one_round
from toolkit.store.reading.run_heads import RunHead, accounts_with_waiting_exits, beat_all, hosted_heads
from toolkit.telemetry.logging import get_logger

_LOG = get_logger("fleet")
_LOOK_SECONDS = 60.0
#: Steps that send nothing share a commit, at most this many.
_BATCH = 100
#: A run that moved on is advanced again in the same round, so that catch-up and replays do not wait for the next one.
_AGAIN_SECONDS = 60.0  # after a refusal that may be mended outside: an account logged out, a terminal on another login
_TURNS = 50
_SWEEP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one round did."""

    runs: int
    advanced: int
    bars: int
    orders: int
    polls: int
    commits: int


@dataclass
class Fleet:
    """The runs this process hosts.

    Parameters
    ----------
    engine
        The process's engine.
    hosts
        Runs whose row names one of these hosts are taken; notebook runs belong to their notebook.
    """

    engine: Engine
    hosts: Sequence[str] = ("none",)
    _looked: dict[UUID, float] = field(default_factory=dict)
    _refused: dict[UUID, float] = field(default_factory=dict)  # until when an account is left alone
    _swept: float = -1e9

    def round(self) -> RoundReport:
        """Look at every run once and advance those that have something to do."""
        engine = self.engine
        with engine.work(engine.service, write=False) as work:
            heads = hosted_heads(work.connection, engine.service, tuple(self.hosts))
        idle: list[UUID] = []
        advanced = bars = orders = 0
        with one_round() as current:
            for head in heads:
                if self._refused.get(head.account_id, -1e9) > engine.clock.monotonic():
                    continue
                try:
                    if not self._has_work(head):
                        idle.append(head.live_run_id)
                        continue
                    for _ in range(_TURNS):
                        progress = self._advance(head)
                        advanced += 1
                        bars += progress.bars
                        orders += progress.orders
                        # A platform's closed bars are all taken at once; only a replay has more.
                        if progress.ended or progress.waiting or not (progress.orders or head.is_replay):
                            break
                    if len(current.deferred) >= _BATCH:
                        self._commit(current)
                except ToolkitError as error:  # one account that cannot be acted on must not stop the others
                    if not error.retryable:
                        self._refused[head.account_id] = engine.clock.monotonic() + _AGAIN_SECONDS
                    _LOG.warning("account_left_out", account=str(head.account_id), error=str(error))
            self._commit(current)
        if idle:
            with engine.work(engine.service) as work:
                beat_all(work.connection, idle, engine.now())
                work.commit()
        self._send_waiting()
        return RoundReport(len(heads), advanced, bars, orders, current.polls, current.commits)

    def _send_waiting(self) -> None:
        """Let exits go that wait for their market on accounts where no run is left to do it."""
        now = self.engine.clock.monotonic()
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        with self.engine.work(self.engine.service, write=False) as work:
            accounts = accounts_with_waiting_exits(work.connection, self.engine.service)
        for account_id in accounts:
            if self._refused.get(account_id, -1e9) > now:
                continue
            try:
                with turn_of(self.engine, account_id):
                    self.engine.desk(account_id).service.reconcile()
            except ToolkitError as error:
                _LOG.warning("waiting_exit_later", account=str(account_id), error=str(error))

    def _commit(self, current: Round) -> None:
        if current.deferred:
            current.flush(self.engine.work(self.engine.service))

    def _advance(self, head: RunHead) -> Progress:
        self._looked[head.live_run_id] = self.engine.clock.monotonic()
        return advance(self.engine, head.live_run_id, head.account_id)

    def _has_work(self, head: RunHead) -> bool:
        """Whether a run must be advanced: it is stopping, has begun nothing yet, a bar is due, or it was not looked at."""
        if head.status != "RUNNING" or head.cursor is None or head.is_replay:
            return True
        if len(head.symbols) > 1:  # the cursor is that of the newest; a bar of another may come late
            return True
        if self.engine.clock.monotonic() - self._looked.get(head.live_run_id, -1e9) >= _LOOK_SECONDS:
            return True
        # The next bar closes when the one after it opens; before that no feed can show it.
        return self.engine.desk(head.account_id).platform.now() >= head.next_close


def host_fleet(
    engine: Engine,
    *,
    stop: threading.Event,
    hosts: Sequence[str] = ("none",),
    on_round: Callable[[RoundReport], None] | None = None,
) -> None:
    """Host runs, also those that come later, until told to stop."""
    fleet = Fleet(engine, hosts)
    while not stop.is_set():
        try:
            report = fleet.round()
            if on_round is not None:
                on_round(report)
        except ToolkitError as error:
            _LOG.warning("fleet_retry", error=str(error))
        stop.wait(engine.settings.quote_interval_seconds)
