"""What is to be done and what was done: intents with their history, orders, trades, the outbox, the lease."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from toolkit.store.sql.models.base import Base, RowId


class ExecutionIntent(Base):
    """A signal made executable for one account; a row before it is anything else.

    ``payload_json`` is the canonical JSON of the request and never changes. ``payload_hash`` covers the signal's own words
    only (nothing derived from a quote), so a replay of the same signal at another price is a duplicate, not a conflict.
    """

    __tablename__ = "execution_intents"
    __table_args__ = (
        UniqueConstraint("account_id", "idempotency_key"),
        UniqueConstraint("account_id", "client_tag"),
        Index("ix_execution_intents_account_id_state", "account_id", "state"),
        Index("ix_execution_intents_live_run_id_state", "live_run_id", "state"),
        Index("ix_execution_intents_live_run_id_created_at", "live_run_id", "created_at"),
    )

    intent_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    live_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("live_runs.live_run_id"))
    action: Mapped[str] = mapped_column(String(16))
    symbol: Mapped[str] = mapped_column(String(32))
    side: Mapped[str] = mapped_column(String(4))
    signal_id: Mapped[str] = mapped_column(String(120), default="")
    bar_time: Mapped[datetime | None]
    ordinal: Mapped[int] = mapped_column(default=0)
    payload_json: Mapped[str] = mapped_column(Text)
    payload_hash: Mapped[str] = mapped_column(String(64))
    idempotency_key: Mapped[str] = mapped_column(String(64))
    client_tag: Mapped[str] = mapped_column(String(32))
    magic: Mapped[int] = mapped_column(BigInteger)
    lots: Mapped[Decimal | None]  # fixed size; NULL = sized by risk_percent
    sl_policy: Mapped[str] = mapped_column(String(32), default="reject")
    terms: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # asked and placed stop, trail rule, quote seen when built
    valid_until: Mapped[datetime | None]  # platform clock
    state: Mapped[str] = mapped_column(String(20), default="NEW")
    attempt: Mapped[int] = mapped_column(default=0)
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str] = mapped_column(String(100), default="")
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]  # platform clock at the last send
    not_before: Mapped[datetime | None]  # platform clock; an exit that was not taken is sent again then
    unknown_since: Mapped[datetime | None]
    empty_reads: Mapped[int] = mapped_column(default=0)  # complete reads without a trace of our tag
    order_id: Mapped[str | None] = mapped_column(String(64))  # the platform's
    position_id: Mapped[str | None] = mapped_column(String(64))  # the platform's
    filled_lots: Mapped[Decimal] = mapped_column(default=Decimal(0))
    average_price: Mapped[Decimal | None]
    reason: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class IntentEvent(Base):
    """One change of state of an intent; append-only."""

    __tablename__ = "intent_events"

    intent_id: Mapped[UUID] = mapped_column(ForeignKey("execution_intents.intent_id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    from_state: Mapped[str] = mapped_column(String(20))
    to_state: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(100))
    token: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    detail: Mapped[str] = mapped_column(Text, default="")


class PlatformEvent(Base):
    """A deal or an order seen at the platform, whoever saw it first; unique, so that nothing is booked twice."""

    __tablename__ = "platform_events"
    __table_args__ = (
        UniqueConstraint("account_id", "kind", "platform_id"),
        Index("ix_platform_events_account_id_position_id", "account_id", "position_id"),
        Index("ix_platform_events_intent_id", "intent_id"),
    )

    event_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    kind: Mapped[str] = mapped_column(String(16))  # "deal" | "order" | "answer"
    platform_id: Mapped[str] = mapped_column(String(80))
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("execution_intents.intent_id"))
    position_id: Mapped[str | None] = mapped_column(String(64))
    body_json: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]  # platform clock
    seen_at: Mapped[datetime]


class Order(Base):
    """What was really sent, with the projections recomputed at the send quote; those are the record."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("intent_id", "attempt"),
        Index("ix_orders_account_id_sent_at", "account_id", "sent_at"),
    )

    order_pk: Mapped[UUID] = mapped_column(primary_key=True)
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("execution_intents.intent_id"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    live_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("live_runs.live_run_id"))
    attempt: Mapped[int] = mapped_column(default=1)
    action: Mapped[str] = mapped_column(String(16))
    order_type: Mapped[str] = mapped_column(String(8), default="MARKET")
    symbol: Mapped[str] = mapped_column(String(32))
    side: Mapped[str] = mapped_column(String(4))
    lots: Mapped[Decimal | None]
    limit_price: Mapped[Decimal | None]
    stop_loss: Mapped[Decimal | None]
    take_profit: Mapped[Decimal | None]
    bid: Mapped[Decimal | None]
    ask: Mapped[Decimal | None]
    quote_at: Mapped[datetime | None]
    equity: Mapped[Decimal | None]
    projected_profit: Mapped[Decimal | None]
    projected_loss: Mapped[Decimal | None]
    rr_ratio: Mapped[Decimal | None]
    outcome: Mapped[str] = mapped_column(String(16), default="")
    code: Mapped[str] = mapped_column(String(40), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    order_id: Mapped[str | None] = mapped_column(String(64))
    position_id: Mapped[str | None] = mapped_column(String(64))
    sent_at: Mapped[datetime]  # platform clock
    answered_at: Mapped[datetime | None]  # platform clock
    latency_ms: Mapped[int | None]  # our own monotonic clock, send to answer


class Trade(Base):
    """A position we opened, from its first fill to its last exit."""

    __tablename__ = "trades"
    __table_args__ = (
        UniqueConstraint("account_id", "position_id"),
        CheckConstraint("status IN ('open', 'closed')", name="status"),
        Index("ix_trades_account_id_status", "account_id", "status"),
        Index("ix_trades_live_run_id_entry_time", "live_run_id", "entry_time"),
    )

    trade_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    live_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("live_runs.live_run_id"))
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("execution_intents.intent_id"))
    position_id: Mapped[str] = mapped_column(String(64))
    symbol: Mapped[str] = mapped_column(String(32))
    side: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(8), default="open")
    lots: Mapped[Decimal]  # opened
    open_lots: Mapped[Decimal]  # still open
    entry_time: Mapped[datetime]  # platform clock
    entry_price: Mapped[Decimal]
    stop_loss: Mapped[Decimal | None]
    take_profit: Mapped[Decimal | None]
    exit_time: Mapped[datetime | None]
    exit_price: Mapped[Decimal | None]
    exit_reason: Mapped[str] = mapped_column(String(32), default="")
    profit: Mapped[Decimal] = mapped_column(default=Decimal(0))  # gross price profit realised so far, account currency
    commission: Mapped[Decimal] = mapped_column(default=Decimal(0))
    swap: Mapped[Decimal] = mapped_column(default=Decimal(0))
    updated_at: Mapped[datetime]


class LiveRunTradeLink(Base):
    """Which run a position belongs to; what an exit of that run may touch."""

    __tablename__ = "live_run_trade_links"
    __table_args__ = (
        UniqueConstraint("trade_id"),
        Index("ix_live_run_trade_links_run_symbol", "live_run_id", "symbol"),
    )

    link_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    live_run_id: Mapped[UUID] = mapped_column(ForeignKey("live_runs.live_run_id"))
    symbol: Mapped[str] = mapped_column(String(32))
    side: Mapped[str] = mapped_column(String(4))
    trade_id: Mapped[UUID] = mapped_column(ForeignKey("trades.trade_id"))
    ticket: Mapped[str] = mapped_column(String(64))  # what a command needs; may change (MT5)
    identifier: Mapped[str] = mapped_column(String(64))  # stays for the position's life
    opened_at: Mapped[datetime]


class Outbox(Base):
    """Pointers to intents that are to be handed to the account's gateway, in this order."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_account_id_published_at", "account_id", "published_at"),)

    outbox_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("execution_intents.intent_id"))
    topic: Mapped[str] = mapped_column(String(80), default="trade.intents.v1")
    idempotency_key: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    publish_count: Mapped[int] = mapped_column(default=0)


class AccountLease(Base):
    """Who owns the right to act on an account now; ``token`` only ever grows (fencing)."""

    __tablename__ = "account_leases"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), default="")
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    until: Mapped[datetime | None]
