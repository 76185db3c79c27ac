"""``seatrial intents``: what became of an account's intents, and a person's word on one that was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out
from toolkit.errors import BadInput, must_be

if TYPE_CHECKING:
    from toolkit.live.engine import Engine
    from toolkit.store.reading.records import IntentRow

app = typer.Typer(help="Intents: what became of them, and releasing one that was given up.", no_args_is_help=True)


@app.command("list")
def list_intents(
    account: Annotated[str, typer.Argument(help="Name of the account.")],
    home: Home = None,
    state: Annotated[list[str] | None, typer.Option(help="Only these, e.g. --state ABANDONED; repeatable.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 50,
) -> None:
    """List an account's intents, latest change first."""
    wanted = [name.upper() for name in state or []]
    with engine_of(home) as engine:
        rows = _of_account(engine, account, wanted, limit)
    table = Table()
    for column in ("intent", "action", "side", "symbol", "state", "reason", "changed (UTC)"):
        table.add_column(column)
    for row in rows:
        words = (row.action, row.side, row.symbol, row.state, row.reason)
        changed = f"{row.updated_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(row.intent_id), *(escape(str(word)) for word in words), changed)
    out.print(table if rows else f"no such intents of {account}", soft_wrap=True)


@app.command("release")
def release(
    intent: Annotated[str, typer.Argument(help="Its id, or the beginning of it; see `seatrial intents list`.")],
    reason: Annotated[str, typer.Option(help="What you saw at the platform; kept in the audit trail.")],
    home: Home = None,
) -> None:
    """Free the guardrail slot of an ABANDONED entry, after looking at the platform; late evidence still adopts it."""
    from toolkit.live.operate.by_hand import release_intent

    with engine_of(home) as engine:
        after = release_intent(engine, engine.principal, _find(engine, intent), reason)
    out.print(f"{after.action.value} {after.symbol} {after.intent_id} is {after.state.value}", markup=False)


def _of_account(engine: Engine, name: str, states: list[str], limit: int) -> list[IntentRow]:
    from toolkit.store.people.accounts import Accounts
    from toolkit.store.reading.queries import ReadSide

    with engine.work(write=False) as work:
        account = Accounts(work.connection, engine.principal).find(name)
    return ReadSide(engine.database).intents(
        engine.principal, account_id=account.account_id, states=states, limit=limit
    )


def _find(engine: Engine, beginning: str) -> UUID:
    from toolkit.store.reading.queries import ReadSide

    try:
        return UUID(beginning)
    except ValueError:
        pass
    rows = ReadSide(engine.database).intents(engine.principal, states=["ABANDONED"], limit=10_000)
    found = [row.intent_id for row in rows if str(row.intent_id).startswith(beginning.lower())]
    if len(found) != 1:
        was = f"{beginning!r} ({len(found)} of them)"
        raise BadInput(must_be("intent", "the id of one ABANDONED intent", was, "see `seatrial intents list ACCOUNT`"))
    return found[0]
