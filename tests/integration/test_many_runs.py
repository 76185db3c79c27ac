"""Many runs at once: accounts of several users, one version, each run its own capital, none in another's book."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.bootstrap import build
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.feed import Replay
from toolkit.live.opening.paper_accounts import open_paper_account
from toolkit.live.promoting.promotion import promote
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.settings import Settings
from toolkit.store.people.accounts import ensure_user
from toolkit.store.sql.models import ExecutionIntent, LiveRunTradeLink, Trade

# The full figure is 50 runs over 10 accounts of 5 users: SEATRIAL_MANY_RUNS=1.
USERS, ACCOUNTS, RUNS = (5, 10, 50) if os.environ.get("SEATRIAL_MANY_RUNS") == "1" else (3, 3, 9)


@pytest.mark.timeout(3600)
def test_ownership_many_runs_of_many_users_each_equal_their_own_backtest(
    make_sea: Callable[..., Sea], some_bars: Bars
) -> None:
    """Runs share accounts and a barrier, and still every one makes the trades of its own capital's backtest."""
    sea = make_sea()
    bars = some_bars[:300]
    report = sea.trial(EmaCross(), some_bars)
    users = []
    with sea.engine.work() as work:
        users = [ensure_user(work.connection, sea.engine.now(), f"user-{n}", "human") for n in range(USERS)]
        work.commit()
    runs = []
    terms = tk.PaperAccount(currency="USD", balance=1_000_000, leverage=500)
    for n in range(RUNS):
        engine = replace(sea.engine, principal=users[n % ACCOUNTS % USERS])
        account = open_paper_account(engine, f"paper-{n % ACCOUNTS}", terms)
        version = promote(engine, EmaCross(), trial=report)
        run = live_runs.create_live_run(
            engine, engine.principal, version, account.account_id, symbols=["EURUSD"], timeframe="H1",
            feed=Replay(bars), capital=5_000 + 1_000 * n,
        )  # fmt: skip
        runs.append(live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id))
    waiting = list(runs)
    for _ in range(100_000):
        waiting = [r for r in waiting if not advance(sea.engine, r.live_run_id, r.account_id).ended]
        if not waiting:
            break
    assert waiting == []
    for run in runs:
        account = tk.PaperAccount(currency="USD", balance=run.capital, leverage=500)
        expected = normalise_all(tk.backtest(EmaCross(), bars, account=account).trade_records)
        assert len(expected) > 5
        assert first_difference(expected, sea.trades(run)) is None, f"run with capital {run.capital}"
    _nothing_crosses_accounts(sea, {r.live_run_id: r.account_id for r in runs})


def _nothing_crosses_accounts(sea: Sea, account_of: dict[object, object]) -> None:
    with sea.engine.work(write=False) as work:
        for table in (Trade, ExecutionIntent):
            rows = work.connection.execute(select(table.live_run_id, table.account_id)).all()
            assert rows and all(account_of[row.live_run_id] == row.account_id for row in rows)
        links = work.connection.execute(
            select(LiveRunTradeLink.live_run_id, Trade.live_run_id.label("owner")).join(
                Trade, Trade.trade_id == LiveRunTradeLink.trade_id
            )
        ).all()
    assert links and all(row.live_run_id == row.owner for row in links)


def test_a_replay_on_postgresql_is_its_backtest(postgres_url: str, tmp_path: Path, some_bars: Bars) -> None:
    """The same run with PostgreSQL as its database: every trade equal, the days' bases kept."""
    bars = some_bars[:300]
    settings = Settings(home=tmp_path / "pg", database_url=postgres_url, _env_file=None)  # type: ignore[call-arg, arg-type]
    sea = Sea(build(settings))
    try:
        run = sea.finish(sea.run(sea.version(EmaCross(), some_bars), sea.account(), bars))
        account = tk.PaperAccount(currency="USD", balance=10_000, leverage=30)
        expected = normalise_all(tk.backtest(EmaCross(), bars, account=account).trade_records)
        assert (run.status, run.last_error) == ("STOPPED", "")
        assert first_difference(expected, sea.trades(run)) is None
    finally:
        sea.engine.close()
