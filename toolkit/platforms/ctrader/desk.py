"""Carrying out one command over the Open API, once, and classing what comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from toolkit.clock import SYSTEM
from toolkit.errors import BadInput, PlatformError, QuoteError, WrongAccount
from toolkit.execution.ports import (
    CancelOrder,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformCommand,
)
from toolkit.platforms.ctrader import codes, convert, requests
from toolkit.platforms.ctrader.asked import Asked
from toolkit.platforms.ctrader.line.client import ApiError, LineLost, Talk
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.ctrader.session import Session

log = logging.getLogger(__name__)

Request = pb.ProtoOANewOrderReq | pb.ProtoOAClosePositionReq | pb.ProtoOAAmendPositionSLTPReq | pb.ProtoOACancelOrderReq
Events = list[pb.ProtoOAExecutionEvent]

_ENDED = frozenset({codes.FILLED, codes.CANCELLED, codes.EXPIRED, codes.REJECTED, codes.CANCEL_REJECTED})


class _Done(Exception):  # control flow: the answer is known before anything is sent
    def __init__(self, outcome: Outcome, code: str, message: str) -> None:
        super().__init__(message)
        self.result = OrderResult(outcome, code=code, message=message)


class Desk:
    """Where commands of one session go.

    Parameters
    ----------
    session
        The account's line.
    find_position, find_order
        Read live positions and working orders now.
    """

    def __init__(
        self,
        session: Session,
        find_position: Callable[[str], pb.ProtoOAPosition | None],
        find_order: Callable[[str], pb.ProtoOAOrder | None],
    ) -> None:
        self._session = session
        self._position, self._order = find_position, find_order
        self.asked = Asked()
        self._leaves = Decimal(0)  # what the close on its way is to leave

    def send(self, command: PlatformCommand) -> OrderResult:
        """Carry out one command; from the write on, whatever is not a definite answer is UNKNOWN."""
        try:
            request = self._prepare(command)
        except _Done as done:
            return done.result
        except BadInput as e:
            if isinstance(e, QuoteError):
                return OrderResult(Outcome.NOT_ACCEPTED, code="NOT_SENT", message=str(e))
            return OrderResult(Outcome.FINAL, code="CHECKED", message=str(e))
        except WrongAccount as e:
            return OrderResult(Outcome.WAIT, code="WRONG_ACCOUNT", message=str(e))
        except PlatformError as e:
            return OrderResult(Outcome.NOT_ACCEPTED, code="NOT_SENT", message=str(e))
        sent_at = self._session.server_now.now()
        try:
            conversation = self._session.client.begin(request)
        except LineLost as e:
            if e.written:
                self._left_open(command, sent_at)
            return OrderResult(Outcome.UNKNOWN if e.written else Outcome.NOT_ACCEPTED, code="LINE", message=str(e))
        try:
            return self._follow(command, request, conversation, sent_at)
        finally:
            conversation.end()

    def _prepare(self, command: PlatformCommand) -> Request:
        s = self._session
        s.ready()
        if s.trader.accessRights != codes.FULL_ACCESS:
            raise _Done(Outcome.WAIT, "TRADING_NOT_ALLOWED", "the account or the token may not trade")
        if isinstance(command, OpenOrder):
            of = s.symbol(command.symbol)
            return requests.new_order(command, of, s.quote(of), s.account_id)
        if isinstance(command, CancelOrder):
            if self._order(command.order_id) is None:
                raise _Done(Outcome.ALREADY, "ORDER_NOT_FOUND", f"order {command.order_id} is not working")
            return pb.ProtoOACancelOrderReq(ctidTraderAccountId=s.account_id, orderId=int(command.order_id))
        position = self._position(command.position_id)
        if position is None:
            raise _Done(Outcome.ALREADY, "POSITION_NOT_FOUND", f"position {command.position_id} is not open")
        of = s.symbol_of_id(position.tradeData.symbolId)
        if isinstance(command, ClosePosition):
            closing = requests.close(command, position, of, s.account_id)
            self._leaves = convert.lots(position.tradeData.volume - closing.volume, of)
            return closing
        if requests.is_set(command, position, of):
            raise _Done(Outcome.ALREADY, "NO_CHANGES", "the levels are already so")
        return requests.amend(command, position, of, s.quote(of), s.account_id)

    # --- what comes back -------------------------------------------------------------------------------------------

    def _follow(self, command: PlatformCommand, request: Request, conversation: Talk, sent_at: datetime) -> OrderResult:
        """Read events until the command has its answer."""
        until = SYSTEM.monotonic() + self._session.client.reply_seconds
        events: Events = []
        try:
            while True:
                message = conversation.next(until - SYSTEM.monotonic())
                if not isinstance(message, pb.ProtoOAExecutionEvent):
                    continue
                events.append(message)
                if isinstance(command, ClosePosition) and message.HasField("order"):
                    self.asked.know(message.order.orderId, command)
                if self._is_answered(command, message):
                    return self._result(command, request, events)
        except ApiError as e:
            outcome = codes.classify(e.code, exit_command=not isinstance(command, OpenOrder))
            if outcome is Outcome.UNKNOWN:
                self._left_open(command, sent_at)
            return OrderResult(outcome, code=e.code, message=str(e), position_id=_pinned(command))
        except PlatformError as e:
            if events and isinstance(command, OpenOrder):
                return self._accepted_only(command, request, events, str(e))
            self._left_open(command, sent_at)
            return OrderResult(Outcome.UNKNOWN, code="NO_ANSWER", message=str(e), position_id=_pinned(command))

    def _left_open(self, command: PlatformCommand, sent_at: datetime) -> None:
        if isinstance(command, ClosePosition):
            self.asked.left_open(command, self._leaves, sent_at)

    @staticmethod
    def _is_answered(command: PlatformCommand, event: pb.ProtoOAExecutionEvent) -> bool:
        kind = event.executionType
        if isinstance(command, ModifyProtection):
            return kind in (codes.ACCEPTED, codes.REPLACED, codes.REJECTED)
        if isinstance(command, OpenOrder) and command.order_type is not OrderType.MARKET:
            return kind in _ENDED or kind == codes.ACCEPTED
        return kind in _ENDED

    def _accepted_only(self, command: OpenOrder, request: Request, events: Events, why: str) -> OrderResult:
        """Answer an entry that was accepted, and then nothing more was heard: it is there, so it is polled."""
        if any(e.HasField("deal") for e in events):
            return self._result(command, request, events)
        order = events[-1].order
        return OrderResult(Outcome.WORKING, order_id=str(order.orderId), code="ACCEPTED", message=why)

    def _result(self, command: PlatformCommand, request: Request, events: Events) -> OrderResult:
        last = events[-1]
        kind = last.executionType
        order_id = str(last.order.orderId) if last.HasField("order") else None
        deals = {e.deal.dealId: e.deal for e in events if e.HasField("deal")}
        if kind in (codes.REJECTED, codes.CANCEL_REJECTED) and not deals:
            code = last.errorCode or ("UNABLE_TO_CANCEL_ORDER" if kind == codes.CANCEL_REJECTED else "REJECTED")
            outcome = codes.classify(code, exit_command=not isinstance(command, OpenOrder))
            return OrderResult(outcome, order_id, _pinned(command), code=code, message="the server rejected it")
        if isinstance(command, CancelOrder):
            outcome = Outcome.DONE if kind == codes.CANCELLED else Outcome.ALREADY
            return OrderResult(outcome, order_id, code=_NAMES[kind], message="the order is not working any more")
        if isinstance(command, ModifyProtection):
            return OrderResult(Outcome.DONE, None, command.position_id, code="REPLACED", message="levels set")
        if deals:
            return self._filled(command, request, last, list(deals.values()), order_id)
        if kind == codes.ACCEPTED:
            return OrderResult(Outcome.WORKING, order_id, code="ACCEPTED", message="the order is working")
        return OrderResult(Outcome.FINAL, order_id, _pinned(command), code=_NAMES[kind], message="nothing was executed")

    def _filled(
        self,
        command: OpenOrder | ClosePosition,
        request: Request,
        last: pb.ProtoOAExecutionEvent,
        deals: list[pb.ProtoOADeal],
        order_id: str | None,
    ) -> OrderResult:
        of = self._session.symbol_of_id(deals[0].symbolId)
        units = sum(d.filledVolume for d in deals)
        paid = sum((convert.price(d.executionPrice, of.facts) * d.filledVolume for d in deals), Decimal(0)) / units
        asked = getattr(request, "volume", units)
        outcome = Outcome.DONE if units >= asked else Outcome.PARTIAL
        return OrderResult(
            outcome=outcome,
            order_id=order_id,
            position_id=str(deals[0].positionId),
            deal_ids=tuple(str(d.dealId) for d in deals),
            filled_lots=convert.lots(units, of),
            price=of.facts.price(of.facts.to_points(paid)),
            protected=self._protect(command, last, of),
            code=outcome.value,
            message="executed" if outcome is Outcome.DONE else "executed in part, the rest is dead",
        )

    def _protect(self, command: OpenOrder | ClosePosition, last: pb.ProtoOAExecutionEvent, of: convert.Symbol) -> bool:
        """Tell whether the levels asked for are on the position.

        A market order's levels count from its fill; after slippage they are moved to the prices that were asked for. A
        move that fails leaves levels that protect.
        """
        if isinstance(command, ClosePosition) or (command.stop_loss is None and command.take_profit is None):
            return True
        if not last.HasField("position"):
            return False
        has_stop = convert.level(last.position.stopLoss, of.facts)
        has_target = convert.level(last.position.takeProfit, of.facts)
        if (command.stop_loss is not None and has_stop is None) or (
            command.take_profit is not None and has_target is None
        ):
            return False
        if (has_stop, has_target) != (command.stop_loss, command.take_profit):
            levels = ModifyProtection(
                command.tag, str(last.position.positionId), command.stop_loss, command.take_profit
            )
            moved = self.send(levels)
            if moved.outcome not in (Outcome.DONE, Outcome.ALREADY):
                log.warning("the levels of position %s stay where its fill put them: %s", levels.position_id, moved)
        return True


_NAMES = {
    codes.ACCEPTED: "ACCEPTED",
    codes.FILLED: "FILLED",
    codes.CANCELLED: "CANCELLED",
    codes.EXPIRED: "EXPIRED",
    codes.REJECTED: "REJECTED",
    codes.CANCEL_REJECTED: "CANCEL_REJECTED",
}


def _pinned(command: PlatformCommand) -> str | None:
    return getattr(command, "position_id", None)
