"""``seatrial worker | gateway | dlq``: trading through a message broker, and what it could not deliver."""

from __future__ import annotations

import os
import sys
from importlib import util
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out, settings_for
from toolkit.errors import BadInput, MissingPackage, NotFound, must_be

if TYPE_CHECKING:
    from toolkit.gateways.message_brokers import DeadLetterBroker
    from toolkit.live.engine import Engine
    from toolkit.store.accounts import AccountRecord

gateway_app = typer.Typer(help="Which gateway carries an account's intents.", no_args_is_help=True)
dlq_app = typer.Typer(help="Dead letters: messages that a worker refused or that killed it.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]


def worker(
    home: Home = None,
    gateway: Annotated[str, typer.Option(help="redis or rabbitmq; SEATRIAL_GATEWAY when left out.")] = "",
    accounts: Annotated[str, typer.Option(help="Names, separated by commas; all of the gateway when left out.")] = "",
    metrics_port: Annotated[int, typer.Option(help="Answer /metrics, /healthz and /readyz on this port.")] = 0,
) -> None:
    """Serve accounts from a message broker until SIGTERM; a worker that dies is started again."""
    from toolkit.cli.supervisor import supervise

    if util.find_spec("dramatiq") is None:
        raise MissingPackage("a worker needs Dramatiq: pip install 'seatrial[worker]'")
    settings = settings_for(home)
    kind = gateway or settings.gateway
    if kind not in ("redis", "rabbitmq"):
        raise BadInput(
            must_be("gateway of a worker", "redis or rabbitmq", kind, "pass --gateway, or set SEATRIAL_GATEWAY")
        )
    named = [part for name in accounts.split(",") if name.strip() for part in ("--account", name.strip())]
    environment = {**os.environ, "SEATRIAL_HOME": str(settings.home)}
    if metrics_port:
        environment["SEATRIAL_METRICS_PORT"] = str(metrics_port)
    raise typer.Exit(supervise([sys.executable, "-m", "workers", "--gateway", kind, *named], environment))


@gateway_app.command("set")
def gateway_set(
    name: Name,
    gateway: Annotated[str, typer.Argument(help="local, redis or rabbitmq.")],
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
    with engine_of(home) as engine:
        broker, queue = _queue(engine, name)
        letters = broker.dead_letters(queue)
        broker.close()
    table = Table()
    for column in ("message", "actor", "intent", "sent (UTC)"):
        table.add_column(column)
    for letter in letters:
        table.add_row(letter.message_id, letter.actor_name, _pointed(letter.args), _when(letter.message_timestamp))
    out.print(table if letters else f"no dead letters on {queue}")


@dlq_app.command("replay")
def dlq_replay(
    name: Name, message_id: Annotated[str, typer.Argument(help="From `seatrial dlq list`.")], home: Home = None
) -> None:
    """Point at the letter's intent again, with a fresh signature, and remove the letter.

    Safe at any time: the intent's row decides whether anything is left to do, and a letter without an intent of ours is
    only removed.
    """
    from uuid import UUID

    from toolkit.execution.intents import IntentState
    from toolkit.store.intents import SqlTransaction

    with engine_of(home) as engine:
        broker, queue = _queue(engine, name)
        letter = next((found for found in broker.dead_letters(queue) if found.message_id == message_id), None)
        if letter is None:
            raise NotFound(must_be("message", f"a dead letter of {queue}", message_id, "see `seatrial dlq list`"))
        pointed = _pointed(letter.args)
        with engine.work() as work:
            intents = SqlTransaction(work)
            intent = intents.intent(UUID(pointed)) if pointed else None
            again = intent is not None and intent.state is IntentState.NEW
            if intent is not None and again:
                intents.reopen_outbox(intent.intent_id)
            work.commit()
        broker.drop_dead_letter(queue, message_id)
        broker.close()
    said = "its intent goes out again with the next sweep" if again else "its intent needs nothing any more"
    out.print(f"{message_id} removed: {said}", markup=False)


@dlq_app.command("drop")
def dlq_drop(
    name: Name, message_id: Annotated[str, typer.Argument(help="From `seatrial dlq list`.")], home: Home = None
) -> None:
    """Remove a dead letter for good."""
    with engine_of(home) as engine:
        broker, queue = _queue(engine, name)
        dropped = broker.drop_dead_letter(queue, message_id)
        broker.close()
    if not dropped:
        raise NotFound(must_be("message", f"a dead letter of {queue}", message_id, "see `seatrial dlq list`"))
    out.print(f"{message_id} removed", markup=False)


def _account(engine: Engine, name: str) -> AccountRecord:
    from toolkit.store.accounts import Accounts

    with engine.work(write=False) as work:
        return Accounts(work.connection, engine.principal).find(name)


def _queue(engine: Engine, name: str) -> tuple[DeadLetterBroker, str]:
    from toolkit.gateways.message_brokers import intent_queue, make_message_broker

    account = _account(engine, name)
    settings = engine.settings
    broker = make_message_broker(
        account.gateway,
        redis_url=settings.redis_url.get_secret_value(),
        rabbitmq_url=settings.rabbitmq_url.get_secret_value(),
    )
    return broker, intent_queue(account.account_id)


def _pointed(args: tuple[object, ...]) -> str:
    import json

    try:
        return str(json.loads(str(args[0]))["intent_id"]) if args else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _when(timestamp_ms: int) -> str:
    from toolkit.clock import from_ns

    return f"{from_ns(timestamp_ms * 1_000_000):%Y-%m-%d %H:%M:%S}"
