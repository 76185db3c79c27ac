"""From a strategy, bars, account and guards to what the loop takes: the one place where a run's integers are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from toolkit.errors import BadInput, must_be
from toolkit.market import Bars
from toolkit.market.platform_clock import day_ids, day_starts
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.simulation.holding.swap import SWAP_OFF
from toolkit.simulation.holding.terms import SwapTerms, margin_terms, nights_before, swap_terms
from toolkit.simulation.managed.plan import lay_out
from toolkit.simulation.rates import closes, value_columns
from toolkit.simulation.rules import OUTSIDE_HOURS
from toolkit.simulation.run import Plan, Prices, Terms
from toolkit.strategy.authoring.sections import Lots
from toolkit.strategy.drivers.columnar import Decisions
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Instrument

__all__ = ["FillAt", "Setup", "filling_from", "last_bars_of_days", "plan_of", "prepare", "prepare_many", "terms_of"]

_NO_NIGHTS = np.zeros(0, np.int64)
FillAt = Literal["next_open", "close"]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Setup:
    """What every run on these bars and this account shares."""

    bars: Bars
    account: PaperAccount
    guards: Guards
    fill_at: FillAt
    prices: Prices
    value: Int64
    swap: SwapTerms
    nights: Int64
    outside_hours: npt.NDArray[np.bool_] | None = None

    @property
    def given(self) -> Bars:
        """The bars as a driver is given them."""
        return self.bars

    @property
    def ts(self) -> Int64:
        """Opens of the bars."""
        return self.bars.ts

    @property
    def days(self) -> int:
        """Number of platform days with bars."""
        return len(self.prices.day_last)

    @property
    def span_ns(self) -> int:
        """Time from the first open to the last close."""
        return int(closes(self.bars)[-1]) - int(self.bars.ts[0])

    @property
    def words(self) -> str:
        """The data in words."""
        return f"{len(self.bars):,} {self.bars.symbol} {self.bars.timeframe}"

    def same_terms(self, other: Any) -> bool:
        """Whether results on another setup are results on this one."""
        return (
            isinstance(other, Setup)
            and (self.account, self.guards, self.fill_at) == (other.account, other.guards, other.fill_at)
            and np.array_equal(self.value, other.value)
            and self.bars.fingerprint == other.bars.fingerprint
            and self.bars.instrument == other.bars.instrument  # swap and margin are its facts too
        )


def last_bars_of_days(ts: Int64, day_end: str) -> Int64:
    """Index of the last bar of each platform day that has bars."""
    first, last = (int(d) for d in day_ids(ts[[0, -1]], day_end))
    midnights = day_starts(np.arange(first + 1, last + 1), day_end)
    before = np.searchsorted(ts, midnights) - 1
    return np.append(np.unique(before[before >= 0]), len(ts) - 1).astype(np.int64)


def prepare(
    bars: Bars,
    account: PaperAccount | None,
    guards: Guards | None,
    fill_at: FillAt,
    conversion: Mapping[str, Bars] | None,
) -> Setup:
    """Check what the caller gave and compute the columns that do not depend on the strategy.

    Raises
    ------
    BadInput
        When bars are missing or too few, or ``fill_at`` is unknown.
    ConversionRateMissing
        When profit cannot be converted to the account currency.
    """
    if not isinstance(bars, Bars):
        raise BadInput(must_be("bars", "tk.Bars", type(bars).__name__, "load them with tk.load_bars(...)"))
    if len(bars) < 2:
        raise BadInput(must_be("bars", "at least 2 rows", f"{len(bars)}", "a decision fills at the next bar's open"))
    if fill_at not in ("next_open", "close"):
        raise BadInput(must_be("fill_at", "'next_open' or 'close'", repr(fill_at), "live orders fill at the next open"))
    if guards is not None and not isinstance(guards, Guards):
        raise BadInput(must_be("guards", "tk.Guards", type(guards).__name__, "write guards=tk.Guards(...)"))
    if account is not None and not isinstance(account, PaperAccount):
        raise BadInput(must_be("account", "tk.PaperAccount", type(account).__name__, "use tk.PaperAccount(...)"))
    account = account or PaperAccount()
    value = value_columns(bars, account.currency, conversion)
    day_last = bars.derived.get(("day_last", account.day_end))
    if day_last is None:
        day_last = bars.derived["day_last", account.day_end] = last_bars_of_days(bars.ts, account.day_end)
    swap = swap_terms(account, bars.instrument)
    nights = nights_before(bars.ts, day_last, account.day_end, swap) if swap.mode != SWAP_OFF else _NO_NIGHTS
    prices = Prices.of(bars, day_last)
    guards = guards or Guards()
    return Setup(bars, account, guards, fill_at, prices, value, swap, nights, _outside_hours(bars, guards))


def _outside_hours(bars: Bars, guards: Guards) -> npt.NDArray[np.bool_] | None:
    """Whether the decision of each bar, carried out at the next open, falls outside the guards' hours."""
    if guards.trading_hours is None:
        return None
    return ~guards.trading_hours.allowed(np.append(bars.ts[1:], bars.ts[-1] + bars.timeframe.ns))


def prepare_many(
    bars: Bars,
    account: PaperAccount | None,
    guards: Guards | None,
    fill_at: FillAt,
    conversion: Mapping[str, Bars] | None,
) -> Setup:
    """Prepare for many runs on these bars: as `prepare`, and what makes each of them faster."""
    setup = prepare(bars, account, guards, fill_at, conversion)
    return replace(setup, prices=setup.prices.with_blocks())


def plan_of(decisions: Decisions, setup: Setup) -> Plan:
    """Take the strategy layer's decisions into the loop's terms.

    Raises
    ------
    BadInput
        When a strategy with pending entries or managed positions is to fill at the close: nothing can act there.
    """
    managed = None
    if decisions.management is not None:
        if setup.fill_at != "next_open":
            raise BadInput(
                must_be(
                    "fill_at of a strategy with pending entries or managed positions",
                    "'next_open'",
                    repr(setup.fill_at),
                    "leave it out",
                )
            )
        bars = setup.bars
        managed = lay_out(decisions.management, bars.ts, bars.timeframe.ns, bars.instrument.points_per_pip)
    code = decisions.code
    if setup.outside_hours is not None:
        code = np.where(setup.outside_hours, code | OUTSIDE_HOURS, code).astype(np.uint8)
    return Plan(code, decisions.stop_points, decisions.target_points, decisions.rr or 0.0, managed)


def filling_from(row: int, plan: Plan) -> Plan:
    """Return a plan under which nothing fills before the open of a row: the bars before it only warm up."""
    if row <= 1:
        return plan
    code = plan.code.copy()
    code[: row - 1] = 0  # the decision of the bar before it is the first that fills at its open
    return replace(plan, code=code)


def terms_of(setup: Setup, spec: StrategySpec, has_stop: bool) -> Terms:
    """Sizing, costs and guards of one strategy on one setup, in integers.

    Raises
    ------
    BadInput
        When the risk has more than 4 decimals, sizes from a stop that is not there, or the lots are below the minimum.
    """
    instrument, account, guards = setup.bars.instrument, setup.account, setup.guards
    fixed_steps, risk_ppm = _sizing(spec, instrument, has_stop)
    return Terms(
        balance=account.balance_minor,
        min_steps=instrument.min_steps,
        max_steps=instrument.max_steps,
        value=setup.value,
        fixed_steps=fixed_steps,
        risk_ppm=risk_ppm,
        costs=account.costs(instrument),
        daily_loss_ppm=guards.daily_loss_ppm,
        max_open=guards.max_open_per_symbol or 0,
        cooldown_bars=guards.cooldown_bars,
        max_spread_points=guards.max_spread_points(instrument.points_per_pip),
        drawdown_ppm=guards.drawdown_ppm,
        max_losses=guards.max_consecutive_losses or 0,
        max_open_run=guards.max_open or 0,
        max_lots_steps=guards.max_steps(instrument.volume_step),
        exposure_centi=guards.exposure_centi,
        at_close=setup.fill_at == "close",
        stop_required=has_stop,
        margin=margin_terms(account, instrument),
        swap=setup.swap,
        nights=setup.nights,
    )


def _sizing(spec: StrategySpec, instrument: Instrument, has_stop: bool) -> tuple[int, int]:
    risk: Any = spec.risk
    if isinstance(risk, Lots):
        steps = instrument.steps_floor(risk.lots)
        if steps < instrument.min_steps:
            raise BadInput(
                must_be(
                    f"lots of {spec.name} on {instrument.symbol}",
                    f"at least {instrument.volume_min}",
                    risk.lots,
                    f"write tk.Lots({instrument.volume_min}) or more",
                )
            )
        return min(steps, instrument.max_steps), 0
    if not has_stop:
        raise BadInput(
            must_be(
                f"protection of {spec.name}",
                "a stop loss when risk is a percentage",
                "without stop_loss",
                "give Protection(stop_loss=...), or size with tk.Lots",
            )
        )
    ppm = risk.percent * 10_000
    if ppm != int(ppm) or not 0 < ppm <= 1_000_000:
        raise BadInput(
            must_be(
                f"risk of {spec.name}",
                "above 0, at most 100 % and of 4 decimals",
                f"{risk.percent} %",
                "write tk.RiskPercent(1)",
            )
        )
    return 0, int(ppm)
