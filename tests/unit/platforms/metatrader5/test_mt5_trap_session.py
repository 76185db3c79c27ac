"""Traps of the terminal: a call that holds the lock (3), another account in it (4), logins, what is no error and what is."""

from __future__ import annotations

import inspect
import threading
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from mt5_terminal import BUY, START, adapter, deal_request, venue

from toolkit.errors import PlatformUnavailable, ReadFailed, WrongAccount
from toolkit.execution.ports import Outcome
from toolkit.platforms.metatrader5 import MetaTrader5Platform, platform
from toolkit.platforms.simmt5 import SimMT5
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript


def test_mt5_trap_3_call_that_hangs_holds_the_interpreter_lock(tmp_path: Path) -> None:
    """Nothing else of the process runs while the package waits: that is why a session has a process of its own.

    What the toolkit makes of it is in test_isolation.py and tests/unit/live/test_mt5_feed.py.
    """
    beats: list[float] = []
    over = threading.Event()

    def heart() -> None:
        while not over.wait(0.01):
            beats.append(time.monotonic())

    with venue(tmp_path) as paper:
        sim = SimMT5(paper, hang_after=1, hang_seconds=0.6)
        at = adapter(sim)
        beating = threading.Thread(target=heart)
        beating.start()
        began = time.monotonic()
        assert at.send(BUY).outcome is Outcome.DONE
        ended = time.monotonic()
        over.set()
        beating.join(timeout=5)
    inside = [began, *(b for b in beats if began < b < ended), ended]
    assert max(b - a for a, b in pairwise(inside)) > 0.55


def test_mt5_trap_4_terminal_without_its_server_sends_nothing(sim: SimMT5) -> None:
    """A terminal that has lost its server is not asked to send: nothing can have been accepted."""
    at = adapter(sim)
    sim.cut_line()
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED
    with pytest.raises(PlatformUnavailable, match="not connected"):
        at.book()
    assert sim.platform.order_count() == 0


def test_mt5_trap_4_another_login_in_the_terminal_stops_every_send(sim: SimMT5) -> None:
    """A person who switches the terminal's account makes sends refused and reads fail, and nothing reaches the server."""
    at = adapter(sim)
    sim.log_in_as(999, "Other-Demo")
    result = at.send(BUY)
    assert (result.outcome, result.code) == (Outcome.WAIT, "WRONG_ACCOUNT")
    with pytest.raises(WrongAccount, match="999 at Other-Demo"):
        at.book()
    assert sim.platform.order_count() == 0


def test_mt5_trap_4_demo_and_real_are_not_mixed_up(sim: SimMT5) -> None:
    """The same login on a real account is another account."""
    at = adapter(sim)
    login, server, _ = sim.logged_in
    sim.log_in_as(login, server, trade_mode=2)
    assert at.send(BUY).code == "WRONG_ACCOUNT"
    with pytest.raises(WrongAccount, match=r"\(real\)"):
        at.connect()


def test_mt5_trap_4_the_adapter_never_calls_login() -> None:
    """Switching the terminal is done by nobody in the adapter, and the resending helpers are never used."""
    source = inspect.getsource(platform)
    assert not [w for w in (".login(", ".Buy(", ".Sell(", ".Close(") if w in source]


@pytest.mark.parametrize("off", ["trade_allowed", "tradeapi_disabled"])
def test_mt5_trap_4_trading_switched_off_waits(sim: SimMT5, off: str) -> None:
    """Auto-trading off, or the interface disabled, is WAIT before anything is sent."""
    at = adapter(sim)
    setattr(sim, off, off == "tradeapi_disabled")
    assert at.send(BUY).outcome is Outcome.WAIT
    assert sim.order_send(deal_request()).retcode == 10027


def test_mt5_none_is_an_error_and_an_empty_tuple_is_not(sim: SimMT5) -> None:
    """No positions are (); a failed call is None, and the adapter raises on it."""
    at = adapter(sim)
    assert sim.positions_get() == () and at.book().positions == ()
    sim.positions_get = lambda **_: None  # type: ignore[method-assign]
    with pytest.raises(ReadFailed):
        at.book()


def test_mt5_deposit_is_no_trade(sim: SimMT5) -> None:
    """The opening balance is a deal at the server and none of ours."""
    at = adapter(sim)
    everything = sim.history_deals_get(0, 2**40)
    assert everything is not None and everything[0].type == sim.DEAL_TYPE_BALANCE
    assert at.history(START - timedelta(days=9), START + timedelta(days=9)).deals == ()


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("kind", [FaultKind.ANSWER_LOST, FaultKind.COMMAND_LOST])
def test_mt5_lost_answer_is_unknown_whether_or_not_it_was_executed(
    tmp_path: Path, silent: bool, kind: FaultKind
) -> None:
    """Retcode 10012 and a None both leave the outcome open; the book tells later."""
    with venue(tmp_path, faults=FaultScript([Fault(kind)])) as paper:
        at = adapter(SimMT5(paper, silent=silent))
        assert at.send(BUY).outcome is Outcome.UNKNOWN
        assert len(at.book().positions) == (1 if kind is FaultKind.ANSWER_LOST else 0)


def test_mt5_exception_during_the_send_is_unknown_and_before_it_is_not(sim: SimMT5) -> None:
    """A remote module may raise: after the point of no return that is UNKNOWN, before it NOT_ACCEPTED."""

    def broken(_: object) -> None:
        raise ConnectionResetError("rpc line lost, secret=hunter2")

    at = adapter(sim)
    real, sim.order_send = sim.order_send, broken  # type: ignore[method-assign]
    result = at.send(BUY)
    assert result.outcome is Outcome.UNKNOWN and "hunter2" not in result.message
    sim.order_send = real  # type: ignore[method-assign]
    sim.order_check = broken  # type: ignore[method-assign,assignment]
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED
    assert sim.platform.order_count() == 0


def test_mt5_refused_login_is_wrong_account_without_the_password(tmp_path: Path) -> None:
    """A wrong password names login and server, never the password."""
    with venue(tmp_path) as paper:
        sim = SimMT5(paper, password="right")
        at = MetaTrader5Platform(
            sim, login=5_000_001, server="SimServer-Demo", password=lambda: "wrong-secret", clock="UTC"
        )
        with pytest.raises(WrongAccount, match="login refused") as told:
            at.connect()
        assert "wrong-secret" not in str(told.value)


def test_mt5_terminal_not_started_is_unavailable(sim: SimMT5) -> None:
    """Without a line to the terminal reads raise PlatformUnavailable and a send is not accepted."""
    at = adapter(sim)
    sim.shutdown()
    with pytest.raises(PlatformUnavailable, match="no line to the terminal"):
        at.book()
    assert at.send(BUY).outcome is Outcome.NOT_ACCEPTED
