"""Alerts that were found and told, checks of the platform's balance, versions that were retired."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from toolkit.store.sql.types import ExactDecimal, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    op.create_table(
        "alerts",
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=True),
        sa.Column("told_count", sa.Integer(), nullable=False),
        sa.Column("cleared_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_alerts_account_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alerts")),
    )
    op.create_index("ix_alerts_told_at", "alerts", ["told_at"])
    op.create_table(
        "balance_checks",
        sa.Column("check_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("platform_time", UtcDateTime(), nullable=False),
        sa.Column("balance", ExactDecimal(), nullable=False),
        sa.Column("booked", ExactDecimal(), nullable=False),
        sa.Column("difference", ExactDecimal(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_balance_checks_account_id")),
        sa.PrimaryKeyConstraint("check_id", name=op.f("pk_balance_checks")),
    )
    op.create_index("ix_balance_checks_account_id_check_id", "balance_checks", ["account_id", "check_id"])
    op.add_column("bot_versions", sa.Column("retired_at", UtcDateTime(), nullable=True))
    op.add_column("bot_versions", sa.Column("retired_by", sa.String(length=100), nullable=True))
    op.add_column("bot_versions", sa.Column("retire_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back to the version before."""
    for name in ("retire_reason", "retired_by", "retired_at"):
        op.drop_column("bot_versions", name)
    op.drop_table("balance_checks")
    op.drop_table("alerts")
