"""What is open and on its way at an account, in account money, signed by currency: the base of the size guards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.store import Transaction
from toolkit.execution.ports import PlatformOrder, PlatformPosition, TradingPlatform
from toolkit.execution.symbol_info import conversion_rate
from toolkit.market import Instrument, Quote, Rate, Side
from toolkit.simulation import rules
from toolkit.simulation.account import point_value


@dataclass(frozen=True, slots=True)
class Rated:
    """A symbol with what is needed to value it in account currency."""

    instrument: Instrument
    quote: Quote
    quote_to_account: Rate

    def notional(self, price: Decimal, lots: Decimal, currency: str) -> int:
        """Return the value of so many lots at a price, in minor units of the account currency."""
        num, den = point_value(self.instrument, currency, self.quote_to_account.num, self.quote_to_account.den)
        return rules.money(self.instrument.to_points(price), self.instrument.steps_floor(lots), num, den)


@dataclass(frozen=True, slots=True)
class Held:
    """A position, or an entry on its way, as the size guards count it."""

    symbol: str
    side: Side
    lots: Decimal
    position_id: str | None = None
    intent: IntentRecord | None = None


def rate_symbols(platform: TradingPlatform, symbols: Iterable[str], currency: str) -> dict[str, Rated]:
    """Read what is needed to value these symbols; any failing read raises, because nothing may be left out."""
    out: dict[str, Rated] = {}
    for symbol in symbols:
        instrument = platform.instrument(symbol)
        quote = platform.quote(symbol)
        out[symbol] = Rated(instrument, quote, conversion_rate(platform, instrument.quote_currency, currency))
    return out


def held_by_positions(positions: Iterable[PlatformPosition]) -> list[Held]:
    """Return the positions of a book."""
    return [Held(p.symbol, p.side, p.lots, p.position_id) for p in positions]


def held_by_intents(work: Transaction, waiting: Iterable[IntentRecord]) -> list[Held]:
    """Return entries on their way whose position cannot be seen yet, with the volume that was sent."""
    out: list[Held] = []
    for intent in waiting:
        sent = [order.lots for order in work.orders(intent.intent_id) if order.lots is not None]
        lots = sent[-1] if sent else intent.lots
        if lots is not None:
            out.append(Held(intent.symbol, intent.side, lots, intent=intent))
    return out


def held_by_rests(
    work: Transaction, account_id: UUID, orders: Iterable[PlatformOrder], counted: Iterable[IntentRecord]
) -> list[Held]:
    """Return what still works at the platform of our entries that were filled in part: it may become volume any time.

    Parameters
    ----------
    counted
        Entries whose whole volume is counted already.
    """
    working = [o for o in orders if o.lots > o.filled_lots]
    if not working:
        return []
    owners = work.intents_by_tag(
        account_id, {o.tag_text for o in working if o.tag_text}, {o.magic for o in working if o.magic}
    )
    known = {i.intent_id for i in counted}
    out: list[Held] = []
    for intent in owners:
        if intent.action.is_entry and intent.intent_id not in known:
            rests = (
                o.lots - o.filled_lots for o in working if o.tag_text == intent.client_tag or o.magic == intent.magic
            )
            out += [Held(intent.symbol, intent.side, rest, intent=intent) for rest in rests]
    return out


def total_notional(held: Iterable[Held], rated: Mapping[str, Rated], currency: str) -> int:
    """Return the value of everything held, whatever its side, each at the quote it could be closed at."""
    return sum(_notional(h, rated, currency) for h in held)


def net_by_currency(held: Iterable[Held], rated: Mapping[str, Rated], currency: str) -> dict[str, int]:
    """Return what is held of each currency, long positive, in minor units of the account currency.

    A symbol without a base currency (an index) counts under its own name.
    """
    net: defaultdict[str, int] = defaultdict(int)
    for h in held:
        value = _notional(h, rated, currency) * h.side.sign
        instrument = rated[h.symbol].instrument
        net[instrument.base_currency or h.symbol] += value
        net[instrument.quote_currency] -= value
    return dict(net)


def _notional(held: Held, rated: Mapping[str, Rated], currency: str) -> int:
    facts = rated[held.symbol]
    return facts.notional(facts.quote.price_for(held.side.opposite), held.lots, currency)
