"""``seatrial halt | resume | account``: the kill switch, and the accounts there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out
from toolkit.errors import BadInput, must_be

app = typer.Typer(help="The accounts you trade on.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]


def halt(
    name: Name,
    home: Home = None,
    reason: Annotated[str, typer.Option(help="Kept in the audit trail.")] = "halted by hand",
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Also close what is ours, until the platform says that nothing is left.")
    ] = False,
    timeout: Annotated[int, typer.Option(help="How many seconds flattening may take.", min=1)] = 60,
) -> None:
    """Throw an account's kill switch: no entry of any run leaves until it is resumed; exits still do."""
    from toolkit.live import live_runs
    from toolkit.live.safety.flatten import halt_and_flatten
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        if flatten:
            report = halt_and_flatten(
                engine, engine.principal, account.account_id, reason=reason, timeout_seconds=timeout
            )
        else:
            live_runs.halt_account(engine, engine.principal, account.account_id, reason=reason)
        out.print(f"{account.name} is halted: {reason}", markup=False)
        if flatten:
            out.print(str(report), markup=False)
    if flatten and not report.flat:
        raise typer.Exit(1)


def resume(name: Name, home: Home = None) -> None:
    """Release an account's kill switch."""
    from toolkit.live import live_runs
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        live_runs.resume_account(engine, engine.principal, account.account_id)
        out.print(f"{account.name} may trade again", markup=False)


@app.command("list")
def list_accounts(home: Home = None) -> None:
    """List your accounts and those granted to you."""
    from toolkit.store.people.accounts import Accounts

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
    leverage: Annotated[int, typer.Option(help="Margin is notional over this; 0: no limit.")] = 30,
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
    from toolkit.store.people.accounts import Accounts

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
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine, engine.work() as work:
        accounts = Accounts(work.connection, engine.principal)
        account = accounts.find(name)
        accounts.arm(account.account_id, None, engine.now())
        work.commit()
        out.print(f"{account.name} may not trade real money any more", markup=False)


TerminalPath = Annotated[
    str | None, typer.Option(help="MetaTrader 5: the terminal64.exe of this account's own folder.")
]
Suffix = Annotated[str | None, typer.Option(help="MetaTrader 5: what the server's symbol names end on, e.g. .r")]
ServerClock = Annotated[
    str | None,
    typer.Option("--clock", help="MetaTrader 5: the server's wall clock, e.g. 'New York + 7', Europe/Athens."),
]
SymbolNames = Annotated[
    list[str] | None, typer.Option("--symbol", help="MetaTrader 5: OURS=THEIRS for a symbol with another name.")
]
AgentPort = Annotated[int | None, typer.Option(help="MetaTrader 5: loopback port of an agent beside the terminal.")]
AgentKey = Annotated[str | None, typer.Option(help="MetaTrader 5: reference to the agent's key.")]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="Any other platform option, NAME=VALUE; an empty value takes it away."),
]


def _options(
    terminal_path: str | None, suffix: str | None, clock: str | None, symbol: list[str] | None, agent_port: int | None,
    agent_key_ref: str | None, option: list[str] | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the options that were named, as the account's row keeps them."""
    found: dict[str, Any] = {"path": terminal_path, "suffix": suffix, "clock": clock}
    if symbol:
        found["symbols"] = dict(_pair(item, "--symbol OURS=THEIRS") for item in symbol)
    if agent_port is not None or agent_key_ref is not None:
        found["agent"] = {k: v for k, v in (("port", agent_port), ("key_ref", agent_key_ref)) if v is not None}
    found |= dict(_pair(item, "--option NAME=VALUE") for item in option or [])
    return {name: value for name, value in found.items() if value is not None}


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadInput(must_be("option", form, repr(text), "write it with an equals sign"))
    return name, value


@app.command("add")
def add(
    name: Name,
    platform: Annotated[str, typer.Option(help="mt5 or ctrader.")],
    login: Annotated[str, typer.Option(help="Number or name of the account there.")],
    server: Annotated[str, typer.Option(help="Trading server.")],
    secret_ref: Annotated[
        str,
        typer.Option(
            help="keyring:service/name, env:NAME or file:/path; never the secret. None for a terminal that keeps its login."
        ),
    ] = "",
    currency: Annotated[str, typer.Option(help="Account currency.")] = "USD",
    environment: Annotated[str, typer.Option(help="demo or real.")] = "demo",
    terminal_path: TerminalPath = None,
    suffix: Suffix = None,
    clock: ServerClock = None,
    symbol: SymbolNames = None,
    agent_port: AgentPort = None,
    agent_key_ref: AgentKey = None,
    option: PlatformOption = None,
    home: Home = None,
) -> None:
    """Register an account at a platform; nothing connects to it yet."""
    from toolkit.live.opening.register import register_account

    options = _options(terminal_path, suffix, clock, symbol, agent_port, agent_key_ref, option)
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
        if account.platform == "metatrader5":
            out.print(f"look at it with: seatrial doctor --platform mt5 --account {account.name}", markup=False)


@app.command("set")
def set_options(
    name: Name,
    terminal_path: TerminalPath = None,
    suffix: Suffix = None,
    clock: ServerClock = None,
    symbol: SymbolNames = None,
    agent_port: AgentPort = None,
    agent_key_ref: AgentKey = None,
    option: PlatformOption = None,
    home: Home = None,
) -> None:
    """Change options of an account; a process that has its session open keeps the old ones until it starts again."""
    from toolkit.live.opening.register import change_options

    changes = _options(terminal_path, suffix, clock, symbol, agent_port, agent_key_ref, option)
    if not changes:
        raise BadInput(must_be("an option", "named", "none", "see `seatrial account set --help`"))
    with engine_of(home) as engine:
        account = change_options(engine, name, {k: None if v == "" else v for k, v in changes.items()})
        out.print(f"{account.name}: {', '.join(sorted(changes))} changed", markup=False)


@app.command("practice")
def practice(
    name: Name,
    home: Home = None,
    bars: Annotated[Path | None, typer.Option(help="CSV or Parquet; the packaged EURUSD H1 when left out.")] = None,
    symbol: Annotated[str, typer.Option(help="Symbol of the file.")] = "EURUSD",
    timeframe: Annotated[str, typer.Option(help="Timeframe of the file.")] = "H1",
    price: Annotated[str, typer.Option(help="bid, ask, mid or bidask.")] = "bid",
    speed: Annotated[
        float, typer.Option(help="Server seconds per second; 3600 makes an hour bar last a second.")
    ] = 60.0,
    start: Annotated[int, typer.Option(help="Row at which the server's clock begins.", min=0)] = 500,
    suffix: Annotated[str, typer.Option(help="What its symbol names end on.")] = "",
) -> None:
    """Register a MetaTrader 5 account whose terminal is the strict double, living through recorded bars."""
    import toolkit as tk
    from toolkit.live.opening.practice import open_practice_account

    loaded = (
        tk.sample_bars(symbol, timeframe)
        if bars is None
        else tk.load_bars(bars, symbol=symbol, timeframe=timeframe, price=price)
    )
    with engine_of(home) as engine:
        account = open_practice_account(engine, name, loaded, speed=speed, start=start, suffix=suffix)
        out.print(f"{account.name}: {symbol} {timeframe}, {speed:g} server seconds a second", markup=False)
        out.print(f"look at it with: seatrial doctor --platform mt5 --account {account.name}", markup=False)
