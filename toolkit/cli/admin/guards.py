"""``seatrial guards``: the limits of an account, and the trips of all guardrails."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from toolkit.cli.console import AsJson, Home, engine_of, out
from toolkit.errors import BadInput, must_be

app = typer.Typer(help="Limits of an account, and guardrails that have tripped.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]


@app.command("show")
def show(name: Name, home: Home = None, as_json: AsJson = False) -> None:
    """Show the limits of an account."""
    from toolkit.live.safety.guards import account_guards
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        facts = account_guards(engine, engine.principal, account.account_id).facts()
    if as_json:
        out.print_json(data=facts)
        return
    if not facts:
        out.print(f"{account.name} has no limits of its own; those of its runs hold", markup=False)
    for limit, value in facts.items():
        out.print(f"{limit:24} {value}", markup=False)


@app.command("set")
def set_limits(
    name: Name,
    limit: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, e.g. daily_loss_percent=2; again for more.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Begin with no limit; else those not named stay.")] = False,
    home: Home = None,
) -> None:
    """Set limits of an account; they hold beside those of every run, from the next entry on. NAME= takes one away."""
    from toolkit.live.safety.guards import account_guards, set_account_guards
    from toolkit.risk.account_guards import AccountGuards
    from toolkit.store.people.accounts import Accounts

    if not limit and not clear:
        raise BadInput(must_be("limits", "named", "none", "write --limit daily_loss_percent=2, or --clear"))
    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        facts = {} if clear else account_guards(engine, engine.principal, account.account_id).facts()
        for item in limit or []:
            word, separator, value = item.partition("=")
            if not separator:
                raise BadInput(must_be("limit", "NAME=VALUE", repr(item), "write --limit daily_loss_percent=2"))
            facts.pop(word, None)
            if value:
                facts[word] = _number(value)
        guards = AccountGuards.from_facts(facts)
        set_account_guards(engine, engine.principal, account.account_id, guards)
        words = ", ".join(f"{k} {v}" for k, v in guards.facts().items()) or "no limits"
        out.print(f"{account.name}: {words}", markup=False)


@app.command("trips")
def trips(
    name: Annotated[str | None, typer.Argument(help="Name of the account; all of yours without it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every denial, not only what holds on.")] = False,
    home: Home = None,
) -> None:
    """List guardrails that have tripped and hold on, until a time or until somebody resets them."""
    from toolkit.live.safety.guards import guardrail_trips
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine:
        account_id = None
        if name is not None:
            with engine.work(write=False) as work:
                account_id = Accounts(work.connection, engine.principal).find(name).account_id
        found = guardrail_trips(engine, engine.principal, account_id=account_id, active=not everything)
    if not found:
        out.print("no guardrail holds" if not everything else "no guardrail has denied anything")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("account", "rule", "of", "since", "until", "denied", "reason"):
        table.add_column(column, overflow="fold")
    for t in found:
        until = "reset" if t.until is None else f"{t.until:%Y-%m-%d %H:%M}"
        whose = "account" if t.live_run_id is None else f"run {str(t.live_run_id)[:8]}"
        table.add_row(t.account, t.rule, whose, f"{t.tripped_at:%Y-%m-%d %H:%M}", until, str(t.denied_count), t.reason)
    out.print(table)


@app.command("reset")
def reset(
    name: Name,
    rule: Annotated[str | None, typer.Option(help="Only this rule, as `seatrial guards trips` names it.")] = None,
    home: Home = None,
) -> None:
    """Lift trips of an account that hold on: a person has looked and says go on; audited."""
    from toolkit.live.safety.guards import reset_trips
    from toolkit.store.people.accounts import Accounts

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            account = Accounts(work.connection, engine.principal).find(name)
        count = len(reset_trips(engine, engine.principal, account.account_id, rule=rule))
        out.print(f"{account.name}: {count} lifted", markup=False)


def _number(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else text
