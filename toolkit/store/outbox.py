"""The outbox in the database: pointers that wait for a gateway, and results that wait for a bus that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import ClauseElement, Dialect, Table, bindparam, distinct, insert, literal, select, update

from toolkit.execution.ledger.records import POINTERS, RESULTS, OutboxRecord
from toolkit.store.sql import models
from toolkit.store.sql.rows import RecordTables, equals, select_by, statement

OUTBOX = cast("Table", models.Outbox.__table__)
ACCOUNTS = cast("Table", models.Account.__table__)
# Accounts of these gateways have their results sent after them.
CARRIES_RESULTS = "kafka"


class OutboxTables(RecordTables):
    """The outbox inside one unit of work; see `toolkit.execution.ledger.store.OutboxTable`."""

    def add_outbox(self, account_id: UUID, intent_id: UUID, key: str, body: str, at: datetime) -> None:
        """Append a pointer."""
        self._insert(
            OUTBOX,
            {
                "account_id": account_id,
                "intent_id": intent_id,
                "idempotency_key": key,
                "body": body,
                "created_at": at,
                "topic": POINTERS,
                "publish_count": 0,
            },
        )

    def add_result(self, account_id: UUID, intent_id: UUID, body: str, at: datetime) -> None:
        """Append a result, if the account's gateway carries results; one statement, whichever it is."""

        def make(_dialect: Dialect) -> ClauseElement:
            columns = ("account_id", "intent_id", "body", "created_at")
            values = [bindparam(f"new_{name}", type_=OUTBOX.c[name].type) for name in columns]
            fixed = {"topic": literal(RESULTS), "idempotency_key": literal(""), "publish_count": literal(0)}
            chosen = select(*values, *fixed.values()).where(
                *equals(ACCOUNTS, ("account_id",)), ACCOUNTS.c.gateway == literal(CARRIES_RESULTS)
            )
            return insert(OUTBOX).from_select([*columns, *fixed], chosen, include_defaults=False)

        row = {"new_account_id": account_id, "new_intent_id": intent_id, "new_body": body, "new_created_at": at}
        statement("add_result", make).run(self._db, {**row, "account_id": account_id}).close()

    def unpublished(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the pointers that still have to be handed over, in order."""
        return self._waiting(account_id, limit, results=False)

    def unsent_results(self, account_id: UUID, limit: int = 100) -> list[OutboxRecord]:
        """Return the results that still have to be sent, in order."""
        return self._waiting(account_id, limit, results=True)

    def accounts_with_unsent_results(self) -> Sequence[UUID]:
        """Return the accounts that have results to send, whatever their gateway is by now."""
        query = select(distinct(OUTBOX.c.account_id)).where(OUTBOX.c.published_at.is_(None), OUTBOX.c.topic == RESULTS)
        return list(self._db.execute(query).scalars())

    def mark_published(self, outbox_id: int, at: datetime) -> None:
        """Note that a pointer or a result was handed over."""
        statement(
            "mark_published",
            lambda _d: (
                update(OUTBOX)
                .where(OUTBOX.c.outbox_id == bindparam("was_id"))
                .values(
                    published_at=bindparam("at", type_=OUTBOX.c.published_at.type),
                    publish_count=OUTBOX.c.publish_count + 1,
                )
            ),
        ).run(self._db, {"was_id": outbox_id, "at": at}).close()

    def mark_relayed(self, outbox_ids: Sequence[int], at: datetime) -> None:
        """Note that a message broker has these, in a transaction that does not wait for the disk where the database can do so.

        A note that a crash of the database loses costs a second delivery, which changes nothing; a wait here would stand beside
        the claim that the delivery has just begun.
        """
        if self._db.dialect.name == "postgresql":
            self._db.exec_driver_sql("SET LOCAL synchronous_commit = off")
        for outbox_id in outbox_ids:
            self.mark_published(outbox_id, at)

    def reopen_outbox(self, intent_id: UUID) -> None:
        """Put the intent's pointer back: it has to be handed over again."""
        self._update(OUTBOX, {"intent_id": intent_id, "topic": POINTERS}, {"published_at": None})

    def _waiting(self, account_id: UUID, limit: int, *, results: bool) -> list[OutboxRecord]:
        kind = OUTBOX.c.topic == literal(RESULTS) if results else OUTBOX.c.topic != literal(RESULTS)
        return self._all(
            OutboxRecord,
            ("outbox", results, limit),
            lambda: (
                select_by(OUTBOX, OutboxRecord, "account_id")
                .where(OUTBOX.c.published_at.is_(None), kind)
                .order_by(OUTBOX.c.outbox_id)
                .limit(limit)
            ),
            account_id=account_id,
        )


__all__ = ["OutboxTables"]
