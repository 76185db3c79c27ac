"""When an ``advance`` is sent: once while one is on its way, again when it was lost, and when a bar is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from dramatiq.errors import ConnectionClosed

from tests.plugins.servers import wait_until
from toolkit.telemetry.metrics import Metrics
from workers import scheduler as module
from workers.scheduler import Scheduler


class Roster:
    """Serves nothing; its refresh can be made to fail."""

    def __init__(self) -> None:
        self.failing = False
        self.refreshed = 0
        self.left: list[object] = []  # told as served, given up a moment later

    def refresh(self) -> None:
        self.refreshed += 1
        if self.failing:
            raise RuntimeError("the database went away")

    def serving(self) -> tuple[object, ...]:
        return tuple(self.left)

    def desk(self, account: object) -> None:
        assert account in self.left


class Broker:
    """Keeps what is sent, or refuses it."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, Any]] = []
        self.away = False

    def enqueue(self, message: Any) -> None:
        if self.away:
            raise ConnectionClosed(OSError("away"))
        self.sent.append((time.monotonic(), message))


@pytest.fixture
def parts() -> Iterator[SimpleNamespace]:
    """A scheduler among doubles; it is stopped at the end."""
    made: Any = SimpleNamespace(engine=SimpleNamespace(metrics=Metrics()), broker=Broker(), roster=Roster())
    made.scheduler = Scheduler(made.engine, made.broker, SimpleNamespace(), made.roster, 0.05)
    made.run = SimpleNamespace(live_run_id=uuid4(), account_id=uuid4())
    yield made
    if made.scheduler._loops["due"].thread.is_alive():
        made.scheduler.stop()


def test_a_wake_is_sent_once_until_it_arrives_or_is_lost(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung account does not fill its queue, and a lost message does not hold its run up."""
    for _ in range(5):
        parts.scheduler.wake(parts.run)
    assert len(parts.broker.sent) == 1
    parts.scheduler.arrived(parts.run.account_id)
    parts.scheduler.wake(parts.run)
    assert len(parts.broker.sent) == 2
    monkeypatch.setattr(module, "LOST_SECONDS", 0.0)
    parts.scheduler.wake(parts.run)
    assert len(parts.broker.sent) == 3


def test_a_wake_that_the_message_broker_refuses_is_not_counted_as_sent(parts: Any) -> None:
    """It raises nothing, and the next one is sent."""
    parts.broker.away = True
    parts.scheduler.wake(parts.run)
    parts.broker.away = False
    parts.scheduler.wake(parts.run)
    assert len(parts.broker.sent) == 1


def test_a_run_is_advanced_when_its_bar_is_due_and_not_before(parts: Any) -> None:
    """A later plan replaces an earlier one."""
    parts.scheduler.start()
    begun = time.monotonic()
    parts.scheduler.look_at(parts.run, 0.05)
    parts.scheduler.look_at(parts.run, 0.4)
    wait_until(lambda: len(parts.broker.sent) == 1, "the run is advanced", 10)
    assert parts.broker.sent[0][0] - begun >= 0.4
    assert parts.broker.sent[0][1].args == (str(parts.run.live_run_id), str(parts.run.account_id))


def test_a_loop_that_fails_goes_on_and_is_counted(parts: Any) -> None:
    """Whatever database or message broker raise, the next look comes."""
    parts.roster.failing = True
    parts.scheduler.start()
    wait_until(lambda: parts.roster.refreshed >= 3, "three looks", 10)
    assert parts.scheduler.stuck() == []
    assert 'seatrial_loop_failures_total{loop="poll"}' in parts.engine.metrics.exposition()


def test_a_loop_that_has_ended_or_hangs_is_told(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health is that every loop comes round."""
    parts.scheduler.start()
    assert parts.scheduler.stuck() == []
    monkeypatch.setattr(module, "STUCK_SECONDS", -1.0)
    assert "reconcile" in parts.scheduler.stuck()
    monkeypatch.undo()
    parts.scheduler.stop()
    assert set(parts.scheduler.stuck()) == {"poll", "sweep", "watchdog", "reconcile", "due"}


def test_a_sweep_opens_no_session_of_an_account_that_has_just_left(parts: Any) -> None:
    """The engine is not asked for its desk, which would open the session again and keep every other worker out."""
    parts.roster.left = [uuid4()]
    parts.engine.settings = SimpleNamespace(outbox_limit=500)
    parts.engine.desk = lambda account: pytest.fail(f"the desk of {account} was opened")
    parts.scheduler.sweep()
