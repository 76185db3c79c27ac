"""``seatrial explain | drift | stage | pause``: looking back at a run, and what follows from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.console import AsJson, Home, engine_of, out
from toolkit.cli.trading.runs import RunId

if TYPE_CHECKING:
    from toolkit.live.engine import Engine
    from toolkit.live.run_handle import LiveRunHandle


def explain(
    run_id: RunId,
    bar_time: Annotated[str, typer.Argument(help="Open of the bar, e.g. 2017-03-14T08:00 (UTC).")],
    home: Home = None,
    symbol: Annotated[str, typer.Option(help="Whose bar, of a run on several symbols.")] = "",
) -> None:
    """Say why a run did what it did on a bar, or why not."""
    with engine_of(home) as engine:
        found = _handle(engine, run_id).explain(bar_time, symbol or None)
    out.print(str(found), markup=False, soft_wrap=True)


def drift(run_id: RunId, home: Home = None, as_json: AsJson = False) -> None:
    """Measure a run against its own version over the bars it saw; keep the number; exit 1 when they differ."""
    from toolkit.live.watch.watchdog import keep_drift

    with engine_of(home) as engine:
        handle = _handle(engine, run_id)
        report = handle.drift()
        keep_drift(engine, handle.record, report)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        out.print(str(report), markup=False, soft_wrap=True)
    if not report.is_zero:
        raise typer.Exit(1)


def stage(
    run_id: RunId,
    account: Annotated[str, typer.Option("--account", help="Name of an account of the next stage's kind.")],
    home: Home = None,
    capital: Annotated[str, typer.Option(help="What the new run may call its own.")] = "",
    confirm: Annotated[str, typer.Option(help="For real money: the account's name, typed.")] = "",
) -> None:
    """Create a run of the same version one stage up, on the evidence of this one; says all that is missing."""
    with engine_of(home) as engine:
        fresh = _handle(engine, run_id).advance_stage(account=account, capital=capital or None, confirm=confirm)
        run = fresh.record
    out.print(f"run {run.live_run_id} at stage {run.stage} is {run.status}: begin it with `seatrial run`", markup=False)


def pause(
    run_id: RunId,
    home: Home = None,
    off: Annotated[bool, typer.Option("--off", help="Let it go on.")] = False,
) -> None:
    """Let a run make no decision until it is let go on; its stops stay at the platform."""
    with engine_of(home) as engine:
        handle = _handle(engine, run_id)
        handle.resume() if off else handle.pause()
        out.print(f"run {handle.id} is {handle.status}", markup=False)


def _handle(engine: Engine, run_id: str) -> LiveRunHandle:
    from toolkit.bootstrap import drift_model
    from toolkit.live.run_handle import LiveRunHandle
    from toolkit.store.runs import Runs

    with engine.work(write=False) as work:
        found = Runs(work.connection, engine.principal).find(run_id)
    return LiveRunHandle(engine, found.live_run_id, None, drift_model())
