"""What trades: bots, their immutable versions, and their runs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from toolkit.store.sql.models.base import Base


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
