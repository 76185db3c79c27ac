"""Real prices shipped with the package, each with a card that says where they come from."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from toolkit.errors import BadInput, must_be
from toolkit.market.series.bars import Bars
from toolkit.market.series.loading import load_bars
from toolkit.market.timeframes import Timeframe


@cache
def sample_cards() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the provenance card of every packaged sample, by symbol and timeframe."""
    cards: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in sorted(files(__name__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".json"):
            card = json.loads(entry.read_text(encoding="utf-8"))
            cards[card["symbol"], card["timeframe"]] = card
    return cards


@cache
def sample_bars(symbol: str = "EURUSD", timeframe: Timeframe | str = "H1") -> Bars:
    """Return real bars shipped with the package.

    Raises
    ------
    BadInput
        When there is no such sample; the message lists what there is.
    """
    frame = Timeframe(timeframe)
    cards = sample_cards()
    card = cards.get((symbol, frame.value))
    if card is None:
        have = ", ".join(f"{s} {t}" for s, t in cards)
        raise BadInput(must_be("sample", f"one of {have}", f"{symbol} {frame}", "load your own data with load_bars"))
    with as_file(files(__name__).joinpath(card["file"])) as path:
        return load_bars(path, symbol=symbol, timeframe=frame, price=card["price"], spread_pips=card["spread_pips"])
