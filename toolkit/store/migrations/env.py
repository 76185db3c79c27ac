"""Alembic's entry point; it runs on the connection that `toolkit.store.sql.engine` hands over, never on a URL of its own."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from toolkit.store.sql.models import Base


def _render(kind: str, thing: Any, _autogen: Any) -> str | Literal[False]:
    """Write our own column types by name when a migration is generated."""
    if kind == "type" and type(thing).__module__ == "toolkit.store.sql.types":
        return f"{type(thing).__name__}()"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    transactional_ddl=False,  # the caller's transaction is the transaction
    render_item=_render,
)
context.run_migrations()
