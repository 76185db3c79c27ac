"""``seatrial user``: who may look, trade and administer."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from toolkit.cli.console import Home, engine_of, out

app = typer.Typer(help="People and their roles.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the user.")]


@app.command("list")
def list_users(home: Home = None) -> None:
    """List the users with their roles."""
    from toolkit.store.people.operations import Operations

    with engine_of(home) as engine:
        found = Operations(engine.database).users(engine.principal)
    table = Table()
    for column in ("name", "kind", "role", "accounts", "granted"):
        table.add_column(column)
    for user in found:
        table.add_row(user.name, user.kind, user.role, str(user.accounts), str(user.granted))
    out.print(table)


@app.command("add")
def add(
    name: Name,
    home: Home = None,
    role: Annotated[str, typer.Option(help="viewer, trader or admin.")] = "trader",
    password: Annotated[bool, typer.Option(help="Ask for a password for the page.")] = True,
) -> None:
    """Add a person, and ask for the password to the page."""
    from getpass import getpass

    from toolkit.live.operate.users import add_user
    from toolkit.store.people.passwords import password_file

    with engine_of(home) as engine:
        add_user(engine, engine.principal, name, role)
        if password:
            password_file(engine.settings).set(name, getpass(f"password for {name}: "))
    out.print(f"{name} is a {role}", markup=False)


@app.command("role")
def role(name: Name, role: Annotated[str, typer.Argument(help="viewer, trader or admin.")], home: Home = None) -> None:
    """Give a user another role."""
    from toolkit.live.operate.users import change_role

    with engine_of(home) as engine:
        change_role(engine, engine.principal, name, role)
    out.print(f"{name} is a {role} now", markup=False)


@app.command("password")
def password(name: Name, home: Home = None) -> None:
    """Set a user's password to the page."""
    from getpass import getpass

    from toolkit.store.people.accounts import find_user
    from toolkit.store.people.passwords import password_file

    with engine_of(home) as engine:
        with engine.work(write=False) as work:
            find_user(work.connection, name)
        password_file(engine.settings).set(name, getpass(f"password for {name}: "))
    out.print(f"the password of {name} is set", markup=False)
