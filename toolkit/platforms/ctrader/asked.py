"""Whose a close was: the server keeps neither a tag nor a reason of one, so it is told by what is known here.

A close whose order was heard of is known by it. One that was written and never answered is open-ended: its order is found
by evidence, an order that closed the same position at market, not before it was sent, and asked for exactly as much as leads
to what was to remain. Of the open ends of an earlier process the engine tells (`ClosesUntagged`), for they are in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from toolkit.execution.ports import ClientTag, ClosePosition, SentClose

_KEPT = 10_000
#: How far the machine's clock may have been ahead of the server's when the close was sent.
_CLOCKS_APART = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the server remembers of an order that closed a position at market.

    Attributes
    ----------
    would_leave
        What would have remained of the position had the order been filled whole.
    """

    order_id: int
    position_id: int
    placed_at: datetime
    would_leave: Decimal


class Asked:
    """Our closes: by their order once it is known, by their position while it is not."""

    def __init__(self) -> None:
        self._by_order: dict[int, tuple[ClientTag, str]] = {}
        self._open_ended: dict[int, dict[str, SentClose]] = {}

    def know(self, order_id: int, command: ClosePosition) -> None:
        """Note the order of a close."""
        self._keep(order_id, command.tag, command.reason)
        self._open_ended.get(int(command.position_id), {}).pop(command.tag.text, None)

    def left_open(self, command: ClosePosition, leaves: Decimal, sent_at: datetime) -> None:
        """Note a close that may have arrived."""
        self.expect([SentClose(command.tag, command.position_id, leaves, command.reason, sent_at)])

    def expect(self, closes: Sequence[SentClose]) -> None:
        """Note closes that were sent and whose end nobody knows yet; of one sent twice the first moment counts."""
        for close in closes:
            of_position = self._open_ended.setdefault(int(close.position_id), {})
            known = of_position.get(close.tag.text)
            if known is None or close.sent_at < known.sent_at:
                of_position[close.tag.text] = close
        while len(self._open_ended) > _KEPT:
            self._open_ended.pop(next(iter(self._open_ended)))

    def of_order(self, order_id: int) -> tuple[ClientTag, str] | None:
        """Return tag and reason of the close that made an order, None while that is not known."""
        return self._by_order.get(order_id)

    def may_be_ours(self, position_id: int) -> bool:
        """Tell whether a close of this position is open-ended, so that the evidence is worth reading."""
        return bool(self._open_ended.get(position_id))

    def of_evidence(self, seen: Evidence) -> tuple[ClientTag, str] | None:
        """Return tag and reason of the open-ended close that an order is the end of, None when it was not ours."""
        for close in self._open_ended.get(seen.position_id, {}).values():
            if close.leaves == seen.would_leave and seen.placed_at >= close.sent_at - _CLOCKS_APART:
                self._keep(seen.order_id, close.tag, close.reason)
                return close.tag, close.reason
        return None

    def _keep(self, order_id: int, tag: ClientTag, reason: str) -> None:
        while len(self._by_order) >= _KEPT:
            self._by_order.pop(next(iter(self._by_order)))
        self._by_order[order_id] = (tag, reason)
