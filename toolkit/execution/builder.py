"""From a signal to a request: the only way in, for a strategy and for an AI alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from toolkit.errors import RequestError, must_be
from toolkit.execution.ports import OrderType
from toolkit.execution.request import Projections, RequestMetadata, TradeRequest
from toolkit.market import Instrument, Quote, Rate, Side
from toolkit.risk.management import PositionSize, calculate_position_size

_ZERO = Decimal(0)
_IMPLIED_RISK_STEP = Decimal("0.0001")
_MONEY_STEP = Decimal("0.000001")  # projections are rounded once, here


class EntrySkipped(RequestError):
    """Raised when a signal is sound but no order can be made of it now; ``code`` says why, in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """What happens to an entry that comes without a stop.

    Attributes
    ----------
    kind
        "reject" (the default), "atr" (a multiple of the average true range) or "pips" (a fixed distance).
    value
        The multiple, or the pips.
    """

    kind: Literal["reject", "atr", "pips"] = "reject"
    value: Decimal = _ZERO

    def __post_init__(self) -> None:
        if self.kind != "reject" and self.value <= 0:
            raise RequestError(
                must_be(f"value of stop policy {self.kind}", "above 0", self.value, "say how far the stop is")
            )

    @property
    def label(self) -> str:
        """What is recorded on the intent, e.g. ``"atr:2"``."""
        return self.kind if self.kind == "reject" else f"{self.kind}:{self.value.normalize():f}"

    def distance_points(self, instrument: Instrument, atr: Decimal | None) -> int:
        """Return the stop distance in points, before it is rounded up to whole pips."""
        if self.kind == "pips":
            return instrument.to_points(self.value * instrument.pip_size)
        if self.kind == "atr":
            if atr is None or not atr.is_finite() or atr <= 0:
                raise EntrySkipped(
                    "no_stop", must_be("ATR", "known and above 0", atr, "wait until its bars have closed")
                )
            return instrument.to_points(self.value * atr)
        raise EntrySkipped(
            "no_stop",
            must_be("stop_loss", "given", "missing", "declare a stop, or set an ATR or fixed-pip stop policy"),
        )


REJECT = StopPolicy()


@dataclass(frozen=True, slots=True)
class BuiltTrade:
    """A request and what its intent carries besides it.

    Attributes
    ----------
    request
        The DTO.
    size
        The position size at the quote it was built at; the order's size is computed again when it is sent.
    lots
        Fixed size, or None when the size follows from ``risk_percent``.
    sl_policy
        Label of the policy in force; ``terms["stop_from_policy"]`` says whether it had to act.
    terms
        What was asked and what was placed, JSON-able.
    """

    request: TradeRequest
    size: PositionSize
    lots: Decimal | None
    sl_policy: str
    valid_until: datetime | None
    terms: dict[str, Any] = field(default_factory=dict)


def build_trade_request(
    *,
    account_id: UUID,
    instrument: Instrument,
    quote: Quote,
    side: Side,
    equity: Decimal,
    quote_to_account: Rate,
    stop_loss: Decimal | None,
    take_profit: Decimal | None = None,
    risk_percent: Decimal | None = None,
    lots: Decimal | None = None,
    order_type: OrderType = OrderType.MARKET,
    limit_price: Decimal | None = None,
    stop_policy: StopPolicy = REJECT,
    atr: Decimal | None = None,
    valid_until: datetime | None = None,
    live_run_id: UUID | None = None,
    bot_version_id: UUID | None = None,
    signal_id: str | None = None,
    reason: str | None = None,
    idempotency_key: str | None = None,
    refuse_unsizable: bool = True,
    terms: dict[str, Any] | None = None,
) -> BuiltTrade:
    """Build the request of an entry from an absolute stop and target.

    Parameters
    ----------
    quote
        Bid and ask now; a BUY is priced at the ask, a SELL at the bid. Pending orders are priced at ``limit_price``.
    stop_loss
        Absolute price. Its distance is rounded to the nearest point, then UP to whole pips, and the stop is placed there.
        None asks ``stop_policy``.
    take_profit
        Absolute price beyond the entry, or None where no target is declared.
    risk_percent, lots
        Exactly one: percent of ``equity`` at risk, or a fixed size in lots (``risk_percent`` then states the implied risk).
    quote_to_account
        Rate from the instrument's quote currency to the account's.
    atr
        Average true range as a price distance; read by an ATR stop policy only.
    refuse_unsizable
        False keeps a request whose size is not accepted at this quote, because the size that counts is computed when the
        order is sent (a position may be closed in between).

    Returns
    -------
    BuiltTrade

    Raises
    ------
    EntrySkipped
        When no order can be made of the signal now: no stop, target not beyond the quote, size below the minimum.
    RequestError
        When the numbers contradict each other.
    """
    if (risk_percent is None) == (lots is None):
        raise RequestError(
            must_be("size", "either risk_percent or lots", f"{risk_percent} and {lots}", "give exactly one of the two")
        )
    if order_type is OrderType.MARKET:
        entry = quote.price_for(side)
        priced_at = quote
    else:
        entry = _trigger(order_type, side, limit_price, quote, instrument)
        priced_at = Quote(entry, entry, quote.ts)
    entry_points = instrument.to_points(entry)
    asked_points, from_policy = _stop_distance(instrument, side, entry, stop_loss, stop_policy, atr)
    pips = -(-asked_points // instrument.points_per_pip)
    placed_points = entry_points - side.sign * pips * instrument.points_per_pip
    if placed_points <= 0:
        raise EntrySkipped(
            "stop_beyond_zero", must_be("stop_loss", "above 0", f"{pips} pips from {entry}", "use a closer stop")
        )
    placed = instrument.price(placed_points)
    check_target(side, entry, take_profit)
    size = calculate_position_size(
        side=side,
        quote=priced_at,
        stop_loss=placed,
        equity=equity,
        risk_percent=risk_percent if risk_percent is not None else Decimal(1),
        instrument=instrument,
        quote_to_account=quote_to_account,
        take_profit=take_profit,
    )
    if lots is None and not size.accepted and refuse_unsizable:
        raise EntrySkipped(skip_code(size.reason), f"{instrument.symbol} {side.value} cannot be sized: {size.reason}")
    loss, profit = size.projected_loss, size.projected_profit
    if lots is not None:
        loss, profit = fixed_lots_projection(lots, size)
    try:
        request = TradeRequest(
            account_id=account_id,
            symbol=instrument.symbol,
            direction=side,
            order_type=order_type,
            limit_price=limit_price,
            stop_loss_distance_pips=pips,
            take_profit_price=take_profit,
            risk_percent=risk_percent if risk_percent is not None else implied_risk(loss, equity),
            metadata=RequestMetadata(
                live_run_id=live_run_id, bot_version_id=bot_version_id, signal_id=signal_id, reason=reason
            ),
            projections=Projections(
                projected_profit=_rounded(profit),
                projected_loss=_rounded(loss),
                rr_ratio=_rounded(size.rr_ratio),
            ),
            idempotency_key=idempotency_key,
        )
    except ValidationError as error:
        raise RequestError(f"request for {instrument.symbol} is not sound: {error}") from error
    said: dict[str, Any] = {
        "asked_stop": None if stop_loss is None else str(stop_loss),
        "placed_stop": str(placed),
        "stop_from_policy": from_policy,
        "bid": str(quote.bid),
        "ask": str(quote.ask),
        "quote_at": None if quote.ts is None else quote.ts.isoformat(),
        "equity": str(equity),
    }
    return BuiltTrade(request, size, lots, stop_policy.label, valid_until, said | (terms or {}))


def check_target(side: Side, entry: Decimal, take_profit: Decimal | None) -> None:
    """Refuse a target that the price has reached already.

    Raises
    ------
    EntrySkipped
        With code "target_not_beyond_quote".
    """
    if take_profit is not None and (take_profit - entry) * side.sign <= 0:
        where = "above" if side is Side.BUY else "below"
        raise EntrySkipped(
            "target_not_beyond_quote",
            must_be(
                "take_profit", f"{where} the entry price {entry}", take_profit, "the market has moved past it; skip"
            ),
        )


def fixed_lots_projection(lots: Decimal, size: PositionSize) -> tuple[Decimal, Decimal | None]:
    """Return loss (negative) and profit of a fixed number of lots, from the per-lot values of a size."""
    loss = -(size.stop_distance_pips * size.pip_value_per_lot * lots)
    profit = None if size.rr_ratio is None else -loss * size.rr_ratio
    return loss, profit


def implied_risk(projected_loss: Decimal, equity: Decimal) -> Decimal:
    """Return the percent of equity that a fixed size puts at risk, to four decimals and at least the smallest of them."""
    if equity <= 0:
        raise EntrySkipped("no_equity", must_be("equity", "above 0", equity, "fund the account or stop the run"))
    percent = (-projected_loss / equity * 100).quantize(_IMPLIED_RISK_STEP, ROUND_HALF_UP)
    return min(max(percent, _IMPLIED_RISK_STEP), Decimal(100))


def skip_code(reason: str) -> str:
    """Return the one-word code of a sizing refusal."""
    text = reason.lower()
    if "minimum" in text or "below" in text or "volume_min" in text:
        return "below_minimum_lots"
    if "equity" in text:
        return "no_equity"
    return reason if reason.isidentifier() else "not_sizable"


def _rounded(value: Decimal | None) -> Decimal:
    return _ZERO if value is None else value.quantize(_MONEY_STEP, ROUND_HALF_UP)


def _stop_distance(
    instrument: Instrument,
    side: Side,
    entry: Decimal,
    stop_loss: Decimal | None,
    policy: StopPolicy,
    atr: Decimal | None,
) -> tuple[int, bool]:
    if stop_loss is None:
        points = policy.distance_points(instrument, atr)
        from_policy = True
    else:
        distance = (entry - stop_loss) * side.sign
        if distance <= 0:
            where = "below" if side is Side.BUY else "above"
            raise RequestError(
                must_be(
                    "stop_loss", f"{where} the entry price {entry} of a {side.value}", stop_loss, "check side and stop"
                )
            )
        points = instrument.to_points(distance)
        from_policy = False
    if points <= 0:
        raise EntrySkipped("no_stop", must_be("stop distance", "at least one point", points, "use a wider stop"))
    return points, from_policy


def _trigger(kind: OrderType, side: Side, price: Decimal | None, quote: Quote, instrument: Instrument) -> Decimal:
    if price is None:
        raise RequestError(
            must_be("limit_price", f"given on a {kind.value} order", None, "say at which price it triggers")
        )
    if instrument.price(instrument.to_points(price)) != price:
        raise RequestError(
            must_be("limit_price", f"a multiple of {instrument.point}", price, "round it to the price grid")
        )
    market = quote.price_for(side)
    # A limit waits for a better price, a stop for a worse one.
    better = price < market if side is Side.BUY else price > market
    if price == market or better is not (kind is OrderType.LIMIT):
        better_word = "below" if side is Side.BUY else "above"
        worse_word = "above" if side is Side.BUY else "below"
        where = better_word if kind is OrderType.LIMIT else worse_word
        raise EntrySkipped(
            "trigger_on_wrong_side",
            must_be(
                "limit_price", f"{where} {market} for a {side.value} {kind.value}", price, "use MARKET or another price"
            ),
        )
    return price
