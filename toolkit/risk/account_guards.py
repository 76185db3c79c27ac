"""The guardrails of an account: limits over all its runs and positions, and the guards against a run gone wild."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from toolkit.errors import BadInput, must_be
from toolkit.risk.guardrails import Guards

__all__ = ["AccountGuards"]

_OWN = ("orders_per_minute", "price_collar_percent", "max_currency_exposure")


@dataclass(frozen=True, slots=True)
class AccountGuards:
    """Limits of an account; they hold beside those of each run, so a run can tighten them and never loosen them.

    Parameters
    ----------
    orders_per_minute
        Largest number of entries sent within any minute of the platform's clock.
    price_collar_percent
        Deny an entry whose quote moved more than this from the last one that was looked at.
    max_currency_exposure
        Deny an entry that would bring the net position in one currency above this many times the account's equity.
    limits
        Any limit of `Guards` but ``cooldown_bars``; counted over everything on the account, positions opened by hand
        included, on the account's own equity.

    Raises
    ------
    BadInput
        When a number is out of range or a limit is unknown.
    """

    orders_per_minute: int
    price_collar_percent: Decimal
    max_currency_exposure: Decimal
    entries: Guards

    def __init__(
        self,
        *,
        orders_per_minute: int | None = None,
        price_collar_percent: Decimal | float | str | None = None,
        max_currency_exposure: Decimal | float | str | None = None,
        **limits: Any,
    ) -> None:
        put = object.__setattr__
        if orders_per_minute is not None and (
            isinstance(orders_per_minute, bool) or not isinstance(orders_per_minute, int) or orders_per_minute < 1
        ):
            raise BadInput(
                must_be(
                    "orders_per_minute", "a whole number of 1 or more", orders_per_minute, "leave it out for no cap"
                )
            )
        put(self, "orders_per_minute", orders_per_minute or 0)
        put(self, "price_collar_percent", _positive("price_collar_percent", price_collar_percent))
        put(self, "max_currency_exposure", _positive("max_currency_exposure", max_currency_exposure))
        if limits.pop("cooldown_bars", 0):
            raise BadInput(must_be("cooldown_bars", "a guard of a run", "set on an account", "an account has no bars"))
        known = sorted({*inspect.signature(Guards).parameters, *_OWN} - {"cooldown_bars"})
        if unknown := sorted(limits.keys() - set(known)):
            raise BadInput(
                must_be("account guards", f"known limits ({', '.join(known)})", ", ".join(unknown), "name it as listed")
            )
        put(self, "entries", Guards(**limits))

    @property
    def counts_money(self) -> bool:
        """Whether a limit measures the account's equity against that of its day or its peak."""
        return bool(self.entries.daily_loss_ppm or self.entries.drawdown_ppm)

    def facts(self) -> dict[str, Any]:
        """Canonical JSON-able form of the limits that are set."""
        out: dict[str, Any] = {}
        for name in _OWN:
            value = getattr(self, name)
            if value:
                out[name] = format(value, "f") if isinstance(value, Decimal) else value
        return out | {name: value for name, value in self.entries.facts().items() if value}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> AccountGuards:
        """Rebuild from `facts`; an unknown limit is refused rather than dropped."""
        return cls(**facts)


def _positive(name: str, value: Decimal | float | str | None) -> Decimal:
    if value is None:
        return Decimal(0)
    number = Decimal(str(value))
    if not number.is_finite() or number <= 0:
        raise BadInput(must_be(name, "above 0", value, "leave it out for no limit"))
    return number
