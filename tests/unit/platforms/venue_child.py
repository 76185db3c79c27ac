"""A process that trades a fixed plan on a journal, to be killed at any moment: ``venue_child.py JOURNAL BARS SLOW``."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from pathlib import Path

from toolkit.clock import from_ns
from toolkit.execution.ports import ClientTag, ClosePosition, ModifyProtection, OpenOrder, OrderType
from toolkit.market import Bars, Side
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount


def trade(journal: Path, bars: Bars, slow: float = 0.0) -> None:
    """Go through the bars; what the venue already has (by tag) is not sent again."""
    with SimulatedPlatform(journal, PaperAccount("USD", 10_000, commission_per_lot="3.5")) as venue:
        venue.load_replay(bars.symbol, bars)
        seen = {d.tag_text for d in venue.deals_after(None)}
        for i in range(len(bars)):
            moment = from_ns(int(bars.ts[i]))
            if moment < venue.now():
                continue
            venue.advance_clock_to(moment)
            if i % 5 == 0 and (tag := f"open{i}") not in seen:
                quote = venue.quote(bars.symbol)
                side = Side.BUY if i % 2 else Side.SELL
                entry, away = quote.price_for(side), side.sign * Decimal("0.00300")
                venue.send(
                    OpenOrder(
                        ClientTag(tag, i + 1),
                        bars.symbol,
                        side,
                        OrderType.MARKET,
                        Decimal("0.05"),
                        stop_loss=entry - away,
                        take_profit=entry + 2 * away,
                    )
                )
            positions = venue.book().positions
            for position in positions if i % 11 == 4 else ():
                # absolute and a function of the bar alone, so that doing it twice is doing it once
                away = position.side.sign * (Decimal("0.00310") - Decimal("0.00001") * (i % 9))
                stop = position.open_price - away
                if position.side.sign * (venue.quote(bars.symbol).bid - stop) > Decimal("0.001"):
                    venue.send(ModifyProtection(ClientTag(f"move{i}", i + 1), position.position_id, stop, None))
            if positions and i % 7 == 3 and (tag := f"part{i}") not in seen:
                venue.send(ClosePosition(ClientTag(tag, i + 1), positions[0].position_id, Decimal("0.01")))
            time.sleep(slow)
        venue.advance_clock_to(from_ns(bars.closes_at(len(bars) - 1)))


if __name__ == "__main__":
    print("ready", flush=True)
    trade(Path(sys.argv[1]), Bars.open(sys.argv[2]), float(sys.argv[3]))
