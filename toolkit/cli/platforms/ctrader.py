"""``seatrial simulate ctrader`` and ``seatrial account grant``: a server to try things on, and the grant of a real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.console import Home, engine_of, out, settings_for
from toolkit.errors import BadInput, must_be

simulate_app = typer.Typer(help="Servers of this machine to try things on.", no_args_is_help=True)

SECRET_VARIABLE = "SEATRIAL_CTRADER_CLIENT_SECRET"  # noqa: S105 - the variable's name


@simulate_app.command("ctrader")
def simulate(
    home: Home = None,
    port: Annotated[int, typer.Option(help="Loopback port; the vendor's is 5035.")] = 5035,
    data: Annotated[
        Path | None,
        typer.Option(help="Bars to live through (bid prices), a row a minute; the packaged year when left out."),
    ] = None,
    symbol: Annotated[str, typer.Option(help="Symbol of the bars.")] = "EURUSD",
    timeframe: Annotated[str, typer.Option(help="Timeframe of the bars.")] = "H1",
    start: Annotated[int, typer.Option(help="Row at which the market opens; what lies before is its history.")] = 500,
    seconds: Annotated[float, typer.Option(help="Stop after this long; 0 runs until Ctrl+C.")] = 0.0,
) -> None:
    """Serve a cTrader server on this machine: TLS, the real messages, a paper account of its own.

    Recorded prices go by as minute bars of now, at the pace of the clock; ended and begun again, it goes on. Certificate, key
    and the tokens of its account are written into the data folder.
    """
    import toolkit as tk
    from toolkit.platforms.simctrader.market import run_sandbox

    bars = (
        tk.sample_bars(symbol, timeframe)
        if data is None
        else tk.load_bars(data, symbol=symbol, timeframe=timeframe, price="bid")
    )
    folder = settings_for(home).home / "sandbox-ctrader"

    def ready(sandbox_port: int, login: int, certificate: Path, tokens: Path) -> None:
        out.print(
            f"cTrader sandbox on 127.0.0.1:{sandbox_port} (Ctrl+C ends it). In another terminal:\n"
            f"  seatrial account add sandbox --platform ctrader --login {login} --server 127.0.0.1 "
            f"--secret-ref file:{tokens} --option port={sandbox_port} --option certificate={certificate}\n"
            "  seatrial doctor --platform ctrader --account sandbox --trade-min-lot",
            markup=False,
            soft_wrap=True,
        )

    run_sandbox(folder, bars, port=port, start=start, seconds=seconds, ready=ready)


def grant(
    name: Annotated[str, typer.Argument(help="Name of the cTrader account.")],
    client_id: Annotated[str, typer.Option(help="Your application's id at openapi.ctrader.com.")],
    port: Annotated[
        int, typer.Option(help="Loopback port of the redirect, as registered with the application.")
    ] = 8899,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the vendor's page.")] = 300.0,
    home: Home = None,
) -> None:
    """Grant an account's tokens: opens the vendor's page, waits for its redirect, keeps what comes where secret_ref says."""
    import webbrowser

    from toolkit.platforms.ctrader.access.oauth import Grant, exchange
    from toolkit.platforms.ctrader.access.tokens import store_of
    from toolkit.store.people.accounts import Accounts

    settings = settings_for(home)
    with engine_of(home) as engine, engine.work(write=False) as work:
        account = Accounts(work.connection, engine.principal).find(name)
    if account.platform != "ctrader":
        raise BadInput(must_be("account", "on cTrader", f"{name} on {account.platform}", "name another account"))
    store = store_of(account.secret_ref, settings.home / "locks")
    # never on the command line, where other users of the machine can read it
    secret = os.environ.get(SECRET_VARIABLE) or typer.prompt("client secret", hide_input=True)
    under_way = Grant(client_id, port=port)
    out.print(f"the application's redirect must be {under_way.redirect}", markup=False, soft_wrap=True)
    out.print(f"if no page opens, open {under_way.address}", markup=False, soft_wrap=True)
    webbrowser.open(under_way.address)
    store.save(exchange(under_way.wait(wait), under_way.redirect, client_id, secret))
    out.print(
        f"{name}: tokens are kept; look at it with: seatrial doctor --platform ctrader --account {name}", markup=False
    )
