"""``seatrial version | start | replay``: the versions there are, and runs of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from toolkit.cli.console import AsJson, Home, engine_of, out

if TYPE_CHECKING:
    from toolkit.live.engine import Engine
    from toolkit.live.feed import Replay
    from toolkit.store.runs import RunRecord

app = typer.Typer(help="Versions of your bots: list, show, compare, retire.", no_args_is_help=True)
Version = Annotated[str, typer.Argument(help="\"EmaCross v3\", the bot's name for its newest, or an id's beginning.")]
OnAccount = Annotated[str, typer.Option("--account", help="Name of the account it trades on.")]
Capital = Annotated[str, typer.Option(help="What the run may call its own; the account's balance when left out.")]


@app.command("list")
def list_versions(
    home: Home = None,
    bot: Annotated[str | None, typer.Option(help="Only this bot's.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also retired ones.")] = False,
) -> None:
    """List your versions, oldest first."""
    from toolkit.live.promoting import versions

    with engine_of(home) as engine:
        found = versions.list_versions(engine, engine.principal, bot=bot, retired=everything)
    table = Table(box=None, pad_edge=False)
    for column in ("version", "hash", "trial", "made (UTC)", "note", "retired"):
        table.add_column(column, overflow="fold")
    for v in found:
        trial = v.evidence["trial"]
        table.add_row(v.name, v.version_hash[:12], f"{trial['symbol']} {trial['timeframe']}", f"{v.created_at:%Y-%m-%d %H:%M}",
                      v.note, v.retire_reason or "")  # fmt: skip
    out.print(table if found else "no versions yet: promote a strategy after its sea trial")


@app.command("show")
def show(version: Version, home: Home = None, as_json: AsJson = False) -> None:
    """Show a version: its strategy in words, its parent, what changed against it, its evidence."""
    from toolkit.live.promoting import versions
    from toolkit.risk.guardrails import Guards
    from toolkit.strategy.spec import StrategySpec

    with engine_of(home) as engine:
        found = versions.find_version(engine, engine.principal, version)
    evidence = found.evidence
    if as_json:
        facts = {
            "version": found.name,
            "hash": found.version_hash,
            "note": found.note,
            "guards": json.loads(found.guards_json),
        }
        typer.echo(json.dumps({**facts, **evidence}))
        return
    out.print(f"{found!r}", markup=False, soft_wrap=True)
    out.print(StrategySpec.from_json(found.spec_json).describe(), markup=False, soft_wrap=True)
    guards = Guards.from_facts(json.loads(found.guards_json))
    out.print(f"guards      {guards.words()}", markup=False, soft_wrap=True)
    out.print(f"parent      {evidence.get('parent') or 'none'}", markup=False)
    for change in evidence.get("changes", ()):
        out.print(f"  {change}", markup=False, soft_wrap=True)
    out.print(f"data        {evidence.get('data_fingerprint')}", markup=False, soft_wrap=True)
    out.print(f"warm-up     {evidence.get('warmup_bars')} bars", markup=False)
    packages = ", ".join(f"{name} {version}" for name, version in evidence.get("packages", {}).items())
    out.print(f"packages    {packages or 'none'}", markup=False, soft_wrap=True)
    for name, value in evidence.get("statistics", {}).items():
        shown = f"{value:,.4g}" if isinstance(value, float) else value
        out.print(f"  {name:<24} {shown}", markup=False, soft_wrap=True)


@app.command("diff")
def diff(first: Version, second: Version, home: Home = None) -> None:
    """Say in words what is different in the second version; exit 1 when something is."""
    from toolkit.live.promoting import versions

    with engine_of(home) as engine:
        one, two = (versions.find_version(engine, engine.principal, name) for name in (first, second))
    found = versions.compare_versions(one, two)
    out.print(str(found), markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)


@app.command("retire")
def retire(
    version: Version, reason: Annotated[str, typer.Option(help="Why; kept for ever.")], home: Home = None
) -> None:
    """Let no new run of a version begin; runs under way go on."""
    from toolkit.live.promoting import versions

    with engine_of(home) as engine:
        found = versions.retire_version(engine, engine.principal, version, reason=reason)
    out.print(f"{found.name} is retired: {reason}", markup=False)


@app.command("restore")
def restore(version: Version, home: Home = None) -> None:
    """Take a retirement back."""
    from toolkit.live.promoting import versions

    with engine_of(home) as engine:
        found = versions.restore_version(engine, engine.principal, version)
    out.print(f"{found.name} may be run again", markup=False)


def start(
    version: Version,
    account: OnAccount,
    home: Home = None,
    stage: Annotated[
        str, typer.Option(help="shadow or paper; higher ones are earned, see `seatrial stage`.")
    ] = "paper",
    capital: Capital = "",
    host: Annotated[str, typer.Option(help="workers, or none: host it with `seatrial run ID`.")] = "none",
) -> None:
    """Create and start a run of a version on its account's own closed bars."""
    with engine_of(home) as engine:
        run = _begin(engine, version, account, stage, capital, host, None)
    out.print(f"run {run.live_run_id} is {run.status}", markup=False)
    if host == "none":
        out.print(f"host it with: seatrial run {str(run.live_run_id)[:8]}", markup=False)


def replay(
    version: Version,
    data: Annotated[
        list[Path], typer.Argument(help="CSV or Parquet of the bars to replay; a file for each symbol, in their order.")
    ],
    account: OnAccount,
    home: Home = None,
    price: Annotated[str, typer.Option(help="Which side the prices are of: bid, ask, mid or bidask.")] = "bid",
    spread_pips: Annotated[float | None, typer.Option(help="Spread in pips where there is one side only.")] = None,
    capital: Capital = "",
    speed: Annotated[float | None, typer.Option(help="Bars per second; as fast as it goes when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay recorded bars through the live path of a version, on a paper account, and host the run to its end."""
    from toolkit.cli.trading.runs import run as host
    from toolkit.errors import BadInput, must_be
    from toolkit.live.feed import Replay
    from toolkit.live.promoting import versions
    from toolkit.live.promoting.tested import tested_symbols
    from toolkit.market import load_bars

    with engine_of(home) as engine:
        trial = versions.find_version(engine, engine.principal, version).evidence["trial"]
        symbols = tested_symbols(trial)
        if len(data) != len(symbols):
            named = ", ".join(symbols)
            raise BadInput(must_be("data", f"a file for each of {named}", f"{len(data)} files", "name one for each"))
        series = {
            symbol: load_bars(
                path,
                symbol=symbol,
                timeframe=trial["timeframe"],
                price=price,  # type: ignore[arg-type]  # checked there, with the remedy
                spread_pips=spread_pips,
            )
            for symbol, path in zip(symbols, data, strict=True)
        }
        run = _begin(engine, version, account, "paper", capital, "none", Replay(series, speed=speed))
    host(str(run.live_run_id), home, as_json)


def _begin(
    engine: Engine, version: str, account: str, stage: str, capital: str, host: str, feed: Replay | None
) -> RunRecord:
    from toolkit.live import live_runs
    from toolkit.live.promoting import versions
    from toolkit.live.promoting.tested import tested_symbols
    from toolkit.store.people.accounts import Accounts

    found = versions.find_version(engine, engine.principal, version)
    trial = found.evidence["trial"]
    with engine.work(write=False) as work:
        on = Accounts(work.connection, engine.principal).find(account)
    run = live_runs.create_live_run(
        engine, engine.principal, found, on.account_id, symbols=tested_symbols(trial), timeframe=trial["timeframe"],
        stage=stage, feed=feed, capital=capital or None, host=host,
    )  # fmt: skip
    return live_runs.start_bot_live_run(engine, engine.principal, run.live_run_id)
