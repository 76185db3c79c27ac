"""Who there is: users, accounts, and who may act on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from toolkit.store.sql.models.base import Base


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
