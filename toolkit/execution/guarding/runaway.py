"""Guards against a run that went wild: too many orders a minute, or a price far from the last one seen."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from toolkit.execution.guarding.refusal import Refusal
from toolkit.execution.intents import IntentState
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.sending.market_view import MarketView
from toolkit.risk.account_guards import AccountGuards

_MINUTE = timedelta(minutes=1)


def runaway_refusal(
    work: Transaction, account_id: UUID, limits: AccountGuards, view: MarketView, before: Decimal | None
) -> Refusal | None:
    """Return why an entry looks like a run gone wild, or None.

    Parameters
    ----------
    before
        Mid of the quote looked at before this one. A quote outside the collar is refused once and is then the reference, so
        a market that really moved trades on with the next look.
    """
    symbol, quote = view.instrument.symbol, view.quote
    collar = limits.price_collar_percent
    if collar > 0 and before is not None and abs(quote.mid - before) * 100 > before * collar:
        return _denied(
            "price_collar",
            f"mid of {symbol} must be within {collar:f} % of the last one seen {before:f}, was {quote.mid:f}: "
            "the next look takes it as reference",
        )
    if limits.orders_per_minute:
        sent = work.entries_sent_since(account_id, view.now - _MINUTE)
        if sent >= limits.orders_per_minute:
            return _denied(
                "orders_per_minute",
                f"entries of this account must be at most {limits.orders_per_minute} a minute, were {sent}: find out which "
                "run went wild before raising the cap",
            )
    return None


def _denied(rule: str, message: str) -> Refusal:
    return Refusal(IntentState.DENIED, rule, message, trip=rule, account_wide=True)
