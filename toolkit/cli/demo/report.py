"""What a demo, or any finished replay, came to: backtest and live side by side, equal or with their first difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.table import Table
from sqlalchemy import func, select

from toolkit.cli.console import out
from toolkit.live.engine import Engine
from toolkit.live.review.closed_rows import closed_rows
from toolkit.market import Bars
from toolkit.research.comparison import Difference, TradeRecord, first_difference, normalise_all
from toolkit.settings import redacted_url
from toolkit.simulation.account import from_minor
from toolkit.store.people.accounts import Accounts
from toolkit.store.runs import RunRecord, Runs, Versions, trades_of
from toolkit.store.sql.models import ExecutionIntent
from toolkit.store.sql.models import Order as OrderRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's result; `as_json` is the contract of ``--json``."""

    bars: int
    backtest: list[TradeRecord]
    live: list[TradeRecord]
    difference: Difference | None
    intents: int
    orders: int
    duplicates: int
    backtest_equity: Decimal
    final_equity: Decimal
    currency: str
    version_hash: str
    live_run_id: UUID
    database: str
    status: str
    last_error: str
    account: str

    def as_json(self) -> dict[str, Any]:
        """Return exactly the fields that ``seatrial demo --json`` promises."""
        return {
            "bars": self.bars,
            "backtest_trades": len(self.backtest),
            "live_trades": len(self.live),
            "identical": self.difference is None,
            "intents": self.intents,
            "orders": self.orders,
            "duplicates": self.duplicates,
            "final_equity": float(self.final_equity),
            "version_hash": self.version_hash,
            "live_run_id": str(self.live_run_id),
            "database": self.database,
        }


def live_trades(engine: Engine, live_run_id: UUID) -> list[TradeRecord]:
    """Return the closed trades of a run in the columns of a backtest."""
    with engine.work(write=False) as work:
        run = Runs(work.connection, engine.principal).get(live_run_id)
        currency = Accounts(work.connection, engine.principal).get(run.account_id).currency
        return normalise_all(closed_rows(work.connection, live_run_id, currency))


def outcome_of(
    engine: Engine,
    live_run_id: UUID,
    *,
    bars: Bars,
    backtest_trades: Sequence[dict[str, Any]],
    backtest_equity: Decimal,
) -> Outcome:
    """Compare a finished run with its backtest."""
    with engine.work(write=False) as work:
        run = Runs(work.connection, engine.principal).get(live_run_id)
        version = Versions(work.connection, engine.principal).get(run.bot_version_id)
        intents = _count(work.connection, ExecutionIntent.__table__, live_run_id)
        orders = _count(work.connection, OrderRow.__table__, live_run_id)
    desk = engine.desk(run.account_id)
    expected, live = normalise_all(backtest_trades), live_trades(engine, live_run_id)
    difference = first_difference(expected, live)
    if difference is None and run.status != "STOPPED":
        difference = Difference(len(live), "status", "STOPPED", f"{run.status} {run.last_error}".strip(), "")
    return Outcome(
        bars=len(bars),
        backtest=expected,
        live=live,
        difference=difference,
        intents=intents,
        orders=orders,
        duplicates=int(desk.platform.duplicate_orders()),  # type: ignore[attr-defined]
        backtest_equity=backtest_equity,
        final_equity=final_equity(engine, run, bars),
        currency=desk.account.currency,
        version_hash=version.version_hash,
        live_run_id=live_run_id,
        database=redacted_url(engine.settings.effective_database_url),
        status=run.status,
        last_error=run.last_error,
        account=desk.account.name,
    )


def final_equity(engine: Engine, run: RunRecord, bars: Bars) -> Decimal:
    """Return the run's equity at the last close: capital, booked money and open profit at the platform's quote."""
    with engine.work(write=False) as work:
        rows = trades_of(work.connection, run.live_run_id)
    held = {row.position_id for row in rows if row.status == "open"}
    booked = sum((row.profit + row.commission + row.swap for row in rows), Decimal(0))
    book = engine.desk(run.account_id).platform.book()
    still = sum((p.profit + p.swap for p in book.positions if p.position_id in held), Decimal(0))
    return run.capital + booked + still + from_minor(0, book.account.currency)


def _count(connection: Any, table: Any, live_run_id: UUID) -> int:
    return int(
        connection.execute(select(func.count()).select_from(table).where(table.c.live_run_id == live_run_id)).scalar()
    )


def print_report(outcome: Outcome) -> None:
    """Print the readable report."""
    table = Table(title="Backtest and live, side by side", title_justify="left")
    for name in ("", "backtest", "live"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("closed trades", str(len(outcome.backtest)), str(len(outcome.live)))
    for name, reason in (("stopped out", "stop_loss"), ("target reached", "take_profit")):
        table.add_row(
            name, *(str(sum(t["exit_reason"] == reason for t in side)) for side in (outcome.backtest, outcome.live))
        )
    profits = [
        sum((t["profit"] + t["commission"] + t["swap"] for t in side), Decimal(0))
        for side in (outcome.backtest, outcome.live)
    ]
    table.add_row("net profit", *(f"{p:,} {outcome.currency}" for p in profits))
    table.add_row(
        "final equity",
        f"{outcome.backtest_equity:,} {outcome.currency}",
        f"{outcome.final_equity:,} {outcome.currency}",
    )
    out.print(table)
    if outcome.difference is None:
        out.print(f"[green]IDENTICAL[/green]: {len(outcome.live)} trades, equal in every column")
    else:
        out.print("[red]DIFFERENT[/red]", end=": ")
        out.print(str(outcome.difference), markup=False)
    if outcome.last_error:
        out.print(f"last error  {outcome.last_error}", markup=False)
    facts = [
        ("bars", f"{outcome.bars:,}"),
        ("run", f"{outcome.live_run_id} ({outcome.status}) on {outcome.account}"),
        ("intents", f"{outcome.intents:,}"),
        ("orders", f"{outcome.orders:,}, duplicates in the venue's book: {outcome.duplicates}"),
        ("version", outcome.version_hash),
        ("database", outcome.database),
    ]
    for name, value in facts:
        out.print(f"{name:<11} {value}", markup=False, soft_wrap=True)
    out.print("\nnext")
    for command, what in (
        (f"seatrial panel --run {outcome.live_run_id}", "look at this run in the browser"),
        ("seatrial status", "list your runs"),
        ("seatrial demo --inject fill_side", "see a planted fault being found"),
        ("jupyter lab notebooks/01_research_to_live.ipynb", "do the same in a notebook"),
    ):
        out.print(f"  {command:<64} {what}", markup=False, soft_wrap=True)
