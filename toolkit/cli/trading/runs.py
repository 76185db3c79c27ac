"""``seatrial run | status | stop``: hosting, listing and ending runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolkit.cli.console import AsJson, Home, engine_of, err, out

RunId = Annotated[str, typer.Argument(help="Id of the run, or the beginning of it.")]


def run(
    run_id: Annotated[
        str, typer.Argument(help="Id of the run, or its beginning; `all` hosts every run nobody else does.")
    ],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Host a run here until it has ended: a replay that was killed goes on where its last commit left it."""
    if run_id == "all":
        _host_all(home)
        return
    from toolkit.bootstrap import drift_model
    from toolkit.cli.demo.command import replay
    from toolkit.cli.demo.report import live_trades
    from toolkit.live import live_runs
    from toolkit.live.feed import FeedSpec, stored_bars
    from toolkit.live.watch.watchdog import Watchdog, WatchThread
    from toolkit.store.runs import Runs

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            found = Runs(work.connection, engine.principal).find(run_id)
        if found.status == "CREATED":
            found = live_runs.start_bot_live_run(engine, engine.principal, found.live_run_id)
        feed = FeedSpec.from_dict(json.loads(found.feed_json))
        total = sum(len(stored_bars(engine.settings.home, each)) for each in feed.series)
        watching = WatchThread(Watchdog(engine, drift_model()))
        try:
            replay(engine, found.live_run_id, max(total - found.bars_count, 0), quiet=as_json)
        finally:
            watching.stop()
        ended = live_runs.get_run(engine, engine.principal, found.live_run_id)
        trades = live_trades(engine, found.live_run_id)
        if as_json:
            facts = {
                "live_run_id": str(ended.live_run_id),
                "status": ended.status,
                "bars": ended.bars_count,
                "live_trades": len(trades),
            }
            typer.echo(json.dumps(facts))
        else:
            out.print(
                f"run {ended.live_run_id} {ended.status}: {ended.bars_count:,} bars, {len(trades)} closed trades",
                markup=False,
            )
            if ended.last_error:
                out.print(f"last error  {ended.last_error}", markup=False)
    if ended.status != "STOPPED":
        raise typer.Exit(1)


def _host_all(home: Path | None) -> None:
    """Host all runs that were started for no host of their own, until interrupted."""
    import threading

    from toolkit.bootstrap import drift_model
    from toolkit.live.hosting.fleet import host_fleet
    from toolkit.live.watch.watchdog import Watchdog, WatchThread

    stop = threading.Event()
    with engine_of(home) as engine:
        watching = WatchThread(Watchdog(engine, drift_model()))
        err.print("hosting every run of host none (Ctrl+C ends it; the runs stay as they are)", markup=False)
        try:
            host_fleet(engine, stop=stop)
        except KeyboardInterrupt:
            stop.set()
        finally:
            watching.stop()


def status(home: Home = None, as_json: AsJson = False) -> None:
    """List your runs."""
    from toolkit.store.reading.queries import ReadSide

    with engine_of(home) as engine:
        rows = ReadSide(engine.database).fleet(engine.principal)
        now = engine.now()
    if as_json:
        facts = [
            {
                "live_run_id": str(r.live_run_id), "bot": r.bot, "version": r.version_number, "account": r.account,
                "symbols": list(r.symbols), "timeframe": r.timeframe, "stage": r.stage, "status": r.status,
                "bars": r.bars_count, "trades": r.closed_trades, "equity": str(r.equity), "currency": r.currency,
                "last_error": r.last_error, "heartbeat_age_seconds": r.heartbeat_age_seconds(now),
            }
            for r in rows
        ]  # fmt: skip
        typer.echo(json.dumps(facts))
        return
    if not rows:
        out.print("no runs yet: `seatrial demo` makes one")
        return
    table = Table(box=None, pad_edge=False)  # fits 80 columns: names wrap at spaces, what is typed again never
    for name in ("run", "bot", "account", "feed", "stage", "status", "bars", "trades", "equity", "heartbeat"):
        table.add_column(name, no_wrap=name in ("run", "account", "status", "bars"), overflow="fold")
    for r in rows:
        age = r.heartbeat_age_seconds(now)
        table.add_row(
            str(r.live_run_id)[:8], f"{r.bot} v{r.version_number}", r.account, f"{', '.join(r.symbols)} {r.timeframe}", r.stage,
            r.status, f"{r.bars_count:,}", str(r.closed_trades), f"{r.equity:,.2f} {r.currency}",
            "never" if age is None else f"{age:,.0f} s ago",
        )  # fmt: skip
    out.print(table)


def stop(
    run_id: RunId,
    home: Home = None,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the run's positions first.")] = False,
    reason: Annotated[str, typer.Option(help="Kept in the run's history.")] = "stopped by hand",
) -> None:
    """Ask a run to stop: its host carries it out within two seconds; without a host it is carried out here."""
    from toolkit.errors import PlatformError
    from toolkit.live import live_runs
    from toolkit.live.advance import advance
    from toolkit.store.runs import Runs

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            found = Runs(work.connection, engine.principal).find(run_id)
        live_runs.stop_live_run(engine, engine.principal, found.live_run_id, flatten=flatten, reason=reason)
        deadline = engine.clock.monotonic() + 10
        while engine.clock.monotonic() < deadline:
            now = live_runs.get_run(engine, engine.principal, found.live_run_id)
            if now.status != "STOPPING":
                break
            try:
                advance(engine, found.live_run_id, found.account_id)
            except PlatformError as error:
                err.print(f"its host carries the stop out ({error})", markup=False)
                engine.clock.sleep(0.5)
        out.print(f"run {found.live_run_id} is {now.status}", markup=False)
