"""What a process keeps of a run between two steps, all of it rebuilt from the row when it is not there."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt

from toolkit.clock import to_ns
from toolkit.errors import RunError, must_be
from toolkit.execution.builder import StopPolicy
from toolkit.live.engine import Desk, Engine
from toolkit.live.feed import FeedSpec, stored_bars
from toolkit.live.live_runs import LOCAL, load_feed, must_fit_platform
from toolkit.live.stepping.run_book import Mark, first_rows_of_days
from toolkit.live.stepping.run_state import RunState, decode
from toolkit.market import Bars, Instrument
from toolkit.market.series.several import shared_moments
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import to_minor
from toolkit.simulation.rates import value_columns, values_at
from toolkit.store.runs import RunRecord, Versions
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.drivers.incremental import Incremental
from toolkit.strategy.drivers.joint import Fields, Joint
from toolkit.strategy.spec import StrategySpec

_CACHE_LIMIT = 2_000
_cache: dict[tuple[int, UUID], Hot] = {}


@dataclass(frozen=True, slots=True)
class ReplayData:
    """A replay's bars as plain Python columns, which the live driver reads fastest."""

    bars: Bars
    ts: list[int]
    rows: list[tuple[int, float, float, float, float, float]]
    values: list[tuple[int, int]]
    day_rows: list[int]
    end_ns: int

    def value_before(self, row: int) -> tuple[int, int]:
        """Return the point value at the open of a bar: that of the last close before it."""
        return self.values[max(row - 1, 0)] if len(self.values) > 1 else self.values[0]

    def mark(self, row: int) -> Mark:
        """Return quote and point value at the open of a bar."""
        return int(self.bars.bid_open[row]), int(self.bars.ask_open[row]), self.value_before(row)


@dataclass(frozen=True, slots=True)
class JointData:
    """The bars of several symbols that are replayed together, laid on the moments they share."""

    series: Mapping[str, Bars]
    ts: list[int]
    bars_at: list[dict[str, Fields]]
    opens: Mapping[str, list[int]]
    values: Mapping[str, list[tuple[int, int]]]
    day_rows: list[int]
    end_ns: int

    def mark(self, symbol: str, row: int) -> Mark:
        """Return a symbol's quote at the opens of a moment, the last close where it has no bar, and its point value."""
        at = bisect_right(self.opens[symbol], self.ts[row]) - 1
        value = self.values[symbol][max(row, 1)]  # the first moment knows no rate and makes no trade
        bars = self.series[symbol]
        if at < 0:
            return 0, 0, value
        if self.opens[symbol][at] == self.ts[row]:
            return int(bars.bid_open[at]), int(bars.ask_open[at]), value
        return int(bars.bid_close[at]), int(bars.ask_close[at]), value


@dataclass(frozen=True, slots=True)
class Program:
    """The parts of a run that do not change while it lives."""

    spec: StrategySpec
    version_id: UUID
    version_hash: str
    instrument: Instrument
    currency: str
    day_end: str
    guards: Guards
    capital: int
    feed: FeedSpec
    stop_policy: StopPolicy
    reverse: bool
    has_target: bool
    warmup_bars: int
    data: ReplayData | None
    instruments: Mapping[str, Instrument]
    joint: JointData | None = None

    @property
    def replayed(self) -> bool:
        """Whether recorded bars are played, whose venue's clock the run moves."""
        return self.feed.kind == "replay"

    @property
    def swapped(self) -> bool:
        """Whether positions are charged swap."""
        return any(instrument.swap_mode != "none" for instrument in self.instruments.values())

    def of(self, symbol: str) -> Program:
        """Return the program as one of its symbols sees it."""
        return self if self.instrument.symbol == symbol else replace(self, instrument=self.instruments[symbol])

    @property
    def managed(self) -> bool:
        """Whether the strategy has pending entries, or moves its positions while they are open."""
        return bool(self.spec.features)


@dataclass(slots=True)
class Hot:
    """A program with the driver and memory that belong to one version of its row."""

    program: Program
    row_version: int
    state: RunState
    driver: Incremental | Joint
    next_row: int = 0
    synced: bool = False
    last_equity_event: float = -1e9

    @property
    def single(self) -> Incremental:
        """The driver of a run on one symbol."""
        return cast("Incremental", self.driver)

    @property
    def several(self) -> Joint:
        """The drivers of a run on several symbols."""
        return cast("Joint", self.driver)


def hot_run(engine: Engine, desk: Desk, run: RunRecord) -> Hot:
    """Return the run as this process knows it; rebuilt from the row when somebody else moved it on."""
    key = (id(engine), run.live_run_id)
    hot = _cache.get(key)
    if hot is not None and hot.row_version == run.version:
        return hot
    program = hot.program if hot is not None else _program(engine, desk, run)
    state, strategy = decode(run.state)
    fresh = Hot(program, run.version, state, driver_of(program, run.timeframe, strategy))
    played = program.data or program.joint
    if played is not None:
        cursor = -1 if run.cursor is None else to_ns(run.cursor)
        fresh.next_row = bisect_right(played.ts, cursor)
    while len(_cache) >= _CACHE_LIMIT:
        _cache.pop(next(iter(_cache)))
    _cache[key] = fresh
    return fresh


def driver_of(program: Program, timeframe: str, state: bytes | None = None) -> Incremental | Joint:
    """Return what decides: one driver, or one for each symbol with what they read of each other."""
    if len(program.instruments) > 1:
        return Joint(program.spec, program.instruments, state, timeframe=timeframe)
    return Incremental(program.spec, program.instrument, state, timeframe=timeframe, supports=FEATURES)


def forget(engine: Engine, live_run_id: UUID) -> None:
    """Drop what was computed ahead of a commit that did not happen."""
    _cache.pop((id(engine), live_run_id), None)


def _program(engine: Engine, desk: Desk, run: RunRecord) -> Program:
    with engine.work(engine.service, write=False) as work:
        version = Versions(work.connection, engine.service).get(run.bot_version_id)
    spec = StrategySpec.from_json(version.spec_json)
    if spec.hash != version.spec_hash:
        raise RunError(
            must_be("stored spec", f"of hash {version.spec_hash[:12]}", spec.hash[:12], "restore the database row")
        )
    options: dict[str, Any] = run.options
    feed = FeedSpec.from_dict(json.loads(run.feed_json))
    series = load_feed(engine, desk, feed, run)
    if desk.account.gateway != LOCAL:
        must_fit_platform(desk, version, run.symbols)
    day_end = desk.account.day_end
    currency = desk.account.currency
    several = len(run.symbols) > 1
    if series is None:
        instruments = {symbol: desk.platform.instrument(symbol) for symbol in run.symbols}
    else:
        instruments = {symbol: bars.instrument for symbol, bars in series.items()}
    policy = options.get("stop_policy") or {}
    return Program(
        spec=spec,
        version_id=version.bot_version_id,
        version_hash=version.version_hash,
        instrument=instruments[run.symbol],
        currency=currency,
        day_end=day_end,
        guards=Guards.from_facts(json.loads(run.guards_json)),
        capital=to_minor(run.capital, currency),
        feed=feed,
        stop_policy=StopPolicy(policy.get("kind", "reject"), Decimal(str(policy.get("value", "0")))),
        reverse=bool(options.get("reverse", True)),
        has_target=spec.protection["target"]["kind"] != "none",
        warmup_bars=int(version.evidence.get("warmup_bars", spec.warmup_bars)),
        data=None if series is None or several else _replay_data(engine, series[run.symbol], feed, currency, day_end),
        instruments=instruments,
        joint=_joint_data(engine, series, feed, currency, day_end) if series is not None and several else None,
    )


def _replay_data(engine: Engine, bars: Bars, feed: FeedSpec, currency: str, day_end: str) -> ReplayData:
    further = [stored_bars(engine.settings.home, f) for f in feed.conversion]
    pairs = value_columns(bars, currency, {b.symbol: b for b in further}).reshape(-1, 2)
    return ReplayData(
        bars=bars,
        ts=bars.ts.tolist(),
        rows=list(zip(*_fields(bars), strict=True)),
        values=[(int(num), int(den)) for num, den in pairs.tolist()],
        day_rows=first_rows_of_days(bars.ts, day_end).tolist(),
        end_ns=int(bars.ts[-1]) + bars.timeframe.ns,
    )


def _joint_data(engine: Engine, series: Mapping[str, Bars], feed: FeedSpec, currency: str, day_end: str) -> JointData:
    conversion = {b.symbol: b for b in (stored_bars(engine.settings.home, f) for f in feed.conversion)}
    moments = shared_moments(series.values())
    end_ns = int(moments[-1]) + next(iter(series.values())).timeframe.ns
    bars_at: list[dict[str, Fields]] = [{} for _ in moments]
    values = {}
    for symbol, bars in series.items():
        for row, fields in zip(moments.searchsorted(bars.ts).tolist(), zip(*_fields(bars), strict=True), strict=True):
            bars_at[row][symbol] = fields
        pairs = {**conversion, **{name: other for name, other in series.items() if name != symbol}}
        pointed = values_at(bars, np.append(moments, end_ns), currency, pairs)
        values[symbol] = [(int(num), int(den)) for num, den in pointed.tolist()]
    return JointData(
        series=series,
        ts=moments.tolist(),
        bars_at=bars_at,
        opens={symbol: bars.ts.tolist() for symbol, bars in series.items()},
        values=values,
        day_rows=first_rows_of_days(moments, day_end).tolist(),
        end_ns=end_ns,
    )


def _fields(bars: Bars) -> tuple[list[Any], ...]:
    nan: npt.NDArray[np.float64] = np.full(len(bars), np.nan)
    volume = nan if bars.volume is None else bars.volume
    return tuple(c.tolist() for c in (bars.ts, bars.open, bars.high, bars.low, bars.close, volume))
