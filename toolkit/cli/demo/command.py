"""``seatrial demo``: research to live in one command, on real prices, without a server or an account."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from toolkit.cli.console import AsJson, Home, engine_of, err
from toolkit.cli.demo.report import Outcome, outcome_of, print_report
from toolkit.errors import BadInput, must_be
from toolkit.live.engine import Engine
from toolkit.market import Bars, load_bars, sample_bars


class Price(StrEnum):
    """Which side a file's prices are of."""

    BID = "bid"
    ASK = "ask"
    MID = "mid"
    BIDASK = "bidask"


class Inject(StrEnum):
    """Faults that can be planted in the live path."""

    FILL_SIDE = "fill_side"
    SKIP_BAR = "skip_bar"
    SLIPPAGE = "slippage"


def demo(
    home: Home = None,
    data: Annotated[Path | None, typer.Option(help="CSV or Parquet of your own bars instead of the sample.")] = None,
    symbol: Annotated[str, typer.Option(help="Symbol of --data.")] = "EURUSD",
    timeframe: Annotated[str, typer.Option(help="Timeframe of --data, e.g. M1, H1, D1.")] = "H1",
    price: Annotated[Price, typer.Option(help="Which side the prices of --data are of.")] = Price.BID,
    spread_pips: Annotated[float | None, typer.Option(help="Spread in pips where --data has one side only.")] = None,
    currency: Annotated[str, typer.Option(help="Currency of the paper account.")] = "USD",
    inject: Annotated[
        Inject | None, typer.Option(help="Plant a fault in the live path; the demo must then fail.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Open the page on the run afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Backtest, sea trial, promotion and a live replay of real bars; then compare backtest and live, trade by trade.

    Exit code 0 only when both made exactly the same trades.
    """
    bars = _bars(data, symbol, timeframe, price, spread_pips)
    with engine_of(home, open_platform=_faulty_venue(inject)) as engine:
        outcome = run_demo(engine, bars, currency=currency, inject=inject, quiet=as_json)
        if as_json:
            if outcome.difference is not None:
                err.print(f"first difference: {outcome.difference}", markup=False)
            typer.echo(json.dumps(outcome.as_json()))
        else:
            print_report(outcome)
    if serve:
        from toolkit.cli.operation.service import serve_panel

        serve_panel(home, run=outcome.live_run_id)
    if outcome.difference is not None:
        raise typer.Exit(1)


def run_demo(
    engine: Engine, bars: Bars, *, currency: str = "USD", inject: Inject | None = None, quiet: bool = False
) -> Outcome:
    """Do everything the demo does, and return what came out."""
    from toolkit.cli.demo.strategy import EmaCross
    from toolkit.live import live_runs
    from toolkit.live.feed import Replay
    from toolkit.live.opening.paper_accounts import open_paper_account
    from toolkit.live.promoting.promotion import promote
    from toolkit.research.backtest import backtest
    from toolkit.session import sea_trial
    from toolkit.simulation.account import PaperAccount

    def say(text: str) -> None:
        if not quiet:
            err.print(text, markup=False)

    account = PaperAccount(currency=currency, balance=10_000, leverage=30)
    strategy = EmaCross()
    say(f"bars       {bars!r}")
    result = backtest(strategy, bars, account=account)
    records = result.trade_records
    say(f"backtest   {len(records)} trades, final equity {result.final_equity} {currency}")
    trial = sea_trial(strategy, bars, account=account)
    say(str(trial))
    version = promote(engine, strategy, trial=trial, note="seatrial demo")
    record = open_paper_account(engine, _free_name(engine), account)
    run = live_runs.create_live_run(
        engine,
        engine.principal,
        version,
        record.account_id,
        symbols=[bars.symbol],
        timeframe=str(bars.timeframe),
        feed=Replay(_without_first_signal(bars, records), venue=bars) if inject is Inject.SKIP_BAR else Replay(bars),
        capital=account.balance,
    )
    run = live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)
    err.print(
        f"live run   {run.live_run_id} on {record.name}; if this is killed: seatrial run {run.live_run_id}",
        markup=False,
    )
    replay(engine, run.live_run_id, len(bars), quiet=quiet)
    return outcome_of(engine, run.live_run_id, bars=bars, backtest_trades=records, backtest_equity=result.final_equity)


def replay(engine: Engine, live_run_id: Any, total: int, *, quiet: bool) -> None:
    """Host a run to its end with a progress bar on stderr."""
    from toolkit.live.hosting.host import host_run

    columns = (TextColumn("live replay"), BarColumn(), MofNCompleteColumn(), TextColumn("bars"), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("replay", total=total)
        host_run(engine, live_run_id, on_progress=lambda p: bar.advance(task, p.bars))


def _bars(data: Path | None, symbol: str, timeframe: str, price: Price, spread_pips: float | None) -> Bars:
    if data is None:
        return sample_bars("EURUSD", "H1")
    if not data.exists():
        raise BadInput(must_be("--data", "an existing file", str(data), "give the path of a CSV or Parquet file"))
    return load_bars(data, symbol=symbol, timeframe=timeframe, price=price.value, spread_pips=spread_pips)


def _free_name(engine: Engine) -> str:
    from toolkit.store.people.accounts import Accounts

    with engine.work(write=False) as work:
        taken = {a.name for a in Accounts(work.connection, engine.principal).all()}
    number = 1
    while f"demo-{number}" in taken:
        number += 1
    return f"demo-{number}"


def _faulty_venue(inject: Inject | None) -> dict[str, Any] | None:
    """Return a paper venue that does one thing wrong, for the planted faults that live at the venue."""
    if inject not in (Inject.FILL_SIDE, Inject.SLIPPAGE):
        return None
    from toolkit.bootstrap import open_paper_venue
    from toolkit.platforms.simulated.faults import FaultScript

    script = FaultScript(wrong_side=True) if inject is Inject.FILL_SIDE else FaultScript(extra_slippage_points=1)
    return {"simulated": lambda account, settings: open_paper_venue(account, settings, faults=script)}


def _without_first_signal(bars: Bars, records: list[dict[str, Any]]) -> Bars:
    """Return the bars without the one on which the backtest decided its first entry: a feed that lost a bar."""
    from toolkit.clock import to_ns

    entered = int(bars.ts.searchsorted(to_ns(records[0]["entry_time"]))) if records else len(bars) // 2
    lost = max(entered - 1, 1)
    return Bars.concat([bars[:lost], bars[lost + 1 :]])
