"""Reading what happened at the platform since the last complete read, and booking it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from toolkit.errors import LostRace, NotFound
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.bookkeeping import TradeChange, average_price, book_deals, deal_from_json
from toolkit.execution.ledger.records import ZERO, IntentRecord, TradeRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move
from toolkit.execution.ports import Book, ClosesUntagged, DealsInOrder, PlatformDeal, SentClose
from toolkit.execution.request import CloseRequest, ReduceRequest, request_from_json
from toolkit.execution.sending.context import ServiceContext

_UNSETTLED = (IntentState.NEW, IntentState.CLAIMED, IntentState.SENDING, IntentState.UNKNOWN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a read of the platform's history changed.

    Attributes
    ----------
    changes
        Trades that were opened, reduced or closed.
    foreign_deals, foreign_positions
        What belongs to nobody of ours; listed, never touched.
    until
        Platform time of the read.
    """

    changes: tuple[TradeChange, ...] = ()
    foreign_deals: tuple[PlatformDeal, ...] = ()
    foreign_positions: tuple[str, ...] = ()
    until: datetime | None = None


class BookSync:
    """Books the platform's history of one account."""

    def __init__(self, context: ServiceContext) -> None:
        self._c = context
        self._known: set[str] = set()
        self._last: str | None = None
        self._in_order = context.platform if isinstance(context.platform, DealsInOrder) else None

    def run(self, book: Book | None = None) -> SyncReport:
        """Read and book.

        Parameters
        ----------
        book
            A complete read of the book, if there is one: an entry with a rest that still works is then left WORKING.

        Raises
        ------
        ReadFailed
            When the history could not be read completely; nothing is changed then.
        """
        c = self._c
        with c.store.begin(c.principal, write=False) as work:
            account = work.account(c.account_id)
        if account is None:
            raise NotFound(f"account {c.account_id} does not exist")
        until = c.platform.now()
        start = account.book_synced_until
        if isinstance(c.platform, ClosesUntagged):
            c.platform.expect_closes(self._open_ended())
        fresh = self._new_deals(start, until)
        if not fresh and start is not None and until - start < c.policy.history_overlap / 2:
            return SyncReport(until=until)
        report = self._book(fresh, book, until)
        self._known.update(d.deal_id for d in fresh)
        if fresh:
            self._last = fresh[-1].deal_id
        return report

    def _open_ended(self) -> list[SentClose]:
        """Return the closes that may have been carried out without our knowing, by any process of the account."""
        c = self._c
        found: list[SentClose] = []
        with c.store.begin(c.principal, write=False) as work:
            for intent in work.intents_in(c.account_id, _UNSETTLED):
                if not intent.was_sent or intent.action not in (Action.CLOSE_POSITION, Action.REDUCE_POSITION):
                    continue
                request = request_from_json(intent.action.value, intent.payload_json)
                if not isinstance(request, CloseRequest | ReduceRequest):
                    continue
                leaves = request.remaining_lots if isinstance(request, ReduceRequest) else ZERO
                sent_at = min(order.sent_at for order in work.orders(intent.intent_id))
                reason = request.metadata.reason or "signal"
                found.append(SentClose(intent.tag, request.position_id, leaves, reason, sent_at))
        return found

    def _new_deals(self, start: datetime | None, until: datetime) -> Sequence[PlatformDeal]:
        """Return deals this process has not booked yet; some may be in the store already."""
        c = self._c
        if self._in_order is not None:
            return self._in_order.deals_after(self._last)
        since = _EPOCH if start is None else start - c.policy.history_overlap
        history = c.platform.history(since, until + timedelta(days=1))
        return [d for d in history.deals if d.deal_id not in self._known]

    def _book(self, fresh: Sequence[PlatformDeal], book: Book | None, until: datetime) -> SyncReport:
        c = self._c
        now = c.clock.now()
        with c.writing() as work:
            tags = {d.tag_text for d in fresh if d.tag_text}
            owners = work.intents_by_tag(c.account_id, tags, {d.magic for d in fresh if d.magic})
            changes, foreign = book_deals(work, fresh, owners, account_id=c.account_id, seen_at=now)
            c.tell_trades(work, changes, None)
            for change in changes:
                intent = work.intent(change.after.intent_id)
                if intent is not None and intent.action.is_entry:
                    with suppress(LostRace):
                        self.adopt(work, intent, change.after, book, now)
            for intent in owners:
                if not intent.action.is_entry and intent.state is IntentState.UNKNOWN:
                    with suppress(LostRace):
                        self._exit_seen(work, intent, now)
            work.set_synced_until(c.account_id, until)
            work.commit()
        return SyncReport(tuple(changes), tuple(foreign), tuple(sorted({d.position_id for d in foreign})), until)

    def adopt(
        self, work: Transaction, intent: IntentRecord, trade: TradeRecord, book: Book | None, now: datetime
    ) -> bool:
        """Bring an entry to the state its trade proves; whatever we believed before, the platform is right.

        Returns
        -------
        bool
            Whether the intent moved.
        """
        c = self._c
        if intent.state is IntentState.FILLED or not intent.was_sent:
            return False
        if intent.state in (IntentState.SENDING, IntentState.PROTECTION_PENDING):
            return False  # its worker is about to record it, or the guard decides
        asked = [o.lots for o in work.orders(intent.intent_id) if o.lots is not None]
        whole = not asked or trade.lots >= asked[-1]
        rest_works = book is not None and any(
            o.tag_text == intent.client_tag or o.order_id == intent.order_id for o in book.orders
        )
        if not whole and rest_works and intent.state is IntentState.WORKING:
            return False
        state = IntentState.FILLED if whole else IntentState.PARTIAL
        if state is intent.state:
            return False
        after = move(
            work,
            intent,
            state,
            actor=c.worker,
            now=now,
            detail="its deal was found at the platform",
            new_token=True,
            position_id=trade.position_id,
            filled_lots=trade.lots,
            average_price=trade.entry_price,
            unknown_since=None,
        )
        if intent.state not in (IntentState.WORKING, IntentState.PARTIAL):
            late = f"a fill of an intent that was {intent.state.value} was found and adopted"
            c.tell(work, after, "late_fill_adopted", late, "error", None, now)
        return True

    def _exit_seen(self, work: Transaction, intent: IntentRecord, now: datetime) -> None:
        """Bring an exit whose answer we do not have to what its deals prove: its target, or a part of the way there."""
        c = self._c
        request = request_from_json(intent.action.value, intent.payload_json)
        if not isinstance(request, CloseRequest | ReduceRequest):
            return  # nothing else makes deals
        left = request.remaining_lots if isinstance(request, ReduceRequest) else ZERO
        trade = work.trade_of_position(c.account_id, request.position_id)
        known = [deal_from_json(body) for body in work.deal_bodies(c.account_id, request.position_id)]
        deals = [d for d in known if d.tag_text == intent.client_tag or (d.magic and d.magic == intent.magic)]
        if not deals:
            return  # its target decides, once the book was read
        after = move(
            work,
            intent,
            IntentState.PARTIAL if trade is not None and trade.open_lots > left else IntentState.FILLED,
            actor=c.worker,
            now=now,
            detail="its deal was found at the platform",
            new_token=True,
            position_id=request.position_id,
            order_id=deals[-1].order_id or intent.order_id,
            filled_lots=sum((d.lots for d in deals), ZERO),
            average_price=average_price(deals),
            unknown_since=None,
        )
        c.tell(work, after, "intent_resolved", f"the exit was carried out: {after.state.value}", "info", None, now)
