"""What stands for the bars, and for values that come in groups, while a strategy is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from toolkit.errors import LookAheadError, StrategyError, must_be, suggest
from toolkit.strategy.authoring.expressions import PRICES, Expr, refuse_captured


class BarsSymbol:
    """The bars as a strategy sees them while it is traced: prices of the bid side and volume, as expressions."""

    __slots__ = ("_field", "_symbol")

    def __init__(self, symbol: str | None = None, field: Callable[[str], Expr] | None = None) -> None:
        self._symbol = symbol
        self._field = field

    @property
    def is_derived(self) -> bool:
        """Whether these are other bars than the ones given to ``indicators``."""
        return self._field is not None or self._symbol is not None

    def _read(self, name: str) -> Expr:
        if self._field is not None:
            return self._field(name)
        args: tuple[str, ...] = (name,) if self._symbol is None else (name, self._symbol)
        return Expr("field", args)

    @property
    def open(self) -> Expr:
        """Price at the bar's open, bid side."""
        return self._read("open")

    @property
    def high(self) -> Expr:
        """Highest price of the bar, bid side."""
        return self._read("high")

    @property
    def low(self) -> Expr:
        """Lowest price of the bar, bid side."""
        return self._read("low")

    @property
    def close(self) -> Expr:
        """Price at the bar's close, bid side."""
        return self._read("close")

    @property
    def volume(self) -> Expr:
        """Volume of the bar as the data source counts it."""
        return self._read("volume")

    @property
    def hl2(self) -> Expr:
        """Middle of the bar: (high + low) / 2."""
        return (self.high + self.low) / 2.0

    @property
    def hlc3(self) -> Expr:
        """Typical price: (high + low + close) / 3."""
        return (self.high + self.low + self.close) / 3.0

    @property
    def ohlc4(self) -> Expr:
        """Average price: (open + high + low + close) / 4."""
        return (self.open + self.high + self.low + self.close) / 4.0

    def __getitem__(self, symbol: object) -> BarsSymbol:
        if not isinstance(symbol, str):
            raise LookAheadError(
                must_be(
                    "bars[...]",
                    "a symbol such as bars['GBPUSD']",
                    repr(symbol),
                    "bars.close.shift(1) is the close one bar ago",
                )
            )
        return BarsSymbol(symbol)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        known = (*PRICES, "volume", "hl2", "hlc3", "ohlc4")
        raise StrategyError(
            must_be(
                "a price of the bars",
                "one of " + ", ".join(known),
                name,
                "times are tk.hour_between, tk.weekday, tk.minute_of_day" + suggest(name, known),
            )
        )

    def __repr__(self) -> str:
        return "bars" if self._symbol is None else f"bars[{self._symbol!r}]"


def as_bars(value: object, what: str) -> BarsSymbol:
    """Return the traced bars, or refuse anything else with the remedy."""
    if isinstance(value, BarsSymbol):
        return value
    if isinstance(value, Expr):
        raise StrategyError(
            must_be(
                f"the input of {what}", "bars", "one expression", f"it needs high, low and close: tk.{what}(bars, ...)"
            )
        )
    refuse_captured(value, what)


class Outputs:
    """Several expressions that belong together, read as attributes: ``bands.upper``."""

    __slots__ = ("_items",)

    def __init__(self, **items: Expr) -> None:
        self._items = items

    def items(self) -> tuple[tuple[str, Expr], ...]:
        """Return the pairs of name and expression."""
        return tuple(self._items.items())

    def __getattr__(self, name: str) -> Expr:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._items:
            raise StrategyError(
                must_be(
                    "the value read",
                    "one of " + ", ".join(self._items),
                    name,
                    "choose one of these" + suggest(name, self._items),
                )
            )
        return self._items[name]

    def __repr__(self) -> str:
        return "(" + ", ".join(f"{k}={v!r}" for k, v in self._items.items()) + ")"
