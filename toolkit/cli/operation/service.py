"""``seatrial init | panel | doctor``: preparing, serving and checking an installation."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from toolkit.cli.console import AsJson, Home, engine_of, out, settings_for
from toolkit.errors import MissingPackage
from toolkit.settings import redacted_url

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}
)


def init(home: Home = None) -> None:
    """Make the data folder and the database, and the users that every process acts as."""
    with engine_of(home) as engine:
        out.print(f"data folder {engine.settings.home}", markup=False, soft_wrap=True)
        out.print(f"database    {redacted_url(engine.settings.effective_database_url)}", markup=False, soft_wrap=True)
        out.print(f"you are     {engine.principal.name}; runs act as {engine.service.name}", markup=False)


def panel(
    home: Home = None,
    run: Annotated[str | None, typer.Option(help="Open the page of this run.")] = None,
    port: Annotated[int, typer.Option(help="TCP port on this machine.")] = 5006,
) -> None:
    """Serve the page on this machine until interrupted."""
    run_id = None
    if run is not None:
        from toolkit.store.runs import Runs

        with engine_of(home) as engine, engine.work(write=False) as work:
            run_id = Runs(work.connection, engine.principal).find(run).live_run_id
    serve_panel(home, run=run_id, port=port)


def serve_panel(home: Path | None, *, run: UUID | None = None, port: int = 5006) -> None:
    """Run ``panel serve`` on the page, bound to this machine only.

    Raises
    ------
    MissingPackage
        When Panel is not installed.
    """
    if util.find_spec("panel") is None:
        raise MissingPackage("the page needs Panel: pip install 'seatrial[panel]'")
    page = util.find_spec("panel_app")
    if page is None or page.origin is None:
        raise MissingPackage("the page is not installed: pip install 'seatrial[panel]'")
    script = Path(page.origin).with_name("app.py")
    address = f"http://127.0.0.1:{port}/app" + (f"?run={run}" if run is not None else "")
    out.print(f"the page is at {address} (Ctrl+C ends it)", markup=False, soft_wrap=True)
    environment = {**os.environ, "SEATRIAL_HOME": str(settings_for(home).home)}
    where = ["--address", "127.0.0.1", "--port", str(port)]
    # --warm: the first visitor does not pay for the imports
    command = [sys.executable, "-m", "panel", "serve", str(script), *where, "--warm", "--plugins", "panel_app.health"]
    try:
        subprocess.run(command, env=environment, check=True)  # noqa: S603 - our own interpreter and script
    except KeyboardInterrupt:
        return


def doctor(
    home: Home = None,
    platform: Annotated[str | None, typer.Option(help="mt5 or ctrader: look an account of it over instead.")] = None,
    account: Annotated[
        str | None, typer.Option(help="With --platform: the account; SEATRIAL_DEMO_* variables when left out.")
    ] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="With --platform: symbols to look at; EURUSD.")] = None,
    trade_min_lot: Annotated[
        bool,
        typer.Option(
            "--trade-min-lot", help="With --platform: open, modify, reduce and close the smallest volume; demo only."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this installation: Python, packages, data folder, database, clock; exit 1 when something is wrong."""
    if platform is not None:
        from toolkit.cli.platforms.metatrader5 import check_account
        from toolkit.errors import BadInput, must_be

        kind = {"mt5": "metatrader5"}.get(platform, platform)
        if kind not in ("metatrader5", "ctrader"):
            remedy = "leave it out to check the installation"
            raise BadInput(must_be("--platform", "mt5 or ctrader", repr(platform), remedy))
        wanted = symbol or ["EURUSD"]
        if not check_account(home, account, wanted, trade_minimum=trade_min_lot, as_json=as_json, platform=kind):
            raise typer.Exit(1)
        return
    from toolkit.live.watch.clocks import database_skew

    settings = settings_for(home)
    good = True

    def line(ok: bool, name: str, said: str) -> None:
        nonlocal good
        good = good and ok
        out.print(f"{'ok  ' if ok else 'FAIL'} {name:<12} {said}", markup=False, soft_wrap=True)

    version = ".".join(map(str, sys.version_info[:3]))
    line((3, 11) <= sys.version_info[:2] < (3, 14), "python", version)
    for name in ("numpy", "sqlalchemy", "pydantic"):
        line(True, name, metadata.version(name))
    for name, extra in (("numba", "research"), ("pandas", "research"), ("panel", "panel")):
        found = util.find_spec(name) is not None
        out.print(
            f"{'ok  ' if found else '    '} {name:<12} {metadata.version(name) if found else f'not installed (extra {extra})'}"
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    kind = file_system_of(settings.home)
    url = settings.effective_database_url
    if url.startswith("sqlite"):
        line(kind not in _NETWORK_FILE_SYSTEMS, "data folder", f"{settings.home} on {kind or 'an unknown file system'}")
        if kind in _NETWORK_FILE_SYSTEMS:
            out.print(
                "     SQLite must be on a local disk, was on a network file system: set SEATRIAL_HOME, or use PostgreSQL"
            )
    else:
        line(True, "data folder", str(settings.home))
    with engine_of(home) as engine:
        line(*_database_check(engine))
        skew = database_skew(engine)
        line(abs(skew) < 2.0, "clock", f"database and host differ by {skew:+.3f} s")
    if not good:
        raise typer.Exit(1)


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds ``path``, as the kernel names it; empty where that is not known."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    best, kind = "", ""
    target = str(path.resolve())
    for entry in mounts.read_text(encoding="utf-8").splitlines():
        fields = entry.split()
        point = fields[1].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _database_check(engine: Any) -> tuple[bool, str, str]:
    from toolkit.store.people.audit import first_broken_row

    with engine.work(write=False) as work:
        broken = first_broken_row(work.connection)
    where = redacted_url(engine.settings.effective_database_url)
    return (
        broken is None,
        "database",
        f"{where}, schema current, audit chain " + ("intact" if broken is None else f"broken at row {broken}"),
    )
