"""The smallest trade through a LiveRun, on a MetaTrader account over the strict double."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from toolkit.bootstrap import build
from toolkit.cli.demo.strategy import EmaCross
from toolkit.clock import from_ns
from toolkit.errors import Forbidden
from toolkit.live.opening.minimum_lot import trade_minimum_lot
from toolkit.market import Bars
from toolkit.platforms.findings import Finding
from toolkit.platforms.simmt5 import STRICT, SimMT5Platform
from toolkit.platforms.simulated import Fault, FaultKind, FaultScript, SimulatedPlatform
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord
from toolkit.strategy.spec import StrategySpec

ACCOUNT = AccountRecord(
    account_id=uuid4(), owner_id=uuid4(), name="demo", platform="metatrader5", currency="USD", environment="demo",
    gateway="redis", login="5000001", server="SimServer-Demo", created_at=datetime(2024, 1, 1, tzinfo=UTC),
)  # fmt: skip


@pytest.fixture
def rehearse(tmp_path: Path, some_bars: Bars) -> Callable[..., tuple[list[Finding], list[Any]]]:
    """Rehearse on a terminal at the open of bar 400; return findings and the deals at the server."""

    def act(
        *faults: Fault, trade_mode: int = 0, account: AccountRecord = ACCOUNT, terms: str = "hedging"
    ) -> tuple[list[Finding], list[Any]]:
        journal = tmp_path / "server.sqlite"

        def opened(record: AccountRecord, settings: Settings) -> SimMT5Platform:
            assert record.login == account.login and settings.home != tmp_path
            venue = SimulatedPlatform(
                journal,
                PaperAccount("USD", 10_000, mode=terms),
                checks=STRICT,
                faults=FaultScript(faults),  # type: ignore[arg-type]
            )
            venue.load_replay("EURUSD", some_bars)
            venue.advance_clock_to(from_ns(int(some_bars.ts[400])))
            return SimMT5Platform(venue, suffix=".r", trade_mode=trade_mode)

        def engine(folder: Path) -> Any:
            settings = Settings(home=folder, database_url="", gateway="local", _env_file=None)  # type: ignore[call-arg,arg-type]
            return build(settings, open_platform={"metatrader5": opened})

        try:
            found = trade_minimum_lot(engine, account, StrategySpec.from_strategy(EmaCross()), "EURUSD")
        finally:
            with SimulatedPlatform(journal, PaperAccount("USD", 10_000, mode=terms)) as after:  # type: ignore[arg-type]
                deals = list(after.deals_after(None))
        return found, deals

    return act


@pytest.mark.parametrize("terms", ["hedging", "netting"])
def test_mt5_rehearsal_opens_modifies_reduces_and_closes(rehearse: Any, terms: str) -> None:
    """All steps are done with the smallest volume, and nothing is left open."""
    found, deals = rehearse(terms=terms)
    assert [(f.name, f.level) for f in found] == [(n, "ok") for n in ("open", "modify", "reduce", "close", "deals")]
    assert [(d.entry, d.lots) for d in deals] == [("in", Decimal("0.02"))] + [("out", Decimal("0.01"))] * 2


def test_mt5_rehearsal_looks_up_a_lost_answer_and_never_sends_again(rehearse: Any) -> None:
    """The entry's answer is lost: UNKNOWN, found by its tag; one position was opened, and it is closed."""
    found, deals = rehearse(Fault(FaultKind.ANSWER_LOST, on="open"))
    assert found[0].level == "ok" and "was UNKNOWN, found by its tag" in found[0].said
    assert [d.entry for d in deals] == ["in", "out", "out"]


def test_mt5_rehearsal_closes_even_when_a_step_goes_wrong(rehearse: Any) -> None:
    """A refused modification is a failure, and does not leave the position behind."""
    found, deals = rehearse(Fault(FaultKind.REJECT, on="modify"))
    by_name = {f.name: f for f in found}
    assert by_name["modify"].level == "fail" and by_name["close"].level == "ok"
    assert sum(d.lots * (1 if d.entry == "in" else -1) for d in deals) == 0


def test_mt5_rehearsal_says_that_nothing_was_opened(rehearse: Any) -> None:
    """A closed market ends it with the first step."""
    found, deals = rehearse(Fault(FaultKind.MARKET_CLOSED, on="open", times=9))
    assert [f.level for f in found] == ["fail"] and "MARKET_CLOSED" in found[0].said and deals == []


@pytest.mark.parametrize(
    ("trade_mode", "account"), [(2, ACCOUNT), (0, replace(ACCOUNT, environment="real"))], ids=["platform", "row"]
)
def test_mt5_rehearsal_is_refused_on_real_money(rehearse: Any, tmp_path: Path, trade_mode: int, account: Any) -> None:
    """Row or platform saying real is enough; nothing is sent."""
    with pytest.raises(Forbidden, match="demo account, was real"):
        rehearse(trade_mode=trade_mode, account=account)
    with SimulatedPlatform(tmp_path / "server.sqlite", PaperAccount("USD", 10_000)) as after:
        assert after.order_count() == 0
