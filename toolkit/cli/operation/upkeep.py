"""``seatrial watch | alerts | db``: looking after an installation, its alerts and its database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolkit.cli.console import AsJson, Home, engine_of, out, settings_for

db_app = typer.Typer(help="The database: backup, restore, upgrade, check, retention.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Folder of the backup.")]


def watch(
    home: Home = None,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, print what stands, exit 1 if something does.")
    ] = False,
) -> None:
    """Watch all runs without hosting any: find what is wrong, tell people, call the outside alarm; until interrupted."""
    import threading

    from toolkit.bootstrap import drift_model
    from toolkit.live.watch.watchdog import Watchdog, WatchThread

    with engine_of(home) as engine:
        watchdog = Watchdog(engine, drift_model())
        if once:
            found = watchdog.look()
            for alert in found:
                out.print(f"{alert.level:<8} {alert.title}: {alert.body}", markup=False, soft_wrap=True)
            watchdog.beat()
            raise typer.Exit(1 if found else 0)
        thread = WatchThread(watchdog)
        out.print(f"watching every {engine.settings.watch_seconds:g} s (Ctrl+C ends it)", markup=False)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            thread.stop()


def alerts(
    home: Home = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what people should hear of: errors, orders whose fate is unknown, guardrails in force, drift, silent runs."""
    from toolkit.store.upkeep.alerts import list_alerts

    with engine_of(home) as engine, engine.work(write=False) as work:
        found = list_alerts(work.connection, engine.principal, active=not everything)
    if as_json:
        typer.echo(json.dumps([{n: str(getattr(a, n)) for n in a.__dataclass_fields__} for a in found]))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("since (UTC)", "level", "what", "more", "told"):
        table.add_column(name, overflow="fold")
    for a in found:
        told = f"{a.told_at:%m-%d %H:%M}" if a.told_at else "nobody"
        over = "" if a.cleared_at is None else f" (over since {a.cleared_at:%m-%d %H:%M})"
        table.add_row(f"{a.first_at:%m-%d %H:%M}", a.level, a.title + over, a.body, told)
    out.print(table if found else "no alerts")


@db_app.command("backup")
def backup(folder: Folder, home: Home = None) -> None:
    """Write a backup of database, paper venues and stored bars into a new folder, while everything runs."""
    from toolkit.store.upkeep.backup import write_backup

    settings = settings_for(home)
    manifest = write_backup(settings.effective_database_url, settings.home, folder)
    out.print(f"{len(manifest.files)} files in {folder}, schema {manifest.schema}", markup=False, soft_wrap=True)


@db_app.command("restore")
def restore(folder: Folder, home: Home = None) -> None:
    """Put a backup in place of an absent or empty installation; every file is checked against its hash first."""
    from toolkit.store.upkeep.backup import restore_backup

    settings = settings_for(home)
    manifest = restore_backup(settings.effective_database_url, settings.home, folder)
    out.print(f"restored {len(manifest.files)} files of {manifest.made_at}, schema {manifest.schema}", markup=False)


@db_app.command("upgrade")
def upgrade(
    home: Home = None,
    backup_to: Annotated[Path | None, typer.Option(help="Write a backup here first.")] = None,
) -> None:
    """Bring the schema to this version, also while processes are at work: a revision only ever adds."""
    from toolkit.store.sql.engine import open_database, schema_of
    from toolkit.store.upkeep.backup import write_backup

    settings = settings_for(home)
    url = settings.effective_database_url
    before = schema_of(url)
    if backup_to is not None and before:
        write_backup(url, settings.home, backup_to)
    open_database(url, upgrade="always").dispose()
    out.print(f"schema {before or 'none'} -> {schema_of(url)}", markup=False)


@db_app.command("check")
def check(home: Home = None) -> None:
    """Check the database: schema, the engine's own integrity check, the chain of the audit trail; exit 1 if one fails."""
    from toolkit.store.upkeep.backup import integrity_findings

    settings = settings_for(home)
    found = integrity_findings(settings.effective_database_url)
    for line in found:
        out.print(line, markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)
    out.print("the database is in order")


@db_app.command("prune")
def prune_old(days: Annotated[int, typer.Option(help="Keep this many days.", min=1)], home: Home = None) -> None:
    """Remove bars and repeated events older than that; money, intents, trades and the audit trail are never removed."""
    from datetime import timedelta

    from toolkit.live.watch.retention import prune_older

    with engine_of(home) as engine:
        gone = prune_older(engine, engine.now() - timedelta(days=days))
    out.print(f"removed {gone.bars:,} bars, {gone.events:,} events, {gone.alerts:,} alerts", markup=False)
