"""The doors to a run: what they refuse, and that the refusal names the remedy."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.errors import BadInput, Forbidden, NotFound, RunError
from toolkit.live import live_runs
from toolkit.live.feed import Replay
from toolkit.live.operate.users import add_user
from toolkit.live.promoting.versions import retire_version
from toolkit.market import Bars
from toolkit.store.people.accounts import Accounts, ensure_user
from toolkit.store.sql.models import Audit, Bot, LiveRun


def test_bots_have_no_account_and_runs_must_have_one() -> None:
    """A strategy belongs to nobody's account; a run belongs to exactly one."""
    assert "account_id" not in Bot.__table__.columns
    assert LiveRun.__table__.columns["account_id"].nullable is False


def test_a_created_run_does_not_trade_until_it_is_started(sea: Sea, some_bars: Bars) -> None:
    """CREATED is a state of its own, and starting moves on from it."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars, start=False)
    assert run.status == "CREATED" and run.cursor is None
    started = live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    assert started.status == "RUNNING"


def test_ownership_a_foreign_account_is_refused_and_audited(sea: Sea, some_bars: Bars) -> None:
    """Another user may not run on an account without a grant, and the attempt stays on record."""
    version, account = sea.version(EmaCross(), some_bars), sea.account()
    with sea.engine.work() as work:
        stranger = ensure_user(work.connection, sea.engine.now(), "stranger", "human")
        work.commit()
    with pytest.raises(Forbidden, match="stranger may not trade on account"):
        live_runs.create_live_run(
            sea.engine,
            stranger,
            version,
            account.account_id,
            symbols=["EURUSD"],
            timeframe="H1",
            feed=Replay(some_bars),
        )
    with sea.engine.work(write=False) as work:
        rows = work.connection.execute(select(Audit.principal).where(Audit.action == "account.refused")).scalars().all()
    assert rows == ["stranger"]


def test_ownership_a_foreign_run_does_not_exist(sea: Sea, some_bars: Bars) -> None:
    """What is not yours to see is not there."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars, start=False)
    with sea.engine.work() as work:
        stranger = ensure_user(work.connection, sea.engine.now(), "stranger", "human")
        work.commit()
    with pytest.raises(NotFound):
        live_runs.get_run(sea.engine, stranger, run.live_run_id)
    with pytest.raises(NotFound):
        live_runs.stop_live_run(sea.engine, stranger, run.live_run_id)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"symbols": ["GBPUSD"]}, "symbol must be EURUSD"),
        ({"symbols": ["EURUSD", "GBPUSD"]}, "symbol must be EURUSD"),
        ({"timeframe": "M5"}, "timeframe must be H1"),
        ({"stage": "demo"}, "stage demo"),
        ({"stage": "moon"}, "one of shadow, paper, demo, real"),
        ({"capital": -5}, "capital must be above 0"),
        ({"guards": tk.Guards(daily_loss_percent=5)}, r"was wider in daily_loss_percent 5 \(there 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(sea: Sea, some_bars: Bars, changed: dict[str, object], words: str) -> None:
    """Each thing that does not fit the version's trial or the account is named."""
    report = sea.trial(EmaCross(), some_bars, guards=tk.Guards(daily_loss_percent=2))
    version = live_runs_version(sea, report)
    given = {"symbols": ["EURUSD"], "timeframe": "H1", "feed": Replay(some_bars), **changed}
    with pytest.raises(RunError, match=words):
        live_runs.create_live_run(sea.engine, sea.engine.principal, version, sea.account().account_id, **given)  # type: ignore[arg-type]


def live_runs_version(sea: Sea, report: object) -> object:
    """Promote the trial's strategy."""
    from toolkit.live.promoting.promotion import promote

    return promote(sea.engine, EmaCross(), trial=report)


def test_start_refuses_other_contract_facts_and_names_them(sea: Sea, some_bars: Bars) -> None:
    """A platform whose contract size differs from the tested one is not traded."""
    other = tk.Instrument(
        "EURUSD", "USD", pip_size="0.0001", contract_size=10_000, volume_min="0.01", volume_max=100, volume_step="0.01",
        digits=5, base_currency="EUR",
    )  # fmt: skip
    columns = dict(some_bars.columns)
    strange = Bars.from_arrays("EURUSD", "H1", some_bars.ts, instrument=other, **columns)
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), strange, start=False)
    with pytest.raises(RunError, match="contract_size 10000 instead of 100000"):
        live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)


def test_a_netting_account_takes_one_run_per_symbol(sea: Sea, some_bars: Bars) -> None:
    """Where positions net, a second run on the symbol would trade the first one's position."""
    version, account = sea.version(EmaCross(), some_bars), sea.account(mode="netting")
    first = sea.run(version, account, some_bars)
    with pytest.raises(RunError, match=f"already traded by run {first.live_run_id}"):
        sea.run(version, account, some_bars)


def test_a_replay_in_the_venues_past_is_refused(sea: Sea, some_bars: Bars) -> None:
    """A paper venue's clock never goes back: the same bars again need another account."""
    version, account = sea.version(EmaCross(), some_bars), sea.account()
    sea.finish(sea.run(version, account, some_bars[:120]))
    with pytest.raises(RunError, match="open another paper account"):
        sea.run(version, account, some_bars[:120])


def test_an_ended_run_is_not_started_again(sea: Sea, some_bars: Bars) -> None:
    """STOPPED is final."""
    run = sea.run(sea.version(EmaCross(), some_bars), sea.account(), some_bars, start=False)
    live_runs.stop_live_run(sea.engine, sea.engine.principal, run.live_run_id)
    with pytest.raises(RunError, match="must be CREATED, was STOPPED"):
        live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)


@pytest.mark.parametrize(("role", "granted"), [("viewer", True), ("admin", False)])
def test_ownership_who_may_only_look_starts_no_run(sea: Sea, some_bars: Bars, role: str, granted: bool) -> None:
    """A granted viewer and an admin without a grant see the run; starting it is refused, and the attempt stays on record."""
    account = sea.account()
    run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, start=False)
    onlooker = add_user(sea.engine, sea.engine.principal, "vera", role)
    if granted:
        with sea.engine.work() as work:
            Accounts(work.connection, sea.engine.principal).grant(account.account_id, onlooker, sea.engine.now())
            work.commit()
    assert live_runs.get_run(sea.engine, onlooker, run.live_run_id).status == "CREATED"
    with pytest.raises(Forbidden, match="may not act on account"):
        live_runs.start_bot_live_run(sea.engine, onlooker, run.live_run_id)
    assert live_runs.get_run(sea.engine, onlooker, run.live_run_id).status == "CREATED"
    with sea.engine.work(write=False) as work:
        tried = work.connection.execute(select(Audit.action, Audit.subject).where(Audit.action == "run.refused")).all()
    assert (("run.refused", str(run.live_run_id))) in [tuple(row) for row in tried]


def test_a_run_made_before_its_version_was_retired_is_not_started(sea: Sea, some_bars: Bars) -> None:
    """Retiring promises that no new run begins, however early its row was made."""
    version = sea.version(EmaCross(), some_bars)
    run = sea.run(version, sea.account(), some_bars, start=False)
    retire_version(sea.engine, sea.engine.principal, version, reason="superseded")
    with pytest.raises(RunError, match="retired"):
        live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)


def test_a_paper_accounts_terms_do_not_change(sea: Sea) -> None:
    """The same name with the same terms is the same account; with others it is refused, naming the difference."""
    first = sea.account("paper-1")
    assert sea.account("paper-1").account_id == first.account_id
    with pytest.raises(BadInput, match="leverage 30 -> 100"):
        sea.account("paper-1", leverage=100)


def test_an_unknown_version_is_refused(sea: Sea, some_bars: Bars) -> None:
    """A version must exist and be visible."""
    with pytest.raises(NotFound):
        live_runs.create_live_run(
            sea.engine, sea.engine.principal, uuid4(), sea.account().account_id, symbols=["EURUSD"], timeframe="H1"
        )
