"""What execution asks of a trading platform and of a gateway, as small protocols.

A platform adapter is the sum of four of them (`TradingPlatform`). All speak in the toolkit's own records: prices, lots and
money are ``Decimal``, moments are aware UTC. An adapter converts the platform's clock and units at its edge and maps
every order answer to one `Outcome`; an ambiguous answer is a value (``UNKNOWN``), never an exception, because a caller that
sees an exception is tempted to send again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from toolkit.market import Bars, Instrument, Quote, Rate, Side

if TYPE_CHECKING:
    from uuid import UUID


class Outcome(StrEnum):
    """The seven classes of an order answer (reference: the retcode policy in docs/platforms.md)."""

    DONE = "DONE"  # executed; record the fills from the deals
    PARTIAL = "PARTIAL"  # executed in part, the rest is dead
    WORKING = "WORKING"  # accepted, not executed yet; poll, never send again
    UNKNOWN = "UNKNOWN"  # may or may not have been accepted; reconcile only
    NOT_ACCEPTED = "NOT_ACCEPTED"  # provably not accepted; may be sent again, bounded, with a fresh quote
    WAIT = "WAIT"  # trading is closed or switched off; trip the breaker, expire the intent
    FINAL = "FINAL"  # refused for good
    ALREADY = "ALREADY"  # what was asked for is already so


class OrderType(StrEnum):
    """How an entry is to be executed."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class ClientTag:
    """What lets us find our own order again at the platform.

    Attributes
    ----------
    text
        28 characters, derived from the idempotency key; goes into MT5's comment or cTrader's clientOrderId.
    magic
        Positive 63-bit number derived from the same key; MT5's magic.
    label
        The LiveRun's id or empty; cTrader's label.
    """

    text: str
    magic: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """Open a position or place a pending order."""

    tag: ClientTag
    symbol: str
    side: Side
    order_type: OrderType
    lots: Decimal
    limit_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    expires_at: datetime | None = None
    max_deviation_points: int = 0


@dataclass(frozen=True, slots=True)
class ClosePosition:
    """Close a position, or that part of it; pinned to the position, never an opposite order."""

    tag: ClientTag
    position_id: str
    lots: Decimal | None = None
    reason: str = "signal"


@dataclass(frozen=True, slots=True)
class SentClose:
    """A close that was sent and of which nobody knows yet whether it was carried out; ``leaves`` is what was to remain."""

    tag: ClientTag
    position_id: str
    leaves: Decimal
    reason: str
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class ModifyProtection:
    """Set the stop and the target of a position to absolute prices; None removes the level."""

    tag: ClientTag
    position_id: str
    stop_loss: Decimal | None
    take_profit: Decimal | None


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel a working pending order."""

    tag: ClientTag
    order_id: str


PlatformCommand = OpenOrder | ClosePosition | ModifyProtection | CancelOrder


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The platform's answer to one command, already classed."""

    outcome: Outcome
    order_id: str | None = None
    position_id: str | None = None
    deal_ids: tuple[str, ...] = ()
    filled_lots: Decimal = Decimal(0)
    price: Decimal | None = None
    protected: bool = True  # False: filled, but the stop is not confirmed at the platform yet
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """The account as the platform shows it."""

    login: str
    server: str
    environment: Literal["paper", "demo", "real"]
    currency: str
    balance: Decimal
    equity: Decimal
    margin: Decimal
    hedging: bool
    connected: bool
    trading_allowed: bool
    as_of: datetime
    fifo_close: bool = False


@dataclass(frozen=True, slots=True)
class PlatformPosition:
    """An open position. ``position_id`` stays for life, ``ticket`` is what a command needs and may change (MT5)."""

    position_id: str
    ticket: str
    symbol: str
    side: Side
    lots: Decimal
    open_price: Decimal
    opened_at: datetime
    stop_loss: Decimal | None
    take_profit: Decimal | None
    swap: Decimal
    profit: Decimal
    tag_text: str = ""
    magic: int = 0
    label: str = ""


OrderState = Literal["working", "filled", "partial", "cancelled", "expired", "rejected"]


@dataclass(frozen=True, slots=True)
class PlatformOrder:
    """An order at the platform, working or done."""

    order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    lots: Decimal
    filled_lots: Decimal
    state: OrderState
    placed_at: datetime
    limit_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    expires_at: datetime | None = None
    position_id: str | None = None
    tag_text: str = ""
    magic: int = 0
    label: str = ""


@dataclass(frozen=True, slots=True)
class PlatformDeal:
    """One execution. ``entry`` tells whether it opened, closed or (netting) turned a position."""

    deal_id: str
    order_id: str
    position_id: str
    symbol: str
    side: Side
    entry: Literal["in", "out", "inout"]
    lots: Decimal
    price: Decimal
    profit: Decimal
    commission: Decimal
    swap: Decimal
    at: datetime
    reason: str = ""  # stop_loss take_profit signal reverse stop_out manual flatten, or "" on entries
    tag_text: str = ""
    magic: int = 0
    label: str = ""
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """One complete read of what the platform holds for the account; a partial read raises ReadFailed instead."""

    account: AccountSnapshot
    positions: tuple[PlatformPosition, ...]
    orders: tuple[PlatformOrder, ...]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class History:
    """Orders that ended and deals made within a span, complete."""

    orders: tuple[PlatformOrder, ...] = ()
    deals: tuple[PlatformDeal, ...] = field(default=())


class PlatformSession(Protocol):
    """A connection to one account."""

    name: str  # "simulated" | "metatrader5" | "ctrader"

    def connect(self) -> AccountSnapshot:
        """Open the session and return the account; WrongAccount when it is not the one configured."""

    def close(self) -> None:
        """End the session; safe to call twice."""

    def now(self) -> datetime:
        """Return the platform's clock, in UTC."""


class MarketData(Protocol):
    """What the platform knows of symbols and prices."""

    def instrument(self, symbol: str) -> Instrument:
        """Return the contract facts of the symbol as the platform states them; UnknownSymbol when it has none."""

    def quote(self, symbol: str) -> Quote:
        """Return the current bid and ask with their moment (``ts``)."""

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Bars:
        """Return closed bars whose open is later than ``after``, oldest first, at most ``limit``."""


class ConversionRates(Protocol):
    """Optional: a platform that knows its own conversion rates (the paper platform, exactly as the backtest does)."""

    def conversion_rate(self, frm: str, to: str) -> Rate:
        """Return the platform's rate of the moment between two currencies; ConversionRateMissing when it has none."""


class TickValues(Protocol):
    """Optional: a platform that states what a point is worth (MT5's tick value)."""

    def point_value(self, symbol: str) -> Decimal | None:
        """Return the value of one point of one lot in account currency as the platform states it, or None."""


class PositionBook(Protocol):
    """What the platform holds for us."""

    def book(self) -> Book:
        """Return account, positions and working orders in one complete read; ReadFailed otherwise."""

    def history(self, since: datetime, until: datetime) -> History:
        """Return ended orders and deals of the span (platform clock, UTC), complete; ReadFailed otherwise."""


@runtime_checkable
class DealsByPosition(Protocol):
    """Optional: a platform that can be asked for the deals of one position."""

    def deals_of(self, position_id: str) -> tuple[PlatformDeal, ...]:
        """Return the deals of one position, oldest first, complete; ReadFailed otherwise."""


@runtime_checkable
class DealsInOrder(Protocol):
    """Optional: a platform whose deals are numbered in the order they were booked, so that none can slip in behind."""

    def deals_after(self, deal_id: str | None) -> tuple[PlatformDeal, ...]:
        """Return the deals booked after that one (all of them for None), in order, complete; ReadFailed otherwise."""


@runtime_checkable
class ClosesUntagged(Protocol):
    """Optional: a platform that keeps neither tag nor reason of a close, and must be told which ones to recognise."""

    def expect_closes(self, closes: Sequence[SentClose]) -> None:
        """Take note of closes that an earlier session may have sent, before its history is read."""


class OrderDesk(Protocol):
    """Where commands go."""

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command; every ambiguous answer comes back as ``Outcome.UNKNOWN``, nothing raises after the send."""

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        """Return the platform's own calculation of a profit, in account currency."""

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        """Return the margin that the platform would block, in account currency."""


class TradingPlatform(PlatformSession, MarketData, PositionBook, OrderDesk, Protocol):
    """A trading platform as the toolkit sees it: one account, one session."""


class ReplayVenue(Protocol):
    """A platform whose clock is moved by us (the paper platform during a replay)."""

    def advance_clock_to(self, moment: datetime) -> int:
        """Move the venue's clock forward, executing what falls due on the way; return how many new deals there are.

        Idempotent: a moment that is not later than the clock changes nothing and returns 0.
        """

    def first_touch(self, until: datetime) -> datetime | None:
        """Return the moment up to which the clock must move for something to fall due, None when nothing does by then."""


class ExecutionGateway(Protocol):
    """Carries intents that are already durable to the TradeService of their account."""

    name: str  # "local" | "redis" | "rabbitmq" | "kafka"

    def deliver(self, account_id: UUID) -> Sequence[UUID]:
        """Hand over what the outbox holds for the account, in order; return the intents handed over."""


class ServiceWatch(Protocol):
    """Who is told what a TradeService does, for logs and metrics; it must not raise and decides nothing."""

    def executing(self, intent_id: UUID, live_run_id: UUID | None, signal_id: str) -> AbstractContextManager[None]:
        """Surround the carrying out of one intent."""

    def carried_out(self, action: str, state: str, reason: str, attempt: int) -> None:
        """Tell where an intent stands after a call."""

    def sent(self, platform: str, outcome: str, seconds: float, *, attempt: int, waited_seconds: float) -> None:
        """Tell how the platform answered one command, after how long, and how long the intent had waited before."""

    def lease_stolen(self) -> None:
        """Tell that the account was taken over from a worker that did not give it back."""


class NoWatch:
    """Tells nobody."""

    def executing(self, intent_id: UUID, live_run_id: UUID | None, signal_id: str) -> AbstractContextManager[None]:
        """Surround nothing."""
        return nullcontext()

    def carried_out(self, action: str, state: str, reason: str, attempt: int) -> None:
        """Do nothing."""

    def sent(self, platform: str, outcome: str, seconds: float, *, attempt: int, waited_seconds: float) -> None:
        """Do nothing."""

    def lease_stolen(self) -> None:
        """Do nothing."""
