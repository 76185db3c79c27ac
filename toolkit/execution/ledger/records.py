"""The rows of execution as frozen records; every field is named as its column, so a store maps them without a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ports import ClientTag
from toolkit.market import Side

ZERO = Decimal(0)
# What a row of the outbox is: a pointer to an intent, or what came of one.
POINTERS = "trade.intents.v1"
RESULTS = "trade.results"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRecord:
    """One row of ``execution_intents``; see the model for the meaning of each field."""

    intent_id: UUID
    account_id: UUID
    live_run_id: UUID | None
    action: Action
    symbol: str
    side: Side
    signal_id: str
    bar_time: datetime | None
    ordinal: int
    payload_json: str
    payload_hash: str
    idempotency_key: str
    client_tag: str
    magic: int
    lots: Decimal | None
    sl_policy: str
    terms: Mapping[str, Any]
    valid_until: datetime | None
    created_by: UUID
    created_at: datetime
    updated_at: datetime
    state: IntentState = IntentState.NEW
    attempt: int = 0
    token: int = 0
    lease_owner: str = ""
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    unknown_since: datetime | None = None
    empty_reads: int = 0
    order_id: str | None = None
    position_id: str | None = None
    filled_lots: Decimal = ZERO
    average_price: Decimal | None = None
    reason: str = ""
    version: int = 0
    not_before: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether it is an exit that the platform would not take and that is sent again at ``not_before``."""
        return self.state is IntentState.NEW and self.not_before is not None

    @property
    def tag(self) -> ClientTag:
        """What identifies our order at the platform."""
        return ClientTag(self.client_tag, self.magic, "" if self.live_run_id is None else str(self.live_run_id))

    @property
    def was_sent(self) -> bool:
        """Whether the platform may ever have heard of it."""
        return self.attempt > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentEventRecord:
    """One change of state; ``seq`` equals the intent's version after it."""

    intent_id: UUID
    seq: int
    from_state: str
    to_state: str
    actor: str
    token: int
    at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who may act on an account; ``token`` only grows."""

    account_id: UUID
    owner: str
    token: int
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRecord:
    """A pointer or a result that waits to be handed over."""

    outbox_id: int
    account_id: UUID
    intent_id: UUID
    topic: str
    idempotency_key: str
    body: str
    created_at: datetime
    published_at: datetime | None = None
    publish_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """What was sent and what came back; its projections are the record."""

    order_pk: UUID
    intent_id: UUID
    account_id: UUID
    live_run_id: UUID | None
    attempt: int
    action: Action
    order_type: str
    symbol: str
    side: Side
    lots: Decimal | None
    limit_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    quote_at: datetime | None
    equity: Decimal | None
    projected_profit: Decimal | None
    projected_loss: Decimal | None
    rr_ratio: Decimal | None
    sent_at: datetime
    outcome: str = ""
    code: str = ""
    message: str = ""
    order_id: str | None = None
    position_id: str | None = None
    answered_at: datetime | None = None
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRecord:
    """A position of ours from its first fill to its last exit."""

    trade_id: UUID
    account_id: UUID
    live_run_id: UUID | None
    intent_id: UUID
    position_id: str
    symbol: str
    side: Side
    status: str
    lots: Decimal
    open_lots: Decimal
    entry_time: datetime
    entry_price: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    updated_at: datetime
    exit_time: datetime | None = None
    exit_price: Decimal | None = None
    exit_reason: str = ""
    profit: Decimal = ZERO
    commission: Decimal = ZERO
    swap: Decimal = ZERO

    @property
    def booked(self) -> Decimal:
        """Profit, commission and swap booked so far, in account currency."""
        return self.profit + self.commission + self.swap


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """Which run a position belongs to."""

    live_run_id: UUID
    symbol: str
    side: Side
    trade_id: UUID
    ticket: str
    identifier: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformEventRecord:
    """A deal or order seen at the platform."""

    account_id: UUID
    kind: str
    platform_id: str
    intent_id: UUID | None
    position_id: str | None
    body_json: str
    at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TripRecord:
    """A guardrail that denied an entry."""

    trip_id: UUID
    account_id: UUID
    live_run_id: UUID | None
    rule: str
    symbol: str
    reason: str
    tripped_at: datetime
    until: datetime | None
    denied_count: int = 1
    reset_at: datetime | None = None
    reset_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityMarkRecord:
    """Equity at the start of the platform's day, and the highest since; ``scope`` is "account" or a run's id."""

    account_id: UUID
    scope: str
    day: datetime
    base_equity: Decimal
    peak_equity: Decimal
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEventRecord:
    """What people are told about a run."""

    live_run_id: UUID | None
    account_id: UUID | None
    intent_id: UUID | None
    kind: str
    level: str
    message: str
    market_time: datetime | None
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """What execution needs to know of an account."""

    account_id: UUID
    owner_id: UUID
    currency: str
    environment: str
    gateway: str
    login: str
    server: str
    armed_until: datetime | None
    halted_at: datetime | None
    halt_reason: str
    book_synced_until: datetime | None
    guards_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What execution needs to know of a LiveRun. ``realised`` is what its trades have booked so far."""

    live_run_id: UUID
    account_id: UUID
    owner_id: UUID
    status: str
    stage: str
    capital: Decimal
    realised: Decimal
    guards_json: str
