"""Who did what to whom: append-only rows, each hashing the one before it, so that a removed or altered row shows."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text

from toolkit.clock import to_ns
from toolkit.execution.principal import Principal
from toolkit.store.sql.models import Audit

_AUDIT: Any = Audit.__table__
_GENESIS = "0" * 64
_CHAIN_LOCK = 7_215_001


def append(
    connection: Connection, at: datetime, principal: Principal, action: str, subject: str, detail: str = ""
) -> None:
    """Add one row to the chain, inside the caller's transaction."""
    if connection.dialect.name == "postgresql":
        # Two appenders must not both hash the same last row; SQLite's write lock sees to that by itself.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    last = connection.execute(select(_AUDIT.c.row_hash).order_by(_AUDIT.c.audit_id.desc()).limit(1)).scalar()
    previous = str(last) if last is not None else _GENESIS
    connection.execute(
        insert(_AUDIT).values(
            at=at,
            principal=principal.name,
            action=action,
            subject=subject,
            detail=detail,
            previous_hash=previous,
            row_hash=_row_hash(previous, at, principal.name, action, subject, detail),
        )
    )


def first_broken_row(connection: Connection) -> int | None:
    """Return the id of the first row whose hash does not follow from its content and predecessor, or None."""
    previous = _GENESIS
    for row in connection.execute(select(_AUDIT).order_by(_AUDIT.c.audit_id)):
        expected = _row_hash(previous, row.at, row.principal, row.action, row.subject, row.detail)
        if row.previous_hash != previous or row.row_hash != expected:
            return int(row.audit_id)
        previous = row.row_hash
    return None


def _row_hash(previous: str, at: datetime, principal: str, action: str, subject: str, detail: str) -> str:
    words = json.dumps(
        [previous, to_ns(at), principal, action, subject, detail], ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(words.encode()).hexdigest()
