"""How large a position may be: the exact size at which the stop costs what the account is willing to lose.

This is the oracle of the integer version in the simulation loop. Everything between the inputs and the results
is integer arithmetic, so a size is never one step off because a float fell short.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from toolkit.errors import SizingError, must_be
from toolkit.market import Instrument, Quote, Rate, Side
from toolkit.market.exact import EXACT, Number, plain, ratio, to_decimal

_ZERO = Decimal(0)
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class PositionSize:
    """A position sized by risk, with every number on the way; money is in account currency and not yet rounded.

    Attributes
    ----------
    accepted, capped, reason
        Whether the position may be opened, whether the venue's largest order limits it, and why in words.
    lots, steps
        The size and the same in whole volume steps; 0 when not accepted.
    entry, stop_loss, take_profit
        Prices: entry is the ask for a BUY and the bid for a SELL.
    stop_distance, stop_distance_pips
        From entry to stop, in price units and in pips (fractions kept).
    pip_value_per_lot, risk_money, lots_raw
        One pip of one lot; what may be lost; the size before rounding down to the step.
    projected_loss, projected_profit, rr_ratio
        At the stop (negative) and at the target for ``lots``, and target distance by stop distance; the latter two are
        None without a target.
    """

    side: Side
    symbol: str
    accepted: bool
    capped: bool
    reason: str
    entry: Decimal
    stop_loss: Decimal
    take_profit: Decimal | None
    stop_distance: Decimal
    stop_distance_pips: Decimal
    pip_value_per_lot: Decimal
    equity: Decimal
    risk_percent: Decimal
    risk_money: Decimal
    lots_raw: Decimal
    lots: Decimal
    steps: int
    projected_loss: Decimal
    projected_profit: Decimal | None
    rr_ratio: Decimal | None
    instrument: Instrument
    quote_to_account: Rate

    def explain(self) -> str:
        """Return every step of the calculation in words and numbers, one a line."""
        facts, rate = self.instrument, self.quote_to_account
        rate_words = f"{rate.decimal:f}" if rate.den == 1 else f"{rate.num}/{rate.den} = {rate.decimal:f}"
        paid = "BUY pays the ask" if self.side is Side.BUY else "SELL gets the bid"
        lines = [
            f"{self.side} {self.symbol}",
            f"entry              {self.entry:f} ({paid})",
            f"stop               {self.stop_loss:f}: {plain(self.stop_distance)} away = "
            f"{plain(self.stop_distance_pips)} pips of {facts.pip_size:f}",
            f"risk               {plain(self.risk_percent)} % of {plain(self.equity)} = {plain(self.risk_money)}",
            f"rate               1 {facts.quote_currency} = {rate_words} in account currency",
            f"pip value          {facts.pip_size:f} x contract {facts.contract_size:f} x rate = "
            f"{plain(self.pip_value_per_lot)} a lot",
            f"size               {plain(self.risk_money)} / ({plain(self.stop_distance_pips)} pips x "
            f"{plain(self.pip_value_per_lot)}) = {plain(self.lots_raw)} lots",
            f"rounded down       to steps of {facts.volume_step:f}, at least {facts.volume_min:f}, at most "
            f"{facts.volume_max:f}: {plain(self.lots)} lots",
            f"at the stop        {plain(self.projected_loss)}",
        ]
        if self.take_profit is not None and self.projected_profit is not None and self.rr_ratio is not None:
            lines.append(
                f"at the target      {plain(self.projected_profit)} ({self.take_profit:f}, "
                f"{plain(self.rr_ratio)} times the stop distance)"
            )
        lines.append(f"{'accepted' if self.accepted else 'not accepted'}{'; ' + self.reason if self.reason else ''}")
        return "\n".join(lines)


def calculate_position_size(
    *,
    side: Side,
    quote: Quote,
    stop_loss: Number,
    equity: Number,
    risk_percent: Number,
    instrument: Instrument,
    quote_to_account: Rate | Number,
    take_profit: Number | None = None,
) -> PositionSize:
    """Return the largest position whose loss at the stop is at most ``risk_percent`` of the equity.

    Parameters
    ----------
    side
        BUY enters at the ask, SELL at the bid of ``quote``.
    quote
        Prices at which the order is sent.
    stop_loss, take_profit
        Absolute prices; the stop on the losing side of the entry, the target on the other.
    equity
        In account currency, 0 or more.
    risk_percent
        Per cent of the equity, more than 0 and at most 100; 1 is one per cent.
    instrument
        Contract facts.
    quote_to_account
        Rate from the instrument's quote currency to the account's (mid of that moment). A `Rate` is exact; a
        decimal counts as written.

    Returns
    -------
    PositionSize
        Lots rounded down to the step; ``accepted`` is False below the smallest order, ``capped`` True above the
        largest.

    Raises
    ------
    SizingError
        When a number is missing, not finite, negative, or a level is at or beyond the wrong side of the entry.
    """
    side = _side(side)
    entry = quote.ask if side is Side.BUY else quote.bid
    stop = to_decimal(stop_loss, "stop_loss", SizingError)
    money = to_decimal(equity, "equity", SizingError)
    percent = to_decimal(risk_percent, "risk_percent", SizingError)
    rate = quote_to_account if isinstance(quote_to_account, Rate) else _rate(quote_to_account)
    target = None if take_profit is None else to_decimal(take_profit, "take_profit", SizingError)
    if money < 0:
        raise SizingError(must_be("equity", "0 or more", money, "an account below zero cannot open positions"))
    if not 0 < percent <= 100:
        raise SizingError(must_be("risk_percent", "above 0 and at most 100", percent, "1 means one per cent"))
    _check_levels(side, entry, stop, target)

    distance = EXACT.subtract(entry, stop).copy_abs()
    risk_money = EXACT.divide(EXACT.multiply(money, percent), _HUNDRED)
    units_n, units_d = instrument.contract_size.as_integer_ratio()
    step_n, step_d = instrument.volume_step.as_integer_ratio()
    dist_n, dist_d = distance.as_integer_ratio()
    risk_n, risk_d = risk_money.as_integer_ratio()
    # Loss of one lot at the stop, in account currency, is lot_n / lot_d.
    lot_n = dist_n * units_n * rate.num
    lot_d = dist_d * units_d * rate.den
    raw_n, raw_d = risk_n * lot_d, risk_d * lot_n
    steps = raw_n * step_d // (raw_d * step_n)

    capped = steps > instrument.max_steps
    accepted = steps >= instrument.min_steps and steps > 0
    lots_raw = ratio(raw_n, raw_d)
    if capped:
        steps = instrument.max_steps
        reason = f"capped at the largest order of {instrument.symbol}, {instrument.volume_max:f} lots"
    elif not accepted:
        steps = 0
        reason = (
            f"{plain(lots_raw)} lots are below the smallest order of {instrument.symbol}, "
            f"{instrument.volume_min:f} lots: a nearer stop, more risk or more equity is needed"
        )
    else:
        reason = ""

    pip_n, pip_d = instrument.pip_size.as_integer_ratio()
    profit = rr = None
    if target is not None:
        gain = EXACT.subtract(target, entry).copy_abs()
        gain_n, gain_d = gain.as_integer_ratio()
        profit = ratio(steps * step_n * gain_n * units_n * rate.num, step_d * gain_d * units_d * rate.den)
        rr = ratio(gain_n * dist_d, gain_d * dist_n)
    loss = ratio(steps * step_n * lot_n, step_d * lot_d)
    return PositionSize(
        side=side,
        symbol=instrument.symbol,
        accepted=accepted,
        capped=capped,
        reason=reason,
        entry=entry,
        stop_loss=stop,
        take_profit=target,
        stop_distance=distance,
        stop_distance_pips=ratio(dist_n * pip_d, dist_d * pip_n),
        pip_value_per_lot=ratio(pip_n * units_n * rate.num, pip_d * units_d * rate.den),
        equity=money,
        risk_percent=percent,
        risk_money=risk_money,
        lots_raw=lots_raw,
        lots=instrument.lots(steps),
        steps=steps,
        projected_loss=loss.copy_negate() if steps else _ZERO,
        projected_profit=profit,
        rr_ratio=rr,
        instrument=instrument,
        quote_to_account=rate,
    )


def _side(side: object) -> Side:
    if isinstance(side, Side):
        return side
    try:
        return Side(str(side))
    except ValueError:
        raise SizingError(must_be("side", "BUY or SELL", repr(side), "use Side.BUY or Side.SELL")) from None


def _rate(value: object) -> Rate:
    number = to_decimal(value, "quote_to_account", SizingError)
    if number <= 0:
        raise SizingError(must_be("quote_to_account", "above 0", number, "get the rate from a quote of the pair"))
    return Rate(*number.as_integer_ratio())


def _check_levels(side: Side, entry: Decimal, stop: Decimal, target: Decimal | None) -> None:
    name = "ask" if side is Side.BUY else "bid"
    if stop <= 0:
        raise SizingError(must_be("stop_loss", "above 0", stop, "give an absolute price, not a distance"))
    if stop == entry:
        raise SizingError(
            must_be(
                "stop_loss",
                f"away from the {name} {entry}",
                stop,
                "a stop at the entry gives no distance to size by",
            )
        )
    if (stop > entry) == (side is Side.BUY):
        where = "below" if side is Side.BUY else "above"
        raise SizingError(
            must_be(
                f"stop_loss of a {side}",
                f"{where} the {name} {entry}",
                stop,
                "check side and stop; a stop limits the loss",
            )
        )
    if target is None:
        return
    if target <= 0:
        raise SizingError(must_be("take_profit", "above 0", target, "give an absolute price, not a distance"))
    if target == entry or (target > entry) != (side is Side.BUY):
        where = "above" if side is Side.BUY else "below"
        raise SizingError(
            must_be(
                f"take_profit of a {side}",
                f"{where} the {name} {entry}",
                target,
                "leave it out or check the side",
            )
        )
