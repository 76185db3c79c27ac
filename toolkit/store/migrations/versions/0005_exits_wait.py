"""An exit that the platform would not take waits and is sent again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from toolkit.store.sql.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version; nothing waits yet."""
    op.add_column("execution_intents", sa.Column("not_before", UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("execution_intents", "not_before")
