"""Hosting a run: calling ``advance`` until it has ended, at the pace of its feed; for notebook, command line and workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from uuid import UUID

from toolkit.live.advance import MAX_BARS, advance
from toolkit.live.engine import Engine
from toolkit.live.feed import FeedSpec
from toolkit.live.stepping.progress import Progress
from toolkit.store.runs import RunRecord, Runs

_BARRIER_WAIT = 0.01
_RETRY_WAIT = 1.0
_HEARTBEAT_SECONDS = 5.0

OnProgress = Callable[[Progress], None]


def host_run(
    engine: Engine,
    live_run_id: UUID,
    *,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Progress:
    """Advance a run until it has ended, or until ``stop`` is set.

    A run that waits is looked at again at least every ``quote_interval_seconds``, so that a stop or a halt takes effect
    within two seconds.

    Returns
    -------
    Progress
        The last one; its status tells how the run ended.

    Raises
    ------
    PlatformError, RunError
        When this process cannot act on the account, e.g. because another one hosts it; the run is left as it is.
    """
    run = _row(engine, live_run_id)
    if run.status in ("RUNNING", "STOPPING"):
        engine.desk(
            run.account_id
        )  # where another process hosts the account, its user is told at once instead of waiting
    speed = FeedSpec.from_dict(json.loads(run.feed_json)).speed
    interval = engine.settings.quote_interval_seconds
    # A paced replay is committed in pieces short enough that the page moves and a stop is seen in time.
    limit = MAX_BARS if speed is None else max(1, int(speed * interval / 2))
    last_beat = engine.clock.monotonic()
    while True:
        begun = engine.clock.monotonic()
        progress = advance(engine, live_run_id, run.account_id, limit=limit)
        if on_progress is not None:
            on_progress(progress)
        if progress.ended or (stop is not None and stop.is_set()):
            return progress
        pause = _pause(progress, interval)
        if speed is not None and progress.bars:
            pause = max(pause, progress.bars / speed - (engine.clock.monotonic() - begun))
        if pause > 0:
            if engine.clock.monotonic() - last_beat > _HEARTBEAT_SECONDS:
                _beat(engine, live_run_id)
                last_beat = engine.clock.monotonic()
            if stop is None:
                engine.clock.sleep(min(pause, interval))
            else:
                stop.wait(min(pause, interval))


def _pause(progress: Progress, interval: float) -> float:
    if not progress.waiting or progress.waiting == "race":
        return 0.0
    if progress.waiting == "barrier":
        return _BARRIER_WAIT
    if progress.waiting == "delivery":
        return 0.05
    return interval if progress.waiting in ("feed", "paused") else min(_RETRY_WAIT, interval)


def _row(engine: Engine, live_run_id: UUID) -> RunRecord:
    with engine.work(engine.service, write=False) as work:
        return Runs(work.connection, engine.service).get(live_run_id)


def _beat(engine: Engine, live_run_id: UUID) -> None:
    with engine.work(engine.service) as work:
        Runs(work.connection, engine.service).beat(live_run_id, engine.now())
        work.commit()


class RunThread:
    """A run hosted by a thread of this process, as a notebook does.

    Parameters
    ----------
    engine
        The process's engine.
    live_run_id
        The run; it must be RUNNING.
    """

    def __init__(self, engine: Engine, live_run_id: UUID) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._engine = engine
        self._live_run_id = live_run_id
        self._thread = threading.Thread(target=self._host, name=f"run-{str(live_run_id)[:8]}", daemon=True)
        self._thread.start()

    def _host(self) -> None:
        try:
            host_run(self._engine, self._live_run_id, stop=self._stop)
        except BaseException as error:  # noqa: BLE001 - shown by `error` and by the run's heartbeat going stale
            self._error = error

    @property
    def alive(self) -> bool:
        """Whether the thread is still at work."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What ended the thread, if it was not the run's own end."""
        return self._error

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the run to end; return whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Stop hosting; the run stays RUNNING and any process may take it up."""
        self._stop.set()
        self._thread.join(10)
