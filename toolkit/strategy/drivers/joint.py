"""Several symbols, bar by bar: one incremental driver each, and what each may read of the others."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.errors import SpecError, must_be
from toolkit.market.timeframes import Timeframe
from toolkit.strategy.drivers.incremental import Decision, Incremental
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Instrument

Fields = tuple[int, float, float, float, float, float]  # open in ns, open, high, low, close, volume

_HEADER = struct.Struct("<4sI")
_MAGIC = b"SEAJ"
_LENGTH = struct.Struct("<I")
_BAR = struct.Struct("<?q5d")
_NO_BAR: Fields = (0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Joint:
    """A strategy on several symbols, advanced moment by moment; each symbol decides as in `columnar.evaluate`.

    Parameters
    ----------
    spec
        The strategy with its parameter values.
    instruments
        Contract facts by symbol, in the order in which symbols act.
    state
        What `state` returned earlier, for the same strategy and symbols.
    supports, timeframe
        As for `toolkit.strategy.drivers.incremental.Incremental`.
    """

    def __init__(
        self,
        spec: StrategySpec,
        instruments: Mapping[str, Instrument],
        state: bytes | None = None,
        *,
        supports: Iterable[str] = (),
        timeframe: Timeframe | str | None = None,
    ) -> None:
        self.spec = spec
        kept, last = _unpack(state, len(instruments))
        able = tuple(supports)
        self.drivers = {
            symbol: Incremental(spec, facts, held, supports=able, timeframe=timeframe, symbols=tuple(instruments))
            for (symbol, facts), held in zip(instruments.items(), kept, strict=True)
        }
        self._last: dict[str, Fields] = {}
        for symbol, bar in zip(self.drivers, last, strict=True):
            if bar is not None:
                self._see(symbol, bar)

    def _see(self, symbol: str, bar: Fields) -> None:
        self._last[symbol] = bar
        for other, driver in self.drivers.items():
            if other != symbol:
                driver.see(symbol, *bar)

    def step(self, bars: Mapping[str, Fields]) -> dict[str, Decision]:
        """Take the closed bars that opened at one moment and decide on each, in the declared order."""
        for symbol, bar in bars.items():
            self._see(symbol, bar)
        return {symbol: driver.step(*bars[symbol]) for symbol, driver in self.drivers.items() if symbol in bars}

    @property
    def values(self) -> dict[str, dict[str, Any]]:
        """Values of the named nodes at the last bar of each symbol."""
        return {symbol: driver.values for symbol, driver in self.drivers.items()}

    def state(self) -> bytes:
        """Return everything needed to go on later, exactly."""
        parts = [_HEADER.pack(_MAGIC, len(self.drivers))]
        for symbol, driver in self.drivers.items():
            held, bar = driver.state(), self._last.get(symbol)
            parts += [_LENGTH.pack(len(held)), held, _BAR.pack(bar is not None, *(bar or _NO_BAR))]
        return b"".join(parts)


def _unpack(state: bytes | None, count: int) -> tuple[list[bytes | None], list[Fields | None]]:
    if state is None:
        return [None] * count, [None] * count
    kept: list[bytes | None] = []
    last: list[Fields | None] = []
    try:
        magic, held = _HEADER.unpack_from(state)
        at = _HEADER.size
        for _ in range(held):
            (length,) = _LENGTH.unpack_from(state, at)
            at += _LENGTH.size
            kept.append(state[at : at + length])
            at += length
            known, *bar = _BAR.unpack_from(state, at)
            at += _BAR.size
            last.append(tuple(bar) if known else None)
    except struct.error as error:
        raise SpecError(must_be("a strategy state", "complete", str(error), "it is damaged")) from error
    if magic != _MAGIC or held != count or at != len(state):
        raise SpecError(
            must_be("a strategy state", f"of {count} symbols", f"of {held}", "start from a warm-up instead")
        )
    return kept, last
