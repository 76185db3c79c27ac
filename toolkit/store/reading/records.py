"""What the read side returns: frozen rows for pages, notebooks and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One LiveRun as a list shows it.

    Attributes
    ----------
    realised
        Profit of the run's closed trades after commission and swap, and what open ones have booked, account currency.
    unresolved_intents
        Intents in UNKNOWN or ABANDONED: a human may have to look.
    trips
        Rules of the guardrails in force now.
    open_profit
        Of the open positions at the last known price; None when no price is known here.
    day_base
        Equity at the first bar open of the platform's day; None before the run's first day was marked, or not asked for.
    drift
        Profit gap between the run and its model when it was last measured; None before, or when not asked for.
    spark
        Realised profit after each of its latest closed trades, for a small picture; empty when not asked for.
    """

    live_run_id: UUID
    bot: str
    version_number: int
    version_hash: str
    account_id: UUID
    account: str
    platform: str
    environment: str
    currency: str
    symbols: tuple[str, ...]
    timeframe: str
    stage: str
    status: str
    last_error: str
    host: str
    capital: Decimal
    realised: Decimal
    closed_trades: int
    open_positions: int
    unresolved_intents: int
    trips: tuple[str, ...]
    halted: bool
    cursor: datetime | None
    bars_count: int
    signals_count: int
    intents_count: int
    fills_count: int
    refused_count: int
    heartbeat_at: datetime | None
    last_action_at: datetime | None
    last_action: str
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    open_profit: Decimal | None = None
    day_base: Decimal | None = None
    spark: tuple[float, ...] = ()
    drift: Decimal | None = None

    @property
    def day_profit(self) -> Decimal | None:
        """Equity gained since the platform's day began; None when its base is not known."""
        return None if self.day_base is None else self.equity - self.day_base

    @property
    def equity(self) -> Decimal:
        """``capital`` plus realised plus open profit; without a price (`marked` is False) the open profit is left out."""
        return self.capital + self.realised + (self.open_profit or Decimal(0))

    @property
    def marked(self) -> bool:
        """Whether `equity` includes the profit of every open position."""
        return self.open_positions == 0 or self.open_profit is not None

    @property
    def needs_attention(self) -> bool:
        """Whether a human should look at this run before the others."""
        return self.status == "ERROR" or self.unresolved_intents > 0 or bool(self.trips) or self.halted

    def heartbeat_age_seconds(self, now: datetime) -> float | None:
        """Return how long ago the run last said that it lives; None if it never did."""
        return None if self.heartbeat_at is None else (now - self.heartbeat_at).total_seconds()


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What belongs to one run and does not change: its version, feed and rules."""

    live_run_id: UUID
    bot: str
    version_number: int
    version_hash: str
    spec_json: str
    note: str
    evidence_json: str
    version_guards_json: str
    instruments_json: str
    guards_json: str
    options_json: str
    feed_json: str


@dataclass(frozen=True, slots=True)
class IntentRow:
    """An intent and how far it got. ``latency_ms`` is from the send to the platform's answer, on our monotonic clock."""

    intent_id: UUID
    live_run_id: UUID | None
    account_id: UUID
    account: str
    action: str
    symbol: str
    side: str
    state: str
    bar_time: datetime | None
    lots: Decimal | None
    filled_lots: Decimal
    average_price: Decimal | None
    reason: str
    attempt: int
    latency_ms: int | None
    payload_json: str
    created_at: datetime
    updated_at: datetime

    @property
    def total_ms(self) -> float:
        """Milliseconds from the row's birth to its latest change of state."""
        return (self.updated_at - self.created_at).total_seconds() * 1000.0


@dataclass(frozen=True, slots=True)
class IntentStep:
    """One change of state of an intent."""

    seq: int
    from_state: str
    to_state: str
    actor: str
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A position from its first fill to its last exit; money in account currency."""

    trade_id: UUID
    live_run_id: UUID | None
    account_id: UUID
    symbol: str
    side: str
    status: str
    lots: Decimal
    open_lots: Decimal
    entry_time: datetime
    entry_price: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    exit_time: datetime | None
    exit_price: Decimal | None
    exit_reason: str
    profit: Decimal
    commission: Decimal
    swap: Decimal
    updated_at: datetime
    position_id: str = ""

    @property
    def net(self) -> Decimal:
        """Profit after commission and swap."""
        return self.profit + self.commission + self.swap


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened in a run, in words."""

    event_id: int
    live_run_id: UUID | None
    account_id: UUID | None
    kind: str
    level: str
    message: str
    data: dict[str, Any]
    market_time: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """Equity of a run at the platform's midnight, with the highest so far."""

    day: datetime
    equity: Decimal
    peak: Decimal


@dataclass(frozen=True, slots=True)
class TripRow:
    """A guardrail that denied an entry; in force until ``until`` (platform clock) or a reset."""

    trip_id: UUID
    account_id: UUID
    account: str
    live_run_id: UUID | None
    rule: str
    symbol: str
    reason: str
    tripped_at: datetime
    until: datetime | None
    denied_count: int
    reset_at: datetime | None
    reset_by: str

    def in_force(self, platform_now: datetime | None) -> bool:
        """Whether the rule still denies entries at that moment of the platform's clock."""
        if self.reset_at is not None:
            return False
        return self.until is None or platform_now is None or platform_now < self.until


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account, without anything secret."""

    account_id: UUID
    name: str
    owner: str
    platform: str
    login: str
    server: str
    currency: str
    environment: str
    gateway: str
    armed_until: datetime | None
    halted_at: datetime | None
    halted_by: str
    halt_reason: str
    lease_owner: str
    lease_until: datetime | None
    running: int
    open_positions: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A bot version and where it stands."""

    bot_version_id: UUID
    bot: str
    number: int
    version_hash: str
    spec_hash: str
    spec_json: str
    guards_json: str
    note: str
    created_at: datetime
    runs: int


@dataclass(frozen=True, slots=True)
class SystemState:
    """The installation at a glance."""

    outbox_depth: int
    oldest_undelivered: datetime | None
    intents_by_state: dict[str, int]
    runs_by_status: dict[str, int]
    leases: tuple[tuple[str, str, datetime | None], ...]  # account, owner, until
