"""``seatrial doctor --platform mt5`` and ``seatrial mt5-agent``: looking an account over, and serving its terminal's session."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.table import Table

from toolkit.cli.console import engine_of, out, settings_for
from toolkit.errors import BadInput, Forbidden, ToolkitError, must_be
from toolkit.platforms.findings import Finding
from toolkit.settings import Settings
from toolkit.store.people.accounts import AccountRecord

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def check_account(
    home: Path | None,
    account: str | None,
    symbols: list[str],
    *,
    trade_minimum: bool,
    as_json: bool,
    platform: str = "metatrader5",
) -> bool:
    """Look an account over, and rehearse on it if asked; return whether nothing failed.

    ``account`` names an account of the data folder; without one the SEATRIAL_DEMO_* variables do.
    """
    settings = settings_for(home)
    if account is None and platform != "metatrader5":
        raise BadInput(must_be("--account", "the name of an account", "missing", "see `seatrial account list`"))
    acting = trade_minimum
    record = demo_account_of_environment() if account is None else _stored(home, account, platform, acting=acting)
    found = look_over(settings, record, tuple(symbols))
    if trade_minimum:
        if any(f.level == "fail" for f in found):
            found.append(Finding("rehearsal", "fail", "not begun", "put right what failed above, then try again"))
        else:
            found += rehearse(settings, record, symbols[0])
    _show(record, found, as_json)
    return all(f.level != "fail" for f in found)


def _stored(home: Path | None, name: str, platform: str, *, acting: bool) -> AccountRecord:
    from toolkit.store.people.accounts import Accounts, may_act

    with engine_of(home) as engine, engine.work(write=False) as work:
        record = Accounts(work.connection, engine.principal).find(name)
        if acting and not may_act(work.connection, engine.principal, record.account_id):
            raise Forbidden(f"{engine.principal.name} may not act on account {name}: ask its owner for a grant")
    if record.platform != platform:
        raise BadInput(must_be("account", f"on {platform}", f"{name} on {record.platform}", "name another account"))
    return record


def demo_account_of_environment() -> AccountRecord:
    """Return the account that SEATRIAL_DEMO_* variables describe.

    Raises
    ------
    BadInput
        When they name none.
    """
    login, server = (os.environ.get(f"SEATRIAL_DEMO_{word}", "") for word in ("LOGIN", "SERVER"))
    if not login or not server:
        remedy = "name an account with --account, or set both variables"
        raise BadInput(must_be("SEATRIAL_DEMO_LOGIN and SEATRIAL_DEMO_SERVER", "set", "not set", remedy))
    words = {word: os.environ.get(f"SEATRIAL_DEMO_{word.upper()}", "") for word in ("path", "clock", "suffix")}
    nobody = uuid4()
    return AccountRecord(
        account_id=nobody,
        owner_id=nobody,
        name="demo",
        platform="metatrader5",
        currency=os.environ.get("SEATRIAL_DEMO_CURRENCY", "USD"),
        environment="demo",
        gateway="local",
        login=login,
        server=server,
        secret_ref=os.environ.get("SEATRIAL_DEMO_SECRET_REF", ""),
        settings={"mt5": {word: value for word, value in words.items() if value}},
    )


def look_over(settings: Settings, account: AccountRecord, symbols: tuple[str, ...]) -> list[Finding]:
    """Open the account's session, look at it, close it again; nothing is traded."""
    opened, not_reached = _ways(account.platform)
    try:
        session: Any = opened(account, settings)
    except ToolkitError as error:
        return [Finding("account", "fail", str(error), f"seatrial account set {account.name} ...")]
    try:
        session.connect()
        return list(session.examine(symbols))
    except ToolkitError as error:
        return [not_reached(error)]
    finally:
        session.close()


def _ways(platform: str) -> tuple[Callable[[AccountRecord, Settings], Any], Callable[[ToolkitError], Finding]]:
    """Return how a platform's session is opened, and what to say when it cannot be."""
    from toolkit import bootstrap

    if platform == "ctrader":
        from toolkit.platforms.ctrader import doctor as ctrader_doctor

        return bootstrap.open_ctrader_session, ctrader_doctor.not_reached
    from toolkit.platforms.metatrader5 import doctor as metatrader5_doctor

    return bootstrap.open_metatrader5_session, metatrader5_doctor.not_reached


def rehearse(settings: Settings, account: AccountRecord, symbol: str) -> list[Finding]:
    """Trade the smallest volume through a LiveRun in a data folder of its own; see `toolkit.live.opening.minimum_lot`."""
    from toolkit.bootstrap import build
    from toolkit.cli.demo.strategy import EmaCross
    from toolkit.live.opening.minimum_lot import trade_minimum_lot
    from toolkit.strategy.spec import StrategySpec

    opened, _ = _ways(account.platform)

    def build_in(folder: Path) -> Any:
        throw_away = Settings(home=folder, database_url="", gateway="local")  # type: ignore[arg-type]
        # the locks are those of the real data folder: a worker that holds the account keeps it
        return build(throw_away, open_platform={account.platform: lambda row, _: opened(row, settings)})

    try:
        return trade_minimum_lot(build_in, replace(account), StrategySpec.from_strategy(EmaCross()), symbol)
    except ToolkitError as error:
        return [Finding("rehearsal", "fail", str(error), "put it right, then try again; look for open positions first")]


def _show(account: AccountRecord, found: list[Finding], as_json: bool) -> None:
    if as_json:
        facts = [{"name": f.name, "level": f.level, "said": f.said, "remedy": f.remedy} for f in found]
        typer.echo(json.dumps({"account": account.name, "findings": facts}))
        return
    table = Table(
        box=None, pad_edge=False, title=f"{account.name}: {account.login} at {account.server}", title_justify="left"
    )
    for column in ("", "looked at", "found"):
        table.add_column(column, overflow="fold")
    for f in found:
        said = f.said if f.level == "ok" or not f.remedy else f"{f.said}\n-> {f.remedy}"
        table.add_row(f"[{_STYLES[f.level]}]{f.level}[/]", _plain(f.name), _plain(said))
    out.print(table)


def _plain(text: str) -> str:
    """Return a text of the outside without any markup of ours."""
    return text.replace("[", "\\[")


def agent(
    login: Annotated[int | None, typer.Option(help="Number of the account the terminal is on.")] = None,
    server: Annotated[str, typer.Option(help="Its trading server.")] = "",
    key_ref: Annotated[str, typer.Option(help="Reference to the key that both sides share.")] = "",
    port: Annotated[int, typer.Option(help="Loopback port to listen on; 0 takes a free one.")] = 8765,
    environment: Annotated[str, typer.Option(help="demo or real.")] = "demo",
    terminal_path: Annotated[str | None, typer.Option(help="The terminal64.exe of this account's own folder.")] = None,
    clock: Annotated[str | None, typer.Option(help="The server's wall clock, e.g. 'New York + 7'.")] = None,
    suffix: Annotated[str, typer.Option(help="What the server's symbol names end on.")] = "",
    secret_ref: Annotated[
        str, typer.Option(help="Where the password is; none for a terminal that keeps its login.")
    ] = "",
    make_key: Annotated[Path | None, typer.Option(help="Write a new key to this file and end.")] = None,
) -> None:
    """Serve a MetaTrader terminal's session on loopback, for a worker at the other end of an SSH tunnel; Ctrl+C ends it."""
    from toolkit.platforms.agent import serve

    if make_key is not None:
        _write_key(make_key)
        out.print(f"key written; refer to it as file:{make_key.resolve()} on both sides", markup=False, soft_wrap=True)
        return
    if login is None or not server or not key_ref:
        raise BadInput(
            must_be("--login, --server and --key-ref", "given", "left out", "make a key with --make-key FILE")
        )
    session = {
        "kind": "metatrader5", "login": login, "server": server, "environment": environment, "path": terminal_path,
        "clock": clock, "suffix": suffix, "secret_ref": secret_ref,
    }  # fmt: skip
    lock = settings_for(None).home / "locks" / f"mt5-agent-{login}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    words = {"key_ref": key_ref, "listen": ["127.0.0.1", port], "lock": str(lock), "watch": True, "session": session}

    def listening(at: int) -> None:
        out.print(f"serving {login} at {server} on 127.0.0.1:{at} (Ctrl+C ends it)", markup=False)

    try:
        serve(words, listening)
    except KeyboardInterrupt:
        return


def _write_key(path: Path) -> None:
    if path.exists():
        raise BadInput(must_be("key file", "new", f"there ({path})", "name another file"))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
