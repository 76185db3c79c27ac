"""Accounts have guards of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version; no account has a limit yet."""
    op.add_column("accounts", sa.Column("guards_json", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("accounts", "guards_json")
