"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit import __version__
from toolkit.cli import accounts, bus, demo, metatrader5, runs, service, upkeep, users

app = typer.Typer(
    name="seatrial",
    help="From a strategy typed in a notebook cell to live execution, tried at sea first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seatrial {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("init")(service.init)
app.command("run")(runs.run)
app.command("status")(runs.status)
app.command("stop")(runs.stop)
app.command("halt")(accounts.halt)
app.command("resume")(accounts.resume)
app.command("worker")(bus.worker)
app.command("panel")(service.panel)
app.command("doctor")(service.doctor)
app.command("mt5-agent")(metatrader5.agent)
app.command("watch")(upkeep.watch)
app.command("alerts")(upkeep.alerts)
app.add_typer(accounts.app, name="account")
app.add_typer(users.app, name="user")
app.add_typer(upkeep.db_app, name="db")
app.add_typer(bus.gateway_app, name="gateway")
app.add_typer(bus.dlq_app, name="dlq")
