"""What guards and people look at: trips, equity marks, events, audit trail, bars seen, alerts, balances."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from toolkit.store.sql.models.base import Base, RowId


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

    mark_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
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

    event_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
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

    audit_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
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

    check_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.account_id"))
    at: Mapped[datetime]
    platform_time: Mapped[datetime]
    balance: Mapped[Decimal]
    booked: Mapped[Decimal]  # profit, commission and swap of all our trades on the account so far
    difference: Mapped[Decimal]
    detail: Mapped[str] = mapped_column(Text, default="")
