"""The first schema: every table of the house."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from toolkit.store.sql.types import ExactDecimal, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("principal", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("row_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
        sa.UniqueConstraint("row_hash", name=op.f("uq_audit_row_hash")),
    )
    op.create_table(
        "bars_seen",
        sa.Column("feed", sa.String(length=120), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("timeframe", sa.String(length=8), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("bid_open", sa.Integer(), nullable=False),
        sa.Column("bid_high", sa.Integer(), nullable=False),
        sa.Column("bid_low", sa.Integer(), nullable=False),
        sa.Column("bid_close", sa.Integer(), nullable=False),
        sa.Column("ask_open", sa.Integer(), nullable=False),
        sa.Column("ask_high", sa.Integer(), nullable=False),
        sa.Column("ask_low", sa.Integer(), nullable=False),
        sa.Column("ask_close", sa.Integer(), nullable=False),
        sa.Column("volume", sa.Double(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("feed", "symbol", "timeframe", "ts", "revision", name=op.f("pk_bars_seen")),
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('human', 'service')", name=op.f("ck_users_kind")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("login", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=128), nullable=False),
        sa.Column("currency", sa.String(length=8), nullable=False),
        sa.Column("environment", sa.String(length=8), nullable=False),
        sa.Column("gateway", sa.String(length=16), nullable=False),
        sa.Column("secret_ref", sa.String(length=300), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("armed_until", UtcDateTime(), nullable=True),
        sa.Column("halted_at", UtcDateTime(), nullable=True),
        sa.Column("halted_by", sa.String(length=100), nullable=False),
        sa.Column("halt_reason", sa.String(length=300), nullable=False),
        sa.Column("book_synced_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("environment IN ('paper', 'demo', 'real')", name=op.f("ck_accounts_environment")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.user_id"], name=op.f("fk_accounts_owner_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("owner_id", "name", name=op.f("uq_accounts_owner_id_name")),
    )
    op.create_table(
        "bots",
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.user_id"], name=op.f("fk_bots_owner_id")),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("pk_bots")),
        sa.UniqueConstraint("owner_id", "name", name=op.f("uq_bots_owner_id_name")),
    )
    op.create_table(
        "account_grants",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("granted_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_account_grants_account_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_account_grants_user_id")),
        sa.PrimaryKeyConstraint("account_id", "user_id", name=op.f("pk_account_grants")),
    )
    op.create_table(
        "account_leases",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_account_leases_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_leases")),
    )
    op.create_table(
        "bot_versions",
        sa.Column("bot_version_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version_hash", sa.String(length=64), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("guards_json", sa.Text(), nullable=False),
        sa.Column("instruments_json", sa.Text(), nullable=False),
        sa.Column("evidence_json", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.bot_id"], name=op.f("fk_bot_versions_bot_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.user_id"], name=op.f("fk_bot_versions_created_by")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.user_id"], name=op.f("fk_bot_versions_owner_id")),
        sa.PrimaryKeyConstraint("bot_version_id", name=op.f("pk_bot_versions")),
        sa.UniqueConstraint("bot_id", "number", name=op.f("uq_bot_versions_bot_id_number")),
        sa.UniqueConstraint("bot_id", "version_hash", name=op.f("uq_bot_versions_bot_id_version_hash")),
    )
    op.create_table(
        "equity_marks",
        sa.Column("mark_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=40), nullable=False),
        sa.Column("day", UtcDateTime(), nullable=False),
        sa.Column("base_equity", ExactDecimal(), nullable=False),
        sa.Column("peak_equity", ExactDecimal(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_equity_marks_account_id")),
        sa.PrimaryKeyConstraint("mark_id", name=op.f("pk_equity_marks")),
        sa.UniqueConstraint("account_id", "scope", "day", name=op.f("uq_equity_marks_account_id_scope_day")),
    )
    op.create_table(
        "live_runs",
        sa.Column("live_run_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("bot_version_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("symbols", sa.JSON(), nullable=False),
        sa.Column("timeframe", sa.String(length=8), nullable=False),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=16), nullable=False),
        sa.Column("feed_json", sa.Text(), nullable=False),
        sa.Column("guards_json", sa.Text(), nullable=False),
        sa.Column("options_json", sa.Text(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("capital", ExactDecimal(), nullable=False),
        sa.Column("realised", ExactDecimal(), nullable=False),
        sa.Column("cursor", UtcDateTime(), nullable=True),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("bars_hash", sa.String(length=64), nullable=False),
        sa.Column("bars_count", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.Column("last_action_at", UtcDateTime(), nullable=True),
        sa.Column("last_action", sa.String(length=200), nullable=False),
        sa.Column("signals_count", sa.Integer(), nullable=False),
        sa.Column("intents_count", sa.Integer(), nullable=False),
        sa.Column("fills_count", sa.Integer(), nullable=False),
        sa.Column("refused_count", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("stopped_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("stage IN ('shadow', 'paper', 'demo', 'real')", name=op.f("ck_live_runs_stage")),
        sa.CheckConstraint(
            "status IN ('CREATED', 'RUNNING', 'PAUSED', 'STOPPING', 'STOPPED', 'ERROR')",
            name=op.f("ck_live_runs_status"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_live_runs_account_id")),
        sa.ForeignKeyConstraint(
            ["bot_version_id"], ["bot_versions.bot_version_id"], name=op.f("fk_live_runs_bot_version_id")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.user_id"], name=op.f("fk_live_runs_created_by")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.user_id"], name=op.f("fk_live_runs_owner_id")),
        sa.PrimaryKeyConstraint("live_run_id", name=op.f("pk_live_runs")),
    )
    with op.batch_alter_table("live_runs", schema=None) as batch_op:
        batch_op.create_index("ix_live_runs_account_id_status", ["account_id", "status"], unique=False)

    op.create_table(
        "execution_intents",
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("signal_id", sa.String(length=120), nullable=False),
        sa.Column("bar_time", UtcDateTime(), nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("payload_json", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("client_tag", sa.String(length=32), nullable=False),
        sa.Column("magic", sa.BigInteger(), nullable=False),
        sa.Column("lots", ExactDecimal(), nullable=True),
        sa.Column("sl_policy", sa.String(length=32), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("valid_until", UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("unknown_since", UtcDateTime(), nullable=True),
        sa.Column("empty_reads", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=True),
        sa.Column("position_id", sa.String(length=64), nullable=True),
        sa.Column("filled_lots", ExactDecimal(), nullable=False),
        sa.Column("average_price", ExactDecimal(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_execution_intents_account_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.user_id"], name=op.f("fk_execution_intents_created_by")),
        sa.ForeignKeyConstraint(
            ["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_execution_intents_live_run_id")
        ),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_execution_intents")),
        sa.UniqueConstraint("account_id", "client_tag", name=op.f("uq_execution_intents_account_id_client_tag")),
        sa.UniqueConstraint(
            "account_id", "idempotency_key", name=op.f("uq_execution_intents_account_id_idempotency_key")
        ),
    )
    with op.batch_alter_table("execution_intents", schema=None) as batch_op:
        batch_op.create_index("ix_execution_intents_account_id_state", ["account_id", "state"], unique=False)
        batch_op.create_index(
            "ix_execution_intents_live_run_id_created_at", ["live_run_id", "created_at"], unique=False
        )
        batch_op.create_index("ix_execution_intents_live_run_id_state", ["live_run_id", "state"], unique=False)

    op.create_table(
        "guardrail_trips",
        sa.Column("trip_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=True),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("tripped_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("denied_count", sa.Integer(), nullable=False),
        sa.Column("reset_at", UtcDateTime(), nullable=True),
        sa.Column("reset_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_guardrail_trips_account_id")),
        sa.ForeignKeyConstraint(
            ["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_guardrail_trips_live_run_id")
        ),
        sa.PrimaryKeyConstraint("trip_id", name=op.f("pk_guardrail_trips")),
    )
    with op.batch_alter_table("guardrail_trips", schema=None) as batch_op:
        batch_op.create_index("ix_guardrail_trips_account_id_reset_at", ["account_id", "reset_at"], unique=False)

    op.create_table(
        "run_events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("market_time", UtcDateTime(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_run_events_account_id")),
        sa.ForeignKeyConstraint(["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_run_events_live_run_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_run_events")),
    )
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.create_index("ix_run_events_live_run_id_event_id", ["live_run_id", "event_id"], unique=False)

    op.create_table(
        "intent_events",
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("from_state", sa.String(length=20), nullable=False),
        sa.Column("to_state", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["execution_intents.intent_id"], name=op.f("fk_intent_events_intent_id")
        ),
        sa.PrimaryKeyConstraint("intent_id", "seq", name=op.f("pk_intent_events")),
    )
    op.create_table(
        "orders",
        sa.Column("order_pk", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("order_type", sa.String(length=8), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("lots", ExactDecimal(), nullable=True),
        sa.Column("limit_price", ExactDecimal(), nullable=True),
        sa.Column("stop_loss", ExactDecimal(), nullable=True),
        sa.Column("take_profit", ExactDecimal(), nullable=True),
        sa.Column("bid", ExactDecimal(), nullable=True),
        sa.Column("ask", ExactDecimal(), nullable=True),
        sa.Column("quote_at", UtcDateTime(), nullable=True),
        sa.Column("equity", ExactDecimal(), nullable=True),
        sa.Column("projected_profit", ExactDecimal(), nullable=True),
        sa.Column("projected_loss", ExactDecimal(), nullable=True),
        sa.Column("rr_ratio", ExactDecimal(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=True),
        sa.Column("position_id", sa.String(length=64), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=False),
        sa.Column("answered_at", UtcDateTime(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_orders_account_id")),
        sa.ForeignKeyConstraint(["intent_id"], ["execution_intents.intent_id"], name=op.f("fk_orders_intent_id")),
        sa.ForeignKeyConstraint(["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_orders_live_run_id")),
        sa.PrimaryKeyConstraint("order_pk", name=op.f("pk_orders")),
        sa.UniqueConstraint("intent_id", "attempt", name=op.f("uq_orders_intent_id_attempt")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index("ix_orders_account_id_sent_at", ["account_id", "sent_at"], unique=False)

    op.create_table(
        "outbox",
        sa.Column(
            "outbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.String(length=80), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("published_at", UtcDateTime(), nullable=True),
        sa.Column("publish_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_outbox_account_id")),
        sa.ForeignKeyConstraint(["intent_id"], ["execution_intents.intent_id"], name=op.f("fk_outbox_intent_id")),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_account_id_published_at", ["account_id", "published_at"], unique=False)

    op.create_table(
        "platform_events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("platform_id", sa.String(length=80), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("position_id", sa.String(length=64), nullable=True),
        sa.Column("body_json", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_platform_events_account_id")),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["execution_intents.intent_id"], name=op.f("fk_platform_events_intent_id")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_platform_events")),
        sa.UniqueConstraint(
            "account_id", "kind", "platform_id", name=op.f("uq_platform_events_account_id_kind_platform_id")
        ),
    )
    with op.batch_alter_table("platform_events", schema=None) as batch_op:
        batch_op.create_index("ix_platform_events_account_id_position_id", ["account_id", "position_id"], unique=False)
        batch_op.create_index("ix_platform_events_intent_id", ["intent_id"], unique=False)

    op.create_table(
        "trades",
        sa.Column("trade_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("position_id", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("lots", ExactDecimal(), nullable=False),
        sa.Column("open_lots", ExactDecimal(), nullable=False),
        sa.Column("entry_time", UtcDateTime(), nullable=False),
        sa.Column("entry_price", ExactDecimal(), nullable=False),
        sa.Column("stop_loss", ExactDecimal(), nullable=True),
        sa.Column("take_profit", ExactDecimal(), nullable=True),
        sa.Column("exit_time", UtcDateTime(), nullable=True),
        sa.Column("exit_price", ExactDecimal(), nullable=True),
        sa.Column("exit_reason", sa.String(length=32), nullable=False),
        sa.Column("profit", ExactDecimal(), nullable=False),
        sa.Column("commission", ExactDecimal(), nullable=False),
        sa.Column("swap", ExactDecimal(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('open', 'closed')", name=op.f("ck_trades_status")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_trades_account_id")),
        sa.ForeignKeyConstraint(["intent_id"], ["execution_intents.intent_id"], name=op.f("fk_trades_intent_id")),
        sa.ForeignKeyConstraint(["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_trades_live_run_id")),
        sa.PrimaryKeyConstraint("trade_id", name=op.f("pk_trades")),
        sa.UniqueConstraint("account_id", "position_id", name=op.f("uq_trades_account_id_position_id")),
    )
    with op.batch_alter_table("trades", schema=None) as batch_op:
        batch_op.create_index("ix_trades_account_id_status", ["account_id", "status"], unique=False)
        batch_op.create_index("ix_trades_live_run_id_entry_time", ["live_run_id", "entry_time"], unique=False)

    op.create_table(
        "live_run_trade_links",
        sa.Column("link_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("live_run_id", sa.Uuid(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("trade_id", sa.Uuid(), nullable=False),
        sa.Column("ticket", sa.String(length=64), nullable=False),
        sa.Column("identifier", sa.String(length=64), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["live_run_id"], ["live_runs.live_run_id"], name=op.f("fk_live_run_trade_links_live_run_id")
        ),
        sa.ForeignKeyConstraint(["trade_id"], ["trades.trade_id"], name=op.f("fk_live_run_trade_links_trade_id")),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_live_run_trade_links")),
        sa.UniqueConstraint("trade_id", name=op.f("uq_live_run_trade_links_trade_id")),
    )
    with op.batch_alter_table("live_run_trade_links", schema=None) as batch_op:
        batch_op.create_index("ix_live_run_trade_links_run_symbol", ["live_run_id", "symbol"], unique=False)


def downgrade() -> None:
    """Go back to the version before."""
    with op.batch_alter_table("live_run_trade_links", schema=None) as batch_op:
        batch_op.drop_index("ix_live_run_trade_links_run_symbol")

    op.drop_table("live_run_trade_links")
    with op.batch_alter_table("trades", schema=None) as batch_op:
        batch_op.drop_index("ix_trades_live_run_id_entry_time")
        batch_op.drop_index("ix_trades_account_id_status")

    op.drop_table("trades")
    with op.batch_alter_table("platform_events", schema=None) as batch_op:
        batch_op.drop_index("ix_platform_events_intent_id")
        batch_op.drop_index("ix_platform_events_account_id_position_id")

    op.drop_table("platform_events")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_account_id_published_at")

    op.drop_table("outbox")
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.drop_index("ix_orders_account_id_sent_at")

    op.drop_table("orders")
    op.drop_table("intent_events")
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.drop_index("ix_run_events_live_run_id_event_id")

    op.drop_table("run_events")
    with op.batch_alter_table("guardrail_trips", schema=None) as batch_op:
        batch_op.drop_index("ix_guardrail_trips_account_id_reset_at")

    op.drop_table("guardrail_trips")
    with op.batch_alter_table("execution_intents", schema=None) as batch_op:
        batch_op.drop_index("ix_execution_intents_live_run_id_state")
        batch_op.drop_index("ix_execution_intents_live_run_id_created_at")
        batch_op.drop_index("ix_execution_intents_account_id_state")

    op.drop_table("execution_intents")
    with op.batch_alter_table("live_runs", schema=None) as batch_op:
        batch_op.drop_index("ix_live_runs_account_id_status")

    op.drop_table("live_runs")
    op.drop_table("equity_marks")
    op.drop_table("bot_versions")
    op.drop_table("account_leases")
    op.drop_table("account_grants")
    op.drop_table("bots")
    op.drop_table("accounts")
    op.drop_table("users")
    op.drop_table("bars_seen")
    op.drop_table("audit")
