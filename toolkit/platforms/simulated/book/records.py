"""The venue's own records, in integers: points, steps of volume, minor units of money, nanoseconds.

They never leave the package; `toolkit.platforms.simulated.book.views` turns them into the records of ``execution.ports``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.execution.ports import OrderState, OrderType


@dataclass(slots=True)
class Position:
    """An open position.

    ``cost`` is the sum of price points times steps over the fills that made it, so that averaging (netting) and
    partial closes stay exact: what a partial close takes away, the rest no longer has. ``margin`` is what its entries
    block, ``paid_day`` the platform day up to whose beginning its swap is booked.
    """

    position_id: int
    ticket: int
    symbol: str
    sign: int
    steps: int
    cost: int
    opened_ns: int
    stop_points: int = 0  # 0: none
    target_points: int = 0  # 0: none
    swap: int = 0
    tag: str = ""
    magic: int = 0
    label: str = ""
    margin: int = 0
    paid_day: int = 0

    @property
    def open_points(self) -> int:
        """Average open price in points, rounded half up."""
        return (2 * self.cost + self.steps) // (2 * self.steps)


@dataclass(slots=True)
class Order:
    """An order, working or done. ``sent_tag`` is the tag as it was sent, ``tag`` as the venue shows it (may be cut)."""

    order_id: int
    action: str  # "open" | "close" | "exit" (made by the venue: stop, target, stop-out, a person)
    symbol: str
    sign: int
    order_type: OrderType
    steps: int
    filled_steps: int
    state: OrderState
    placed_ns: int
    done_ns: int = 0
    price_points: int = 0
    stop_points: int = 0
    target_points: int = 0
    expires_ns: int = 0
    position_id: int = 0
    tag: str = ""
    sent_tag: str = ""
    magic: int = 0
    label: str = ""


@dataclass(slots=True)
class Deal:
    """One execution, with the money it moved (minor units of the account currency)."""

    deal_id: int
    order_id: int
    position_id: int
    symbol: str
    sign: int
    entry: str  # "in" | "out" | "inout"
    steps: int
    price_points: int
    profit: int
    commission: int
    swap: int
    at_ns: int
    reason: str = ""
    tag: str = ""
    magic: int = 0
    label: str = ""
    stop_points: int = 0
    target_points: int = 0


@dataclass(slots=True)
class LateCommand:
    """A command that was answered "unknown" and will be carried out later (fault "late acceptance")."""

    sequence: int
    due_ns: int
    command: str  # canonical JSON, see faults.encode_command


@dataclass(slots=True)
class VenueState:
    """Everything the venue remembers of one account."""

    clock_ns: int = 0
    balance: int = 0
    next_id: int = 1
    sends: dict[str, int] = field(default_factory=dict)  # commands received, by kind and "any"
    positions: dict[int, Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)  # working ones
    quotes: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # pushed: bid points, ask points, ns
    late: list[LateCommand] = field(default_factory=list)
