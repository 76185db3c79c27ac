"""Contract facts of a symbol, exact, and the packaged table research uses when no platform is asked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from toolkit.errors import BadInput, QuoteError, UnknownSymbol, must_be
from toolkit.market.exact import EXACT, Number, plain, ratio, to_decimal

INT32_MAX = 2_147_483_647
AUTO_DIGITS = -1
MARGIN_MODES = ("forex", "forex_no_leverage", "cfd", "cfd_index", "cfd_leverage")
SWAP_MODES = ("none", "points", "money", "money_base", "money_account", "percent")


@dataclass(frozen=True, slots=True)
class Instrument:
    """What one lot of a symbol is and in which steps it trades; numbers may be str, Decimal, int or float.

    Parameters
    ----------
    symbol
        Name at the venue, e.g. ``EURUSD``.
    quote_currency
        Currency the price is in; profit arises in it.
    pip_size
        One pip in price units (EURUSD 0.0001, USDJPY 0.01, XAUUSD 0.1).
    contract_size
        Units of the underlying in one lot.
    volume_min, volume_max, volume_step
        Smallest and largest order and the step between sizes, in lots.
    digits
        Decimals of a price; a point is ``10**-digits``. Default (also None): one more than the pip has.
    base_currency
        Currency of one unit of the underlying, where it is one; margin of FX arises in it.
    default_spread_pips
        Spread research assumes when the data has one side only; None: it must be given.
    swap_mode, swap_long, swap_short, swap_triple_weekday
        Overnight charge a lot, negative when the position pays: ``points``; money in the quote currency (``money``), the
        base currency (``money_base``) or the account's (``money_account``); ``percent`` of the price a year; or
        ``none``. The end of the weekday (0 Monday) is charged three times.
    margin_mode, margin_rate
        How the platform computes margin (see `toolkit.market.money.contract.margin`) and its factor.
    asset_class
        forex, metal, index, energy, crypto or stock.
    source
        Where the facts come from; not part of their identity.

    Raises
    ------
    BadInput
        When a fact is missing, not finite, not positive or contradicts another.
    """

    symbol: str
    quote_currency: str
    pip_size: Decimal
    contract_size: Decimal
    volume_min: Decimal
    volume_max: Decimal
    volume_step: Decimal
    digits: int = AUTO_DIGITS
    base_currency: str | None = None
    default_spread_pips: Decimal | None = None
    swap_mode: str = "none"
    swap_long: Decimal = Decimal(0)
    swap_short: Decimal = Decimal(0)
    swap_triple_weekday: int = 2
    margin_mode: str = "forex"
    margin_rate: Decimal = Decimal(1)
    asset_class: str = "forex"
    source: str = field(default="", compare=False)
    point: Decimal = field(init=False, repr=False, compare=False)
    scale: int = field(init=False, repr=False, compare=False)
    points_per_pip: int = field(init=False, repr=False, compare=False)
    min_steps: int = field(init=False, repr=False, compare=False)
    max_steps: int = field(init=False, repr=False, compare=False)

    _DERIVED: ClassVar[frozenset[str]] = frozenset({"point", "scale", "points_per_pip", "min_steps", "max_steps"})

    def __post_init__(self) -> None:
        put = object.__setattr__
        name = self.symbol
        if not name or not isinstance(name, str) or name != name.strip():
            raise BadInput(must_be("symbol", "a name without spaces around it", repr(name), "use the venue's name"))
        for key in ("quote_currency", "base_currency"):
            code = getattr(self, key)
            if code is None and key == "base_currency":
                continue
            if not isinstance(code, str) or not code.isalnum() or code != code.upper() or not 3 <= len(code) <= 5:
                raise BadInput(
                    must_be(f"{key} of {name}", "an upper-case code such as USD", repr(code), "use the ISO code")
                )
        for key in ("pip_size", "contract_size", "volume_min", "volume_max", "volume_step", "margin_rate"):
            number = to_decimal(getattr(self, key), f"{key} of {name}")
            if number <= 0:
                raise BadInput(
                    must_be(f"{key} of {name}", "above 0", number, "take it from the platform's symbol facts")
                )
            put(self, key, Decimal(plain(number)))
        for key in ("swap_long", "swap_short"):
            put(self, key, Decimal(plain(to_decimal(getattr(self, key), f"{key} of {name}"))))
        if self.default_spread_pips is not None:
            spread = to_decimal(self.default_spread_pips, f"default_spread_pips of {name}")
            if spread < 0:
                raise BadInput(must_be(f"default_spread_pips of {name}", "0 or more", spread, "ask is above bid"))
            put(self, "default_spread_pips", Decimal(plain(spread)))
        self._check_choices(name)
        pip = self.pip_size
        digits: int | None = self.digits
        if digits is None or digits == AUTO_DIGITS:
            exponent = pip.as_tuple().exponent
            digits = max(0, -int(exponent)) + 1
        elif isinstance(digits, bool) or not isinstance(digits, int) or not 0 <= digits <= 9:
            raise BadInput(
                must_be(
                    f"digits of {name}",
                    "a whole number from 0 to 9",
                    repr(digits),
                    "count the price's decimals",
                )
            )
        point = Decimal(1).scaleb(-digits)
        per_pip = pip.scaleb(digits, EXACT)
        if per_pip != per_pip.to_integral_value() or per_pip < 1:
            raise BadInput(
                must_be(f"pip_size of {name}", f"a multiple of the point {point}", pip, "correct digits or pip_size")
            )
        min_steps = int(EXACT.divide_int(self.volume_min, self.volume_step))
        min_steps += EXACT.multiply(self.volume_step, Decimal(min_steps)) < self.volume_min
        max_steps = int(EXACT.divide_int(self.volume_max, self.volume_step))
        if max_steps < min_steps:
            raise BadInput(
                must_be(
                    f"volume_max of {name}",
                    f"at least volume_min {self.volume_min}",
                    self.volume_max,
                    "swap the two",
                )
            )
        put(self, "digits", digits)
        put(self, "point", point)
        put(self, "scale", 10**digits)
        put(self, "points_per_pip", int(per_pip))
        put(self, "min_steps", min_steps)
        put(self, "max_steps", max_steps)

    def _check_choices(self, name: str) -> None:
        if self.margin_mode not in MARGIN_MODES:
            raise BadInput(
                must_be(
                    f"margin_mode of {name}",
                    "one of " + " ".join(MARGIN_MODES),
                    repr(self.margin_mode),
                    "see the platform",
                )
            )
        if self.swap_mode not in SWAP_MODES:
            raise BadInput(
                must_be(
                    f"swap_mode of {name}",
                    "one of " + " ".join(SWAP_MODES),
                    repr(self.swap_mode),
                    "see the platform",
                )
            )
        if self.swap_triple_weekday not in range(7):
            raise BadInput(
                must_be(
                    f"swap_triple_weekday of {name}",
                    "0 (Monday) to 6",
                    repr(self.swap_triple_weekday),
                    "Wednesday is 2",
                )
            )

    def to_points(self, price: Number, *, on_grid: bool = False) -> int:
        """Return the price as whole points: the nearest one, halves up.

        Raises
        ------
        QuoteError
            When ``on_grid`` is asked and the price lies between two points, or it does not fit into 32 bits.
        """
        exact = to_decimal(price, f"price of {self.symbol}", QuoteError).scaleb(self.digits, EXACT)
        points = int(exact.to_integral_value(ROUND_HALF_UP, EXACT))
        if on_grid and points != exact:
            raise QuoteError(
                must_be(f"price of {self.symbol}", f"a multiple of the point {self.point}", price, "round it first")
            )
        if abs(points) > INT32_MAX:
            raise QuoteError(
                must_be(
                    f"price of {self.symbol}",
                    f"below {self.price(INT32_MAX)}",
                    price,
                    "use an instrument with fewer digits",
                )
            )
        return points

    def price(self, points: int) -> Decimal:
        """Return whole points as a price, with all its decimals."""
        return Decimal(int(points)).scaleb(-self.digits, EXACT)

    def lots(self, steps: int) -> Decimal:
        """Return whole volume steps as lots."""
        return EXACT.multiply(self.volume_step, Decimal(int(steps)))

    def steps_floor(self, lots: Number) -> int:
        """Return how many whole volume steps fit into ``lots``, exactly."""
        return int(EXACT.divide_int(to_decimal(lots, "lots"), self.volume_step))

    def pips(self, distance: Number) -> Decimal:
        """Return a price distance in pips."""
        num, den = to_decimal(distance, "distance").as_integer_ratio()
        pip_num, pip_den = self.pip_size.as_integer_ratio()
        return ratio(num * pip_den, den * pip_num)

    def facts(self) -> dict[str, str | int | None]:
        """Return the facts as a JSON-able dict with one spelling per value, for versions and comparisons."""
        out: dict[str, str | int | None] = {}
        for f in fields(self):
            if f.name in self._DERIVED or f.name == "source":
                continue
            value = getattr(self, f.name)
            out[f.name] = plain(value) if isinstance(value, Decimal) else value
        return out

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Instrument:
        """Build an instrument from what `facts` returned; an unknown or missing fact is refused."""
        known = {f.name for f in fields(cls)} - cls._DERIVED
        if unknown := sorted(set(facts) - known):
            raise BadInput(
                must_be("instrument facts", "known names", ", ".join(unknown), "use " + ", ".join(sorted(known)))
            )
        needed = [
            "symbol",
            "quote_currency",
            "pip_size",
            "contract_size",
            "volume_min",
            "volume_max",
            "volume_step",
        ]
        if missing := [key for key in needed if key not in facts]:
            raise BadInput(
                must_be("instrument facts", "complete", "without " + ", ".join(missing), "add what is missing")
            )
        return cls(**facts)


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("toolkit.market").joinpath("instruments.json").read_text(encoding="utf-8")
    book = json.loads(text)
    table: dict[str, dict[str, Any]] = {}
    for row in book["instruments"]:
        source = "; ".join(book["sources"][key] for key in row["sources"])
        facts = {key: value for key, value in row.items() if key != "sources"}
        table[row["symbol"]] = {**book["classes"][row["asset_class"]], **facts, "source": source}
    return table


@cache
def _find(symbol: str) -> Instrument:
    table = _table()
    row = table.get(symbol)
    if row is None:
        close = difflib.get_close_matches(symbol.upper(), table, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}? Otherwise" if close else "otherwise"
        raise UnknownSymbol(
            must_be(
                "symbol",
                f"one of the {len(table)} in the packaged table",
                repr(symbol),
                f"{hint} give its contract facts with instrument=Instrument(...)",
            )
        )
    return Instrument.from_facts(row)


def find_instrument(symbol: str) -> Instrument:
    """Return the packaged contract facts of a symbol.

    Raises
    ------
    UnknownSymbol
        When the table has no such symbol; the message names close matches and the ``instrument=`` way out.
    """
    return _find(symbol)


def known_symbols() -> tuple[str, ...]:
    """Return the symbols of the packaged table, sorted."""
    return tuple(sorted(_table()))
