"""Every table of the database, as SQLAlchemy models; hot paths use Core on ``Model.__table__``.

Rules kept by all tables: moments are UTC to the microsecond, amounts are Decimals, identities are UUIDs made by us, and a
secret is only ever a reference to where the secret lives.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toolkit.store.sql.types import ExactDecimal, UtcDateTime

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
# SQLite autoincrements only a column declared INTEGER, PostgreSQL wants 8 bytes.
_RowId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """The root of all models; ``Base.metadata`` is what the migrations are compared with."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        UUID: Uuid(),
        datetime: UtcDateTime(),
        Decimal: ExactDecimal(),
        dict[str, Any]: JSON(),
        bytes: LargeBinary(),
    }


class User(Base):
    """Somebody who may act: a person, or the service principal that workers act as (``kind`` "service")."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("kind IN ('human', 'service')", name="kind"),
        CheckConstraint("role IN ('viewer', 'trader', 'admin')", name="role"),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(16), default="human")
    role: Mapped[str] = mapped_column(String(16), default="trader", server_default="trader")
    created_at: Mapped[datetime]


class Account(Base):
    """A trading account at a platform. It belongs to a user; a bot never has an account, a LiveRun does."""

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("owner_id", "name"),
        CheckConstraint("environment IN ('paper', 'demo', 'real')", name="environment"),
    )

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    name: Mapped[str] = mapped_column(String(100))
    platform: Mapped[str] = mapped_column(String(32))  # "simulated" | "metatrader5" | "ctrader"
    login: Mapped[str] = mapped_column(String(64), default="")
    server: Mapped[str] = mapped_column(String(128), default="")
    currency: Mapped[str] = mapped_column(String(8))
    environment: Mapped[str] = mapped_column(String(8), default="paper")
    gateway: Mapped[str] = mapped_column(String(16), default="local")
    secret_ref: Mapped[str] = mapped_column(String(300), default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # paper venue facts, platform options; no secret
    armed_until: Mapped[datetime | None]
    halted_at: Mapped[datetime | None]  # kill switch: set = no entry leaves; sticky until resumed
    halted_by: Mapped[str] = mapped_column(String(100), default="")
    halt_reason: Mapped[str] = mapped_column(String(300), default="")
    guards_json: Mapped[str] = mapped_column(Text, default="", server_default="")  # limits over all runs of the account
    book_synced_until: Mapped[datetime | None]  # platform time up to which history has been read completely
    created_at: Mapped[datetime]


class AccountGrant(Base):
    """Permission for another principal (the workers' service principal) to act on an account; revoked, never deleted."""

    __tablename__ = "account_grants"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    granted_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Bot(Base):
    """A named strategy line of one owner; its versions are immutable."""

    __tablename__ = "bots"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    bot_id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime]


class BotVersion(Base):
    """An immutable, hashed strategy spec with the guards and the evidence it was promoted on."""

    __tablename__ = "bot_versions"
    __table_args__ = (UniqueConstraint("bot_id", "version_hash"), UniqueConstraint("bot_id", "number"))

    bot_version_id: Mapped[UUID] = mapped_column(primary_key=True)
    bot_id: Mapped[UUID] = mapped_column(ForeignKey("bots.bot_id"))
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    number: Mapped[int]
    version_hash: Mapped[str] = mapped_column(String(64))
    spec_hash: Mapped[str] = mapped_column(String(64))
    spec_json: Mapped[str] = mapped_column(Text)
    guards_json: Mapped[str] = mapped_column(Text, default="{}")
    instruments_json: Mapped[str] = mapped_column(Text, default="{}")
    evidence_json: Mapped[str] = mapped_column(Text, default="{}")
    note: Mapped[str] = mapped_column(Text, default="")
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]  # set = no new run; what runs goes on, and nothing else of the row ever changes
    retired_by: Mapped[str | None] = mapped_column(String(100))
    retire_reason: Mapped[str | None] = mapped_column(Text)


class LiveRun(Base):
    """One BotVersion on one account, symbol list and timeframe."""

    __tablename__ = "live_runs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('CREATED', 'RUNNING', 'PAUSED', 'STOPPING', 'STOPPED', 'ERROR')",
            name="status",
        ),
        CheckConstraint("stage IN ('shadow', 'paper', 'demo', 'real')", name="stage"),
        Index("ix_live_runs_account_id_status", "account_id", "status"),
    )

    live_run_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    bot_version_id: Mapped[UUID] = mapped_column(ForeignKey("bot_versions.bot_version_id"))
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    symbols: Mapped[list[str]] = mapped_column(JSON)
    timeframe: Mapped[str] = mapped_column(String(8))
    stage: Mapped[str] = mapped_column(String(8))
    status: Mapped[str] = mapped_column(String(16), default="CREATED")
    host: Mapped[str] = mapped_column(String(16), default="notebook")
    feed_json: Mapped[str] = mapped_column(Text, default="{}")
    guards_json: Mapped[str] = mapped_column(Text, default="{}")
    options_json: Mapped[str] = mapped_column(Text, default="{}")
    last_error: Mapped[str] = mapped_column(Text, default="")
    capital: Mapped[Decimal]
    realised: Mapped[Decimal] = mapped_column(default=Decimal(0))  # profit, commission and swap booked by its trades
    cursor: Mapped[datetime | None]  # open of the last bar that was committed
    state: Mapped[bytes | None]  # the strategy's incremental state after that bar
    version: Mapped[int] = mapped_column(default=0)  # compare-and-set counter
    bars_hash: Mapped[str] = mapped_column(String(64), default="")
    bars_count: Mapped[int] = mapped_column(default=0)
    heartbeat_at: Mapped[datetime | None]
    last_action_at: Mapped[datetime | None]
    last_action: Mapped[str] = mapped_column(String(200), default="")
    signals_count: Mapped[int] = mapped_column(default=0)
    intents_count: Mapped[int] = mapped_column(default=0)
    fills_count: Mapped[int] = mapped_column(default=0)
    refused_count: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.user_id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]


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

    event_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
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

    link_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
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

    outbox_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
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


class GuardrailTrip(Base):
    """A guardrail that denied an entry and stays in force until ``until`` or a reset."""

    __tablename__ = "guardrail_trips"
    __table_args__ = (Index("ix_guardrail_trips_account_id_reset_at", "account_id", "reset_at"),)

    trip_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    live_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("live_runs.live_run_id"))
    rule: Mapped[str] = mapped_column(String(40))
    symbol: Mapped[str] = mapped_column(String(32), default="")
    reason: Mapped[str] = mapped_column(Text)
    tripped_at: Mapped[datetime]
    until: Mapped[datetime | None]  # platform clock; NULL = until somebody resets it
    denied_count: Mapped[int] = mapped_column(default=1)
    reset_at: Mapped[datetime | None]
    reset_by: Mapped[str] = mapped_column(String(100), default="")


class EquityMark(Base):
    """Equity at the platform's midnight and its peak: the bases of the daily loss and drawdown guards."""

    __tablename__ = "equity_marks"
    __table_args__ = (UniqueConstraint("account_id", "scope", "day"),)

    mark_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    scope: Mapped[str] = mapped_column(String(40))  # "account" or a LiveRun id
    day: Mapped[datetime]  # the platform's midnight, in UTC
    base_equity: Mapped[Decimal]
    peak_equity: Mapped[Decimal]
    updated_at: Mapped[datetime]


class RunEvent(Base):
    """What happened in a run, for people: the page and the notebook follow this table by ``event_id``."""

    __tablename__ = "run_events"
    __table_args__ = (Index("ix_run_events_live_run_id_event_id", "live_run_id", "event_id"),)

    event_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
    live_run_id: Mapped[UUID | None] = mapped_column(ForeignKey("live_runs.live_run_id"))
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.account_id"))
    intent_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(String(40))
    level: Mapped[str] = mapped_column(String(8), default="info")
    message: Mapped[str] = mapped_column(Text, default="")
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    market_time: Mapped[datetime | None]  # platform clock
    at: Mapped[datetime]


class Audit(Base):
    """Who did what to whom; append-only, each row hashes the one before it."""

    __tablename__ = "audit"

    audit_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    principal: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(120))
    detail: Mapped[str] = mapped_column(Text, default="")
    previous_hash: Mapped[str] = mapped_column(String(64))
    row_hash: Mapped[str] = mapped_column(String(64), unique=True)


class BarSeen(Base):
    """A closed bar as it was first read from a feed, in whole points; a changed bar is a new revision."""

    __tablename__ = "bars_seen"

    feed: Mapped[str] = mapped_column(String(120), primary_key=True)
    symbol: Mapped[str] = mapped_column(String(32), primary_key=True)
    timeframe: Mapped[str] = mapped_column(String(8), primary_key=True)
    ts: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # bar OPEN, epoch nanoseconds
    revision: Mapped[int] = mapped_column(primary_key=True, default=0)
    bid_open: Mapped[int]
    bid_high: Mapped[int]
    bid_low: Mapped[int]
    bid_close: Mapped[int]
    ask_open: Mapped[int]
    ask_high: Mapped[int]
    ask_low: Mapped[int]
    ask_close: Mapped[int]
    volume: Mapped[float | None]
    final: Mapped[bool] = mapped_column(Boolean, default=True)
    seen_at: Mapped[datetime]


class AlertState(Base):
    """A cause that people should hear of: since when it is there, whether it still is, and when they were told."""

    __tablename__ = "alerts"
    __table_args__ = (Index("ix_alerts_told_at", "told_at"),)

    key: Mapped[str] = mapped_column(String(120), primary_key=True)  # names the cause, e.g. "error:<run>"
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.account_id"))
    level: Mapped[str] = mapped_column(String(8))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    told_count: Mapped[int] = mapped_column(default=0)
    cleared_at: Mapped[datetime | None]


class BalanceCheck(Base):
    """The platform's balance beside what our trades booked; ``difference`` is what happened since the last check besides."""

    __tablename__ = "balance_checks"
    __table_args__ = (Index("ix_balance_checks_account_id_check_id", "account_id", "check_id"),)

    check_id: Mapped[int] = mapped_column(_RowId, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    at: Mapped[datetime]
    platform_time: Mapped[datetime]
    balance: Mapped[Decimal]
    booked: Mapped[Decimal]  # profit, commission and swap of all our trades on the account so far
    difference: Mapped[Decimal]
    detail: Mapped[str] = mapped_column(Text, default="")
