"""Faults a venue can be told to show: scripted by the n-th command, or drawn from a seed.

What happens to a command is a pure function of the script and of how many commands the account has received, and that
count is in the journal: a venue that was killed and opened again goes on in the same script.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from toolkit.errors import BadInput, must_be
from toolkit.execution.ports import (
    CancelOrder,
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderType,
    PlatformCommand,
)
from toolkit.market import Side


class FaultKind(StrEnum):
    """What can go wrong with one command."""

    REJECT = "reject"  # refused for good
    REQUOTE = "requote"  # the price moved; nothing was accepted
    MARKET_CLOSED = "market_closed"  # trading is switched off for now
    PARTIAL = "partial"  # only `share` of the volume is filled, the rest is dead
    LATENCY = "latency"  # the venue's clock moves on by `seconds` before it acts
    DISCONNECT = "disconnect"  # the line is cut before the command leaves; reads fail until `reconnect()`
    ANSWER_LOST = "answer_lost"  # carried out, but the answer never arrives
    COMMAND_LOST = "command_lost"  # not carried out, and no answer either
    LATE_ACCEPTANCE = "late_acceptance"  # no answer, and carried out `seconds` later
    MANUAL_CLOSE = "manual_close"  # a person closes the position just before our command arrives
    CUT_COMMENT = "cut_comment"  # the venue keeps only `length` characters of the tag
    CHANGE_TICKET = "change_ticket"  # after the command the position goes on under another ticket
    NO_PROTECTION = "no_protection"  # filled, but the stop and target were not taken over


#: Faults that only make sense for some commands.
_ONLY_FOR: Mapping[FaultKind, frozenset[str]] = {
    FaultKind.PARTIAL: frozenset({"open", "close"}),
    FaultKind.MANUAL_CLOSE: frozenset({"close", "modify"}),
    FaultKind.CUT_COMMENT: frozenset({"open"}),
    FaultKind.NO_PROTECTION: frozenset({"open"}),
}


def command_kind(command: PlatformCommand) -> str:
    """Return ``open``, ``close``, ``modify`` or ``cancel``."""
    if isinstance(command, OpenOrder):
        return "open"
    if isinstance(command, ClosePosition):
        return "close"
    return "modify" if isinstance(command, ModifyProtection) else "cancel"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, at the ``at``-th command (counted from 1) of the kind ``on``, and at the ``times - 1`` after it.

    Attributes
    ----------
    on
        ``open``, ``close``, ``modify``, ``cancel`` or ``any``; the count is of that kind.
    seconds
        For latency and late acceptance, on the venue's clock.
    share
        For a partial fill: the part of the volume filled, rounded down to the volume step, at least one step.
    length
        For a cut comment: characters kept.
    """

    kind: FaultKind
    on: str = "any"
    at: int = 1
    times: int = 1
    seconds: float = 0.0
    share: Decimal = Decimal("0.5")
    length: int = 16

    def __post_init__(self) -> None:
        if self.on not in ("any", "open", "close", "modify", "cancel"):
            raise BadInput(must_be("on", "open, close, modify, cancel or any", self.on, "name the kind of command"))
        if self.at < 1 or self.times < 1:
            raise BadInput(must_be("at and times", "1 or more", (self.at, self.times), "commands count from 1"))


@dataclass(frozen=True, slots=True)
class FaultScript:
    """All faults of a venue.

    Attributes
    ----------
    faults
        Scripted faults; the first that applies to a command wins.
    seed, rates
        With a seed, a command without a scripted fault meets one of ``rates`` (kind -> probability), drawn from the
        seed and the command's number alone.
    wrong_side
        Plant: fills happen on the wrong side of the spread (the demo's ``fill_side``).
    extra_slippage_points
        Plant: every market fill is worse by that many points than the account says (the demo's ``slippage``).
    """

    faults: Sequence[Fault] = ()
    seed: int | None = None
    rates: Mapping[FaultKind, float] = field(default_factory=dict)
    wrong_side: bool = False
    extra_slippage_points: int = 0

    def pick(self, kind: str, counts: Mapping[str, int]) -> Fault | None:
        """Return the fault for a command of that kind.

        Parameters
        ----------
        kind
            As `command_kind` gives it.
        counts
            Commands received so far by kind and under ``any``, this one included.
        """
        for fault in self.faults:
            if fault.on in ("any", kind) and fault.at <= counts.get(fault.on, 0) < fault.at + fault.times:
                return fault
        if self.seed is None or not self.rates:
            return None
        draw = random.Random(f"{self.seed}:{counts.get('any', 0)}")  # noqa: S311
        point = draw.random()
        for what, rate in sorted(self.rates.items()):
            if kind not in _ONLY_FOR.get(what, frozenset({kind})):
                continue
            if point < rate:
                return Fault(
                    what, seconds=draw.choice((1.0, 5.0, 30.0, 600.0)), share=Decimal(draw.randrange(1, 10)) / 10
                )
            point -= rate
        return None


def encode_command(command: PlatformCommand) -> str:
    """Return the command as canonical JSON, for the journal's list of late commands."""

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(f"cannot journal {type(value).__name__}")

    body = {"kind": command_kind(command), **asdict(command)}
    return json.dumps(body, default=plain, sort_keys=True, separators=(",", ":"))


def decode_command(text: str) -> PlatformCommand:
    """Return the command that `encode_command` wrote."""
    body = json.loads(text)
    kind = body.pop("kind")
    tag = ClientTag(**body.pop("tag"))

    def number(name: str) -> Decimal | None:
        return None if body[name] is None else Decimal(body[name])

    if kind == "open":
        expires = body["expires_at"]
        return OpenOrder(
            tag=tag,
            symbol=body["symbol"],
            side=Side(body["side"]),
            order_type=OrderType(body["order_type"]),
            lots=Decimal(body["lots"]),
            limit_price=number("limit_price"),
            stop_loss=number("stop_loss"),
            take_profit=number("take_profit"),
            expires_at=None if expires is None else datetime.fromisoformat(expires),
            max_deviation_points=body["max_deviation_points"],
        )
    if kind == "close":
        return ClosePosition(tag=tag, position_id=body["position_id"], lots=number("lots"), reason=body["reason"])
    if kind == "modify":
        return ModifyProtection(
            tag=tag, position_id=body["position_id"], stop_loss=number("stop_loss"), take_profit=number("take_profit")
        )
    return CancelOrder(tag=tag, order_id=body["order_id"])
