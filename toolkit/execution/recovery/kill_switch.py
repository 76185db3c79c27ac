"""The kill switch: entries stop at once and stay stopped, and on request everything of ours is closed until it is flat."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from toolkit.errors import ConversionRateMissing, Forbidden, IllegalTransition, NotFound, PlatformError, QuoteError
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import IntentRecord, RunEventRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ledger.submit import move, target_of
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.closing import submit_cancel, submit_close
from toolkit.execution.trade_service import TradeService


@dataclass(frozen=True, slots=True, repr=False)
class FlattenReport:
    """What flattening reached.

    Attributes
    ----------
    flat
        Whether a complete read shows nothing of ours open or working.
    closed, cancelled
        Positions and orders that went in this call.
    remaining
        What is still there, in words, foreign positions included (they are never touched).
    """

    flat: bool
    closed: tuple[str, ...]
    cancelled: tuple[str, ...]
    remaining: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in words, one thing a line."""
        lines = [
            "flat: nothing of ours is open or working" if self.flat else "NOT flat yet: call it again, or look at it"
        ]
        lines += [f"closed     position {name}" for name in self.closed]
        lines += [f"cancelled  order {name}" for name in self.cancelled]
        lines += [f"remains    {words}" for words in self.remaining]
        return "\n".join(lines)

    __repr__ = __str__


def halt(service: TradeService, principal: Principal, reason: str) -> None:
    """Stop all entries of an account; it stays stopped through restarts until `resume`.

    Raises
    ------
    Forbidden
        When the principal may not act on the account.
    """
    now = service.clock.now()
    with service.store.begin(principal) as work:
        if not work.may_act(service.account_id, principal):
            raise Forbidden(f"{principal.name} may not halt account {service.account_id}: ask its owner")
        work.set_halt(service.account_id, now, principal.name, reason)
        work.add_audit(now, principal, "account.halt", str(service.account_id), reason)
        work.add_run_event(_event(service, "halted", f"halted by {principal.name}: {reason}"))
        work.commit()


def resume(service: TradeService, principal: Principal) -> None:
    """Let entries go again.

    Raises
    ------
    Forbidden
        When the principal may not act on the account.
    """
    now = service.clock.now()
    with service.store.begin(principal) as work:
        if not work.may_act(service.account_id, principal):
            raise Forbidden(f"{principal.name} may not resume account {service.account_id}: ask its owner")
        work.set_halt(service.account_id, None, "", "")
        work.add_audit(now, principal, "account.resume", str(service.account_id), "")
        work.add_run_event(_event(service, "halt_lifted", f"resumed by {principal.name}"))
        work.commit()


def flatten(service: TradeService, principal: Principal, *, timeout_seconds: float = 60.0) -> FlattenReport:
    """Cancel our working orders and close our positions, again and again until the platform says that we are flat.

    Exits go through intents as always, so this may be called twice, or after a crash.

    Raises
    ------
    ReadFailed
        When the platform could not be read before the time was over; flat is never assumed.
    """
    deadline = service.clock.monotonic() + timeout_seconds
    closed: list[str] = []
    cancelled: list[str] = []
    round_number = 0
    while True:
        round_number += 1
        failure: PlatformError | None = None
        remaining: list[str] = []
        try:
            ours, remaining = _one_round(service, principal, round_number, closed, cancelled)
            if not ours:
                with service.store.begin(principal) as work:
                    work.add_run_event(_event(service, "flattened", f"flat; {len(remaining)} foreign positions remain"))
                    work.commit()
                return FlattenReport(True, tuple(closed), tuple(cancelled), tuple(remaining))
        except PlatformError as error:
            failure = error
        if service.clock.monotonic() >= deadline:
            if failure is not None:
                raise failure
            return FlattenReport(False, tuple(closed), tuple(cancelled), tuple(remaining))
        service.clock.sleep(min(1.0, 0.1 * round_number))


def _one_round(
    service: TradeService, principal: Principal, number: int, closed: list[str], cancelled: list[str]
) -> tuple[int, list[str]]:
    """Act on everything of ours that the platform shows; return how much was still ours, and all that remains in words."""
    service.reconcile()
    book = service.platform.book()
    stamp = f"{service.clock.now().isoformat()}:{number}"
    with service.context.writing() as work:
        trades = {t.position_id: t for t in work.open_trades(service.account_id)}
        tags = {o.tag_text for o in book.orders if o.tag_text}
        mine = {i.client_tag: i for i in work.intents_by_tag(service.account_id, tags)}
        now = service.clock.now()
        waiting = {
            (i.action, target_of(i)): i.intent_id
            for i in work.intents_in(service.account_id, [IntentState.NEW])
            if i.waits
        }
        closes = [
            (p.position_id, waiting.get((Action.CLOSE_POSITION, p.position_id)) or submit_close(
                work, trades[p.position_id], principal=service.principal, now=now, source="flatten", signal_id=stamp,
                reason="flatten"))
            for p in book.positions
            if p.position_id in trades
        ]  # fmt: skip
        cancels = [
            (o.order_id, waiting.get((Action.CANCEL_ORDER, o.order_id)) or submit_cancel(
                work, mine[o.tag_text], o.order_id, principal=service.principal, now=now, signal_id=stamp))
            for o in book.orders
            if o.tag_text in mine
        ]  # fmt: skip
        work.commit()
    for gone, exits in ((cancelled, cancels), (closed, closes)):
        for name, intent_id in exits:
            with suppress(QuoteError, ConversionRateMissing):  # one symbol without a price: the others go on
                if service.execute(intent_id, at_once=True).state is IntentState.FILLED:
                    gone.append(name)
    after = service.platform.book()
    ours = [p for p in after.positions if p.position_id in trades]
    working = [o for o in after.orders if o.tag_text in mine]
    words = [f"{p.side.value} {p.lots:f} {p.symbol} position {p.position_id}" for p in after.positions]
    words += [f"{o.side.value} {o.lots:f} {o.symbol} order {o.order_id}" for o in after.orders]
    return len(ours) + len(working), words


def release(service: TradeService, principal: Principal, intent_id: UUID, note: str) -> IntentRecord:
    """Free the slot of an ABANDONED entry, or take back an exit that waits for a closed market, by an operator; audited.

    Raises
    ------
    Forbidden
        When the principal may not act on the account, or is no person.
    IllegalTransition
        When the intent is neither.
    """
    now = service.clock.now()
    with service.store.begin(principal) as work:
        if principal.kind != "human" or not work.may_act(service.account_id, principal):
            raise Forbidden(
                f"{principal.name} may not release intents of account {service.account_id}: a person decides"
            )
        intent = work.intent(intent_id)
        if intent is None or intent.account_id != service.account_id:
            raise NotFound(f"intent {intent_id} does not exist on account {service.account_id}")
        after = let_go(work, intent, principal, now, note)
        service.context.tell(
            work, after, "intent_released", f"released by {principal.name}: {note}", "warning", None, now
        )
        work.commit()
    return after


def let_go(work: Transaction, intent: IntentRecord, principal: Principal, now: datetime, note: str) -> IntentRecord:
    """Release an ABANDONED entry or take back a waiting exit, inside the caller's transaction, and audit it.

    Raises
    ------
    IllegalTransition
        When the intent is neither.
    """
    if intent.state is not IntentState.ABANDONED and not intent.waits:
        raise IllegalTransition(
            f"only an ABANDONED entry or an exit that waits can be released, {intent.intent_id} is {intent.state.value}"
        )
    to = IntentState.CANCELLED if intent.waits else IntentState.RELEASED
    after = move(work, intent, to, actor=principal.name, now=now, detail=note, new_token=True, reason="released")
    work.add_audit(now, principal, "intent.release", str(intent.intent_id), note)
    return after


def _event(service: TradeService, kind: str, message: str) -> RunEventRecord:
    return RunEventRecord(
        live_run_id=None,
        account_id=service.account_id,
        intent_id=None,
        kind=kind,
        level="warning",
        message=message,
        market_time=None,
        at=service.clock.now(),
    )


__all__ = ["FlattenReport", "flatten", "halt", "let_go", "release", "resume"]
