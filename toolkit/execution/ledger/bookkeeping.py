"""From deals to trades: a trade is always computed again from all deals of its position, so booking twice changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from toolkit.execution.ledger.records import (
    ZERO,
    IntentRecord,
    LinkRecord,
    PlatformEventRecord,
    TradeRecord,
)
from toolkit.execution.ledger.results import trade_result
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ports import PlatformDeal
from toolkit.execution.request import request_from_json
from toolkit.market import Side

_DECIMALS = frozenset({"lots", "price", "profit", "commission", "swap", "stop_loss", "take_profit"})


def deal_to_json(deal: PlatformDeal) -> str:
    """Return a deal as JSON, exact."""
    body: dict[str, Any] = {}
    for f in fields(deal):
        value = getattr(deal, f.name)
        if isinstance(value, Decimal):
            value = format(value, "f")
        elif isinstance(value, datetime):
            value = value.isoformat()
        body[f.name] = value
    return json.dumps(body, separators=(",", ":"))


def deal_from_json(text: str) -> PlatformDeal:
    """Read a deal back."""
    body = json.loads(text)
    for name in _DECIMALS:
        if body[name] is not None:
            body[name] = Decimal(body[name])
    body["side"] = Side(body["side"])
    body["at"] = datetime.fromisoformat(body["at"])
    return PlatformDeal(**body)


@dataclass(frozen=True, slots=True)
class PositionTotals:
    """What all deals of one position add up to."""

    lots: Decimal
    open_lots: Decimal
    entry_time: datetime
    entry_price: Decimal
    exit_time: datetime | None
    exit_price: Decimal | None
    exit_reason: str
    profit: Decimal
    commission: Decimal
    swap: Decimal


def add_up(deals: Iterable[PlatformDeal]) -> PositionTotals | None:
    """Add up the deals of one position; None when its opening deal is not among them.

    Prices of several deals are averaged by volume. A position whose volume is gone took its reason from the last exit.
    """
    ordered = sorted(deals, key=lambda d: (d.at, d.entry != "in", len(d.deal_id), d.deal_id))
    opened = [d for d in ordered if d.entry == "in"]
    closed = [d for d in ordered if d.entry != "in"]
    if not opened:
        return None
    lots = sum((d.lots for d in opened), ZERO)
    gone = sum((d.lots for d in closed), ZERO)
    last = closed[-1] if closed else None
    return PositionTotals(
        lots=lots,
        open_lots=max(lots - gone, ZERO),
        entry_time=opened[0].at,
        entry_price=average_price(opened),
        exit_time=None if last is None else last.at,
        exit_price=average_price(closed) if closed else None,
        exit_reason="" if last is None else last.reason,
        profit=sum((d.profit for d in ordered), ZERO),
        commission=sum((d.commission for d in ordered), ZERO),
        swap=sum((d.swap for d in ordered), ZERO),
    )


def average_price(deals: Sequence[PlatformDeal]) -> Decimal:
    """Return the price of several deals, weighted by volume."""
    if len(deals) == 1 or len({d.price for d in deals}) == 1:
        return deals[0].price
    lots = sum((d.lots for d in deals), ZERO)
    return sum((d.price * d.lots for d in deals), ZERO) / lots


@dataclass(frozen=True, slots=True)
class TradeChange:
    """What booking did to one trade; ``before`` is None when it was opened."""

    before: TradeRecord | None
    after: TradeRecord

    @property
    def opened(self) -> bool:
        """Whether the trade is new."""
        return self.before is None

    @property
    def closed(self) -> bool:
        """Whether this booking closed it."""
        return self.after.status == "closed" and (self.before is None or self.before.status == "open")

    @property
    def reduced(self) -> bool:
        """Whether some volume, not all, went."""
        return self.before is not None and self.after.status == "open" and self.after.open_lots < self.before.open_lots


def book_deals(
    work: Transaction,
    deals: Sequence[PlatformDeal],
    owners: Sequence[IntentRecord],
    *,
    account_id: Any,
    seen_at: datetime,
) -> tuple[list[TradeChange], list[PlatformDeal]]:
    """Store deals that are new and bring the trades of their positions up to date, inside the caller's transaction.

    Parameters
    ----------
    deals
        As the platform gave them; known ones are skipped.
    owners
        Intents whose tag may be on one of the deals; they decide to whom a new position belongs.

    Returns
    -------
    tuple
        What changed, and the new deals that belong to nobody of ours (foreign; listed, never touched).
    """
    by_tag = {i.client_tag: i for i in owners}
    by_magic = {i.magic: i for i in owners}
    by_order = {i.order_id: i for i in owners if i.order_id}
    fresh: dict[str, list[PlatformDeal]] = {}
    for deal in deals:
        owner = (
            by_tag.get(deal.tag_text)
            or (by_magic.get(deal.magic) if deal.magic else None)
            or by_order.get(deal.order_id)
        )
        deal = _with_reason(deal, owner)
        event = PlatformEventRecord(
            account_id=account_id,
            kind="deal",
            platform_id=deal.deal_id,
            intent_id=None if owner is None else owner.intent_id,
            position_id=deal.position_id,
            body_json=deal_to_json(deal),
            at=deal.at,
            seen_at=seen_at,
        )
        if work.add_platform_event(event):
            fresh.setdefault(deal.position_id, []).append(deal)
    changes: list[TradeChange] = []
    foreign: list[PlatformDeal] = []
    for position_id, new in fresh.items():
        trade = work.trade_of_position(account_id, position_id)
        known = new
        if trade is not None or not any(d.entry == "in" for d in new):
            known = [deal_from_json(body) for body in work.deal_bodies(account_id, position_id)]
        first = next((d for d in known if d.entry == "in"), None)
        opener = None
        if first is not None:
            opener = by_tag.get(first.tag_text) or (by_magic.get(first.magic) if first.magic else None)
            opener = opener or by_order.get(first.order_id)
        totals = add_up(known)
        if totals is None or (trade is None and (opener is None or not opener.action.is_entry)):
            foreign.extend(new)
            continue
        changes.append(_write_trade(work, trade, opener, position_id, known, totals, seen_at))
    return changes, foreign


def _with_reason(deal: PlatformDeal, owner: IntentRecord | None) -> PlatformDeal:
    """Return an exit's deal with the reason its intent gives: a server knows only that a program closed the position."""
    if owner is None or owner.action.is_entry or deal.entry == "in" or deal.reason != "signal":
        return deal
    asked = request_from_json(owner.action.value, owner.payload_json).metadata.reason
    return replace(deal, reason=asked or deal.reason)


def _write_trade(
    work: Transaction,
    trade: TradeRecord | None,
    opener: IntentRecord | None,
    position_id: str,
    deals: Sequence[PlatformDeal],
    totals: PositionTotals,
    seen_at: datetime,
) -> TradeChange:
    first = next(d for d in deals if d.entry == "in")
    done = totals.open_lots == 0
    common: dict[str, Any] = {
        "status": "closed" if done else "open",
        "lots": totals.lots,
        "open_lots": totals.open_lots,
        "entry_time": totals.entry_time,
        "entry_price": totals.entry_price,
        "exit_time": totals.exit_time if done else None,
        "exit_price": totals.exit_price if done else None,
        "exit_reason": totals.exit_reason if done else "",
        "profit": totals.profit,
        "commission": totals.commission,
        "swap": totals.swap,
        "updated_at": seen_at,
    }
    if trade is None:
        if opener is None:  # pragma: no cover - the caller checks
            raise AssertionError("a trade needs the intent that opened it")
        after = TradeRecord(
            trade_id=uuid4(),
            account_id=opener.account_id,
            live_run_id=opener.live_run_id,
            intent_id=opener.intent_id,
            position_id=position_id,
            symbol=first.symbol,
            side=first.side,
            stop_loss=first.stop_loss,
            take_profit=first.take_profit,
            **common,
        )
    else:
        after = replace(trade, **common)
    work.put_trade(after)
    work.add_result(after.account_id, after.intent_id, trade_result(after, seen_at), seen_at)
    if trade is None and after.live_run_id is not None:
        work.add_link(
            LinkRecord(
                live_run_id=after.live_run_id,
                symbol=after.symbol,
                side=after.side,
                trade_id=after.trade_id,
                ticket=position_id,
                identifier=position_id,
                opened_at=after.entry_time,
            )
        )
    if after.live_run_id is not None:
        delta = after.booked - (ZERO if trade is None else trade.booked)
        work.add_realised(after.live_run_id, delta, 1 if trade is None else 0, seen_at)
    return TradeChange(trade, after)
