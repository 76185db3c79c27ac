"""Users have a role: viewer, trader or admin."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version; whoever works on this machine itself becomes its administrator."""
    # Not in batch mode: that rebuilds the table, and SQLite would first drop the rows that others refer to.
    allowed = sa.CheckConstraint("role IN ('viewer', 'trader', 'admin')", name=op.f("ck_users_role"))
    op.add_column("users", sa.Column("role", sa.String(length=16), allowed, server_default="trader", nullable=False))
    op.execute(sa.text("UPDATE users SET role = 'admin' WHERE name = 'local'"))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("users", "role")
