"""The package's calls about symbols, ticks and bars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from toolkit.platforms.simmt5.session import FAILED, NOT_FOUND, TerminalSession
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simmt5.surface.filters import in_group, wall
from toolkit.platforms.simmt5.surface.tuples import make

RATES = np.dtype(
    [
        ("time", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("tick_volume", "<u8"),
        ("spread", "<i4"),
        ("real_volume", "<u8"),
    ]
)
TICKS = np.dtype(
    [
        ("time", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("last", "<f8"),
        ("volume", "<u8"),
        ("time_msc", "<i8"),
        ("flags", "<u4"),
        ("volume_real", "<f8"),
    ]
)


class MarketCalls(TerminalSession):
    """Symbols, ticks and bars of the simulated terminal."""

    # --- symbols ---------------------------------------------------------------------------------------------------

    def symbols_total(self) -> int:
        """Return how many symbols the server has."""
        return len(self.server.symbols()) if self._open() else 0

    def symbols_get(self, group: str | None = None) -> tuple[Any, ...] | None:
        """Return all symbols, or those a group pattern names."""
        if not self._open():
            return None
        found = [(name, ours) for name, ours in self.server.symbols().items() if in_group(name, group)]
        return tuple(self.server.symbol(ours, visible=ours not in self._hidden) for _, ours in found)

    def symbol_info(self, symbol: str) -> Any:
        """Return ``SymbolInfo``, None for an unknown name."""
        ours = self._known(symbol)
        return None if ours is None else self.server.symbol(ours, visible=ours not in self._hidden)

    def symbol_select(self, symbol: str, enable: bool = True) -> bool:
        """Put a symbol into Market Watch or take it out."""
        ours = self._known(symbol)
        if ours is None:
            return False
        (self._hidden.discard if enable else self._hidden.add)(ours)
        return True

    def symbol_info_tick(self, symbol: str) -> Any:
        """Return the last ``Tick``; None for an unknown symbol or one outside Market Watch."""
        ours = self._known(symbol)
        if ours is None or ours in self._hidden:
            return None if ours is None else self._fail(NOT_FOUND)
        quote = self.server.quote(ours)
        if quote is None:
            return make("Tick", bid=0.0, ask=0.0, last=0.0, volume_real=0.0)
        facts = self.server.facts(ours)
        seconds, milliseconds = self.server.wall(quote[2])
        return make(
            "Tick",
            time=seconds,
            time_msc=milliseconds,
            bid=float(facts.price(quote[0])),
            ask=float(facts.price(quote[1])),
            last=0.0,
            volume_real=0.0,
            flags=6,
        )

    def _known(self, name: object) -> str | None:
        if not self._open():
            return None
        if not isinstance(name, str) or len(name) > 29:
            self._fail((-2, 'Invalid "symbol" argument'))
            return None
        ours = self.server.symbols().get(name)
        if ours is None:
            self._fail(NOT_FOUND)
        return ours

    # --- market data -----------------------------------------------------------------------------------------------

    def copy_rates_from_pos(self, symbol: str, timeframe: int, start_pos: int, count: int) -> Any:
        """Return bars counted back from the forming one, which is position 0, oldest first."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        end = len(rates) - start_pos
        return rates[max(0, end - count) : max(0, end)]

    def copy_rates_from(self, symbol: str, timeframe: int, date_from: datetime | float, count: int) -> Any:
        """Return ``count`` bars up to and including the one open at that server time."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        upto = rates[rates["time"] <= wall(date_from)]
        return upto[max(0, len(upto) - count) :]

    def copy_rates_range(
        self, symbol: str, timeframe: int, date_from: datetime | float, date_to: datetime | float
    ) -> Any:
        """Return the bars that opened within two server times."""
        rates = self._rates(symbol, timeframe)
        if rates is None:
            return None
        return rates[(rates["time"] >= wall(date_from)) & (rates["time"] <= wall(date_to))]

    def _rates(self, symbol: str, timeframe: int) -> Any:
        """Return all bars up to now; the last one is the forming bar, of which only the open is known yet."""
        ours = self._known(symbol)
        if ours is None:
            return None
        replay = self.server.venue.prices.replays.get(ours)
        if replay is None or CONSTANTS.get(f"TIMEFRAME_{replay.bars.timeframe.value}") != timeframe:
            return self._fail(FAILED)
        bars, scale = replay.bars, replay.bars.instrument.scale
        n = replay.opened(self.server.venue.state.clock_ns)
        rates = np.zeros(n, dtype=RATES)
        rates["time"] = self.server.time.clock.from_utc(replay.open_ns[:n]) // 1_000_000_000
        for name in ("open", "high", "low", "close"):
            rates[name] = getattr(bars, f"bid_{name}")[:n] / scale
        rates["spread"] = bars.ask_close[:n] - bars.bid_close[:n]
        rates["tick_volume"] = 1 if bars.volume is None else bars.volume[:n].astype(np.uint64)
        if n and replay.close_ns[n - 1] > self.server.venue.state.clock_ns:
            for name in ("high", "low", "close"):
                rates[name][-1] = rates["open"][-1]
            rates["spread"][-1] = bars.ask_open[n - 1] - bars.bid_open[n - 1]
            rates["tick_volume"][-1] = 1
        return rates

    def copy_ticks_from(self, symbol: str, date_from: datetime | float, count: int, flags: int) -> Any:
        """Return ticks from a server time on: one at each open of recorded bars, and the last; no others are kept."""
        found = self._ticks(symbol)
        return None if found is None else found[found["time"] >= wall(date_from)][:count]

    def copy_ticks_range(self, symbol: str, date_from: datetime | float, date_to: datetime | float, flags: int) -> Any:
        """Return ticks between two server times: one at each open of recorded bars, and the last; no others are kept."""
        found = self._ticks(symbol)
        if found is None:
            return None
        return found[(found["time"] >= wall(date_from)) & (found["time"] <= wall(date_to))]

    def _ticks(self, symbol: str) -> Any:
        tick = self.symbol_info_tick(symbol)
        if tick is None:
            return None
        row = (tick.time, tick.bid, tick.ask, tick.last, tick.volume, tick.time_msc, tick.flags, tick.volume_real)
        newest = np.array([row] if tick.time else [], dtype=TICKS)
        replay = self.server.venue.prices.replays.get(self._known(symbol) or "")
        if replay is None:
            return newest
        bars, n = replay.bars, replay.opened(self.server.venue.state.clock_ns)
        opens = np.zeros(n, dtype=TICKS)
        opens["time_msc"] = self.server.time.clock.from_utc(replay.open_ns[:n]) // 1_000_000
        opens["time"] = opens["time_msc"] // 1_000
        opens["flags"] = tick.flags
        for side in ("bid", "ask"):
            opens[side] = getattr(bars, f"{side}_open")[:n] / bars.instrument.scale
        return np.concatenate([opens[opens["time_msc"] < tick.time_msc], newest])

    def market_book_add(self, symbol: str) -> bool:
        """Subscribe to depth of market, which this server does not have."""
        self._known(symbol)
        return False

    def market_book_get(self, symbol: str) -> tuple[Any, ...] | None:
        """Return depth of market; there is none."""
        return None if self._known(symbol) is None else ()

    def market_book_release(self, symbol: str) -> bool:
        """End a subscription."""
        return self._known(symbol) is not None
