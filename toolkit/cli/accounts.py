"""``seatrial halt | resume | account``: the kill switch, and the accounts there are."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out

app = typer.Typer(help="The accounts you trade on.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]


def halt(
    name: Name,
    home: Home = None,
    reason: Annotated[str, typer.Option(help="Kept in the audit trail.")] = "halted by hand",
) -> None:
    """Throw an account's kill switch: no entry of any run leaves until it is resumed; exits still do."""
    from toolkit.live import live_runs
    from toolkit.store.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        live_runs.halt_account(engine, engine.principal, account.account_id, reason=reason)
        out.print(f"{account.name} is halted: {reason}", markup=False)


def resume(name: Name, home: Home = None) -> None:
    """Release an account's kill switch."""
    from toolkit.live import live_runs
    from toolkit.store.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        live_runs.resume_account(engine, engine.principal, account.account_id)
        out.print(f"{account.name} may trade again", markup=False)


@app.command("list")
def list_accounts(home: Home = None) -> None:
    """List your accounts and those granted to you."""
    from toolkit.store.accounts import Accounts

    with engine_of(home) as engine, engine.work(write=False) as work:
        found = Accounts(work.connection, engine.principal).all()
    table = Table()
    for column in ("name", "platform", "environment", "currency", "gateway", "halted"):
        table.add_column(column)
    for account in found:
        halted = (
            "" if account.halted_at is None else f"since {account.halted_at:%Y-%m-%d %H:%M} UTC: {account.halt_reason}"
        )
        table.add_row(account.name, account.platform, account.environment, account.currency, account.gateway, halted)
    out.print(table)


@app.command("paper")
def open_paper(
    name: Name,
    home: Home = None,
    currency: Annotated[str, typer.Option(help="Account currency.")] = "USD",
    balance: Annotated[str, typer.Option(help="Opening balance.")] = "10000",
    leverage: Annotated[int, typer.Option(help="Margin is notional over this.")] = 30,
) -> None:
    """Open a paper account."""
    from toolkit.live.opening.paper_accounts import open_paper_account
    from toolkit.simulation.account import PaperAccount

    with engine_of(home) as engine:
        account = open_paper_account(engine, name, PaperAccount(currency=currency, balance=balance, leverage=leverage))
        out.print(
            f"paper account {account.name} is open: {balance} {account.currency}, leverage {leverage}", markup=False
        )


@app.command("arm")
def arm(
    name: Name,
    home: Home = None,
    minutes: Annotated[int, typer.Option(help="How long it may trade real money.", min=1, max=7 * 24 * 60)] = 60,
    confirm: Annotated[
        str, typer.Option(help="The account's name again, typed.", prompt="type the account's name")
    ] = "",
) -> None:
    """Let a real account trade for a while; only its owner, a person, may."""
    from datetime import timedelta

    from toolkit.errors import StageRefused, must_be
    from toolkit.store.accounts import Accounts

    with engine_of(home) as engine, engine.work() as work:
        accounts = Accounts(work.connection, engine.principal)
        account = accounts.find(name)
        if confirm != account.name:
            raise StageRefused(
                must_be("confirmation", f"the account's name {account.name!r}", repr(confirm), "type it")
            )
        until = engine.now() + timedelta(minutes=minutes)
        accounts.arm(account.account_id, until, engine.now())
        work.commit()
        out.print(f"{account.name} may trade until {until:%Y-%m-%d %H:%M} UTC", markup=False)


@app.command("disarm")
def disarm(name: Name, home: Home = None) -> None:
    """Take a real account's permission back."""
    from toolkit.store.accounts import Accounts

    with engine_of(home) as engine, engine.work() as work:
        accounts = Accounts(work.connection, engine.principal)
        account = accounts.find(name)
        accounts.arm(account.account_id, None, engine.now())
        work.commit()
        out.print(f"{account.name} may not trade real money any more", markup=False)


@app.command("add")
def add(
    name: Name,
    platform: Annotated[str, typer.Option(help="metatrader5 or ctrader.")],
    login: Annotated[str, typer.Option(help="Number or name of the account there.")],
    server: Annotated[str, typer.Option(help="Trading server.")],
    secret_ref: Annotated[str, typer.Option(help="keyring:service/name, env:NAME or file:/path; never the secret.")],
    currency: Annotated[str, typer.Option(help="Account currency.")] = "USD",
    environment: Annotated[str, typer.Option(help="demo or real.")] = "demo",
    option: Annotated[list[str] | None, typer.Option(help="Platform option NAME=VALUE, e.g. path=...")] = None,
    home: Home = None,
) -> None:
    """Register an account at a platform; nothing connects to it yet."""
    from toolkit.live.opening.register import register_account

    options = {item.partition("=")[0]: item.partition("=")[2] for item in option or []}
    with engine_of(home) as engine:
        account = register_account(
            engine,
            name,
            platform=platform,
            login=login,
            server=server,
            currency=currency,
            environment=environment,  # type: ignore[arg-type]  # checked there, with the remedy
            secret_ref=secret_ref,
            settings=options,
        )
        where = f"{account.platform} {account.environment}, login {account.login} at {account.server}"
        out.print(f"{account.name}: {where}", markup=False)
