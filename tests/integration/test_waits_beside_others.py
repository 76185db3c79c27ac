"""An exit that waits for its market stands in the way of nothing else: stop, kill switch and other symbols go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.e2e.replay_files import DATA
from tests.integration.test_joint_live import WARM, begin, paper
from tests.integration.test_portfolio_equals_platform import yen_pairs
from tests.plugins.live_support import RsiReversal, Sea
from toolkit.clock import from_ns
from toolkit.errors import QuoteError
from toolkit.execution.ports import OpenOrder, OrderResult, Outcome
from toolkit.execution.recovery.closing import submit_close
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.hosting.fleet import Fleet
from toolkit.live.safety.flatten import _through_the_outbox
from toolkit.live.stepping.ending import fail
from toolkit.live.stepping.joint.platform_feed import TOGETHER
from toolkit.market.series.several import shared_moments
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import ExecutionIntent

pytestmark = [
    pytest.mark.skipif(not DATA.exists(), reason="the shared price files are not here"),
    pytest.mark.timeout(300),
]


@dataclass
class Held:
    """A run with positions in several symbols, of which one has a close that its market does not take."""

    sea: Sea
    run: RunRecord
    platform: Any
    shut: str
    send: Any  # as the venue carries commands out once the market is open

    def symbols(self) -> set[str]:
        return {p.symbol for p in self.platform.book().positions}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, sea: Sea) -> Held:
    """Step a run on three symbols until it holds two, shut the market of one, and ask for its close."""
    monkeypatch.setattr("toolkit.live.opening.rehearsal.gettempdir", lambda: str(sea.home.parent))
    series = yen_pairs(420)
    account = paper(sea)
    platform: Any = sea.engine.desk(account.account_id).platform
    for symbol, bars in series.items():
        platform.load_replay(symbol, bars)
    moments = shared_moments(series.values()).tolist()
    platform.advance_clock_to(from_ns(moments[WARM]))
    run = begin(sea, RsiReversal(), series, None, account=account)
    for moment in moments[WARM:]:
        platform.advance_clock_to(from_ns(moment) + TOGETHER)
        while advance(sea.engine, run.live_run_id, run.account_id).waiting != "feed":
            pass
        if len({p.symbol for p in platform.book().positions}) >= 2:
            break
    shut = platform.book().positions[0].symbol
    send = platform.send

    def refuse(command: Any) -> OrderResult:
        of = {p.position_id: p.symbol for p in platform.book().positions}
        if not isinstance(command, OpenOrder) and of.get(getattr(command, "position_id", None)) == shut:
            return OrderResult(Outcome.WAIT, code="MARKET_CLOSED", message="the market is closed")
        return send(command)  # type: ignore[no-any-return]

    platform.send = refuse
    service = sea.engine.desk(run.account_id).service
    with service.context.writing() as work:
        trade = next(t for t in work.open_trades(run.account_id) if t.symbol == shut)
        asked = submit_close(
            work,
            trade,
            principal=service.principal,
            now=service.clock.now(),
            source="hand",
            signal_id="1",
            reason="hand",
        )
        work.commit()
    assert service.execute(asked).waits
    return Held(sea, run, platform, shut, send)


def test_a_stop_with_flatten_closes_the_symbols_whose_market_is_open(held: Held) -> None:
    """The run waits for the one exit, the positions of the other symbols are gone at once."""
    live_runs.stop_live_run(held.sea.engine, held.sea.engine.principal, held.run.live_run_id, flatten=True)
    last = None
    for _ in range(5):
        last = advance(held.sea.engine, held.run.live_run_id, held.run.account_id)
    assert held.symbols() == {held.shut}
    assert last is not None
    assert (last.status, last.waiting) == ("STOPPING", "market")


def test_the_kill_switch_through_the_outbox_asks_for_what_does_not_wait(held: Held) -> None:
    """Every position gets one close; the one that has a waiting close gets no second one."""
    report = _through_the_outbox(held.sea.engine, held.run.account_id, 1.0)
    assert not report.flat
    query = select(ExecutionIntent.symbol).where(
        ExecutionIntent.action == "CLOSE_POSITION", ExecutionIntent.state == "NEW"
    )
    with held.sea.engine.work(write=False) as work:
        asked = sorted(work.connection.execute(query).scalars())
    assert asked == sorted(p.symbol for p in held.platform.book().positions)


def test_a_waiting_exit_without_a_price_stops_neither_reconciliation_nor_the_run(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its symbol has no quote: the account is reconciled, the run goes on, and the exit still waits."""
    quote = held.platform.quote

    def none_of_the_shut(symbol: str) -> Any:
        if symbol == held.shut:
            raise QuoteError(f"quote of {symbol} must be known, was none yet")
        return quote(symbol)

    monkeypatch.setattr(held.platform, "quote", none_of_the_shut)
    held.platform.advance_clock_to(held.platform.now() + timedelta(seconds=90))
    held.sea.engine.desk(held.run.account_id).service.reconcile()
    with held.sea.engine.work(write=False) as work:
        states = select(ExecutionIntent.state).where(ExecutionIntent.not_before.is_not(None))
        assert list(work.connection.execute(states).scalars()) == ["NEW"]


def test_an_exit_waits_on_for_a_run_that_has_ended(held: Held) -> None:
    """Its run is in ERROR; once the market is open the next round of the host sends the close."""
    fail(held.sea.engine, held.run, "planted")
    held.platform.send = held.send
    held.platform.advance_clock_to(held.platform.now() + timedelta(seconds=90))
    Fleet(held.sea.engine).round()
    assert held.shut not in held.symbols()
