"""``seatrial worker | gateway | dlq``: trading through a message broker, and what it could not deliver."""

from __future__ import annotations

import os
import sys
from importlib import util
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out, settings_for
from toolkit.errors import BadInput, MissingPackage, must_be

if TYPE_CHECKING:
    from toolkit.live.engine import Engine
    from toolkit.live.outside.dead_letters import DeadLetter
    from toolkit.store.people.accounts import AccountRecord

gateway_app = typer.Typer(help="Which gateway carries an account's intents.", no_args_is_help=True)
dlq_app = typer.Typer(help="Dead letters: messages that a worker refused or that killed it.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]
Message = Annotated[str, typer.Argument(help="From `seatrial dlq list`.")]


def worker(
    home: Home = None,
    gateway: Annotated[str, typer.Option(help="redis, rabbitmq or kafka; SEATRIAL_GATEWAY when left out.")] = "",
    accounts: Annotated[str, typer.Option(help="Names, separated by commas; all of the gateway when left out.")] = "",
    metrics_port: Annotated[int, typer.Option(help="Answer /metrics, /healthz and /readyz on this port.")] = 0,
) -> None:
    """Serve accounts from a message broker until SIGTERM; a worker that dies is started again."""
    from toolkit.cli.operation.supervisor import supervise

    if util.find_spec("dramatiq") is None:
        raise MissingPackage("a worker needs Dramatiq: pip install 'seatrial[worker]'")
    settings = settings_for(home)
    kind = gateway or settings.gateway
    if kind not in ("redis", "rabbitmq", "kafka"):
        raise BadInput(
            must_be("gateway of a worker", "redis, rabbitmq or kafka", kind, "pass --gateway, or set SEATRIAL_GATEWAY")
        )
    if kind == "kafka" and util.find_spec("confluent_kafka") is None:
        raise MissingPackage("Kafka needs its client: pip install 'seatrial[worker,kafka]'")
    named = [part for name in accounts.split(",") if name.strip() for part in ("--account", name.strip())]
    environment = {**os.environ, "SEATRIAL_HOME": str(settings.home)}
    if metrics_port:
        environment["SEATRIAL_METRICS_PORT"] = str(metrics_port)
    raise typer.Exit(supervise([sys.executable, "-m", "workers", "--gateway", kind, *named], environment))


@gateway_app.command("set")
def gateway_set(
    name: Name,
    gateway: Annotated[str, typer.Argument(help="local, redis, rabbitmq or kafka.")],
    home: Home = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for intents that are being sent.")] = 30.0,
) -> None:
    """Change an account's gateway while its runs are alive; nothing is sent twice and nothing is lost."""
    from toolkit.live.cutover import set_gateway

    with engine_of(home) as engine:
        account = _account(engine, name)
        changed = set_gateway(engine, engine.principal, account.account_id, gateway, wait_seconds=wait)
    out.print(f"{changed.name}: {account.gateway} -> {changed.gateway}", markup=False)


@gateway_app.command("show")
def gateway_show(name: Name, home: Home = None) -> None:
    """Show which gateway carries an account's intents."""
    with engine_of(home) as engine:
        account = _account(engine, name)
    out.print(f"{account.name}: {account.gateway}", markup=False)


@dlq_app.command("list")
def dlq_list(name: Name, home: Home = None) -> None:
    """List an account's dead letters, oldest first."""
    from toolkit.live.outside.dead_letters import list_dead_letters

    with engine_of(home) as engine:
        letters = list_dead_letters(engine, engine.principal, _account(engine, name).account_id)
    table = Table()
    for column in ("message", "actor", "intent", "state", "sent (UTC)"):
        table.add_column(column)
    for letter in letters:
        table.add_row(
            letter.message_id, escape(letter.actor), str(letter.intent_id or ""), letter.intent_state, _when(letter)
        )
    out.print(table if letters else f"no dead letters of {name}")


@dlq_app.command("inspect")
def dlq_inspect(name: Name, message_id: Message, home: Home = None) -> None:
    """Show one dead letter: what it carried, and how its intent stands."""
    from toolkit.live.outside.dead_letters import inspect_dead_letter

    with engine_of(home) as engine:
        letter = inspect_dead_letter(engine, engine.principal, _account(engine, name).account_id, message_id)
    for label, value in (
        ("message", letter.message_id),
        ("queue", letter.queue),
        ("actor", letter.actor),
        ("sent", _when(letter)),
        ("intent", f"{letter.intent_id} is {letter.intent_state}" if letter.intent_id else "none of this account"),
        ("replay", "would carry the intent out" if letter.replayable else "would change nothing"),
        ("body", letter.body),
    ):
        out.print(f"{label:<8} {value}", markup=False, soft_wrap=True)


@dlq_app.command("replay")
def dlq_replay(name: Name, message_id: Message, home: Home = None) -> None:
    """Point at the letter's intent again, with a fresh signature, and remove the letter.

    Safe at any time: the intent's row decides whether anything is left to do, and a letter without an intent of ours is
    only removed.
    """
    from toolkit.live.outside.dead_letters import replay_dead_letter

    with engine_of(home) as engine:
        again = replay_dead_letter(engine, engine.principal, _account(engine, name).account_id, message_id)
    said = "its intent goes out again with the next sweep" if again else "its intent needs nothing any more"
    out.print(f"{message_id} removed: {said}", markup=False)


@dlq_app.command("drop")
def dlq_drop(name: Name, message_id: Message, home: Home = None) -> None:
    """Remove a dead letter for good."""
    from toolkit.live.outside.dead_letters import drop_dead_letter

    with engine_of(home) as engine:
        drop_dead_letter(engine, engine.principal, _account(engine, name).account_id, message_id)
    out.print(f"{message_id} removed", markup=False)


def _account(engine: Engine, name: str) -> AccountRecord:
    from toolkit.store.people.accounts import Accounts

    with engine.work(write=False) as work:
        return Accounts(work.connection, engine.principal).find(name)


def _when(letter: DeadLetter) -> str:
    return f"{letter.sent_at:%Y-%m-%d %H:%M:%S}"
