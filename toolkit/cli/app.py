"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit import __version__
from toolkit.cli.admin import accounts, guards, users
from toolkit.cli.demo import command as demo
from toolkit.cli.operation import bus, intents, kafka, service, upkeep
from toolkit.cli.platforms import ctrader, metatrader5
from toolkit.cli.trading import review, runs, versions

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
app.command("start")(versions.start)
app.command("replay")(versions.replay)
app.command("pause")(review.pause)
app.command("explain")(review.explain)
app.command("drift")(review.drift)
app.command("stage")(review.stage)
app.command("halt")(accounts.halt)
app.command("resume")(accounts.resume)
app.command("worker")(bus.worker)
app.command("panel")(service.panel)
app.command("doctor")(service.doctor)
app.command("mt5-agent")(metatrader5.agent)
app.command("watch")(upkeep.watch)
app.command("alerts")(upkeep.alerts)
accounts.app.command("grant")(ctrader.grant)
app.add_typer(ctrader.simulate_app, name="simulate")
app.add_typer(accounts.app, name="account")
app.add_typer(guards.app, name="guards")
app.add_typer(users.app, name="user")
app.add_typer(versions.app, name="version")
app.add_typer(upkeep.db_app, name="db")
app.add_typer(bus.gateway_app, name="gateway")
app.add_typer(bus.dlq_app, name="dlq")
app.add_typer(intents.app, name="intents")
app.add_typer(kafka.kafka_app, name="kafka")
