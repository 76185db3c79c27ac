"""What a process keeps of a run between two steps, all of it rebuilt from the row when it is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from toolkit.clock import to_ns
from toolkit.errors import RunError, must_be
from toolkit.execution.builder import StopPolicy
from toolkit.live.engine import Desk, Engine
from toolkit.live.feed import FeedSpec, stored_bars
from toolkit.live.live_runs import LOCAL, load_feed, must_fit_platform
from toolkit.live.stepping.run_book import first_rows_of_days
from toolkit.live.stepping.run_state import RunState, decode
from toolkit.market import Bars, Instrument
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import to_minor
from toolkit.simulation.rates import value_columns
from toolkit.store.runs import RunRecord, Versions
from toolkit.strategy.authoring.management import FEATURES
from toolkit.strategy.drivers.incremental import Incremental
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

    @property
    def swapped(self) -> bool:
        """Whether positions are charged swap."""
        return self.instrument.swap_mode != "none"

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
    driver: Incremental
    next_row: int = 0
    synced: bool = False
    last_equity_event: float = -1e9


def hot_run(engine: Engine, desk: Desk, run: RunRecord) -> Hot:
    """Return the run as this process knows it; rebuilt from the row when somebody else moved it on."""
    key = (id(engine), run.live_run_id)
    hot = _cache.get(key)
    if hot is not None and hot.row_version == run.version:
        return hot
    program = hot.program if hot is not None else _program(engine, desk, run)
    state, strategy = decode(run.state)
    driver = Incremental(program.spec, program.instrument, strategy, timeframe=run.timeframe, supports=FEATURES)
    fresh = Hot(program, run.version, state, driver)
    if program.data is not None:
        cursor = -1 if run.cursor is None else to_ns(run.cursor)
        fresh.next_row = int(program.data.bars.ts.searchsorted(cursor, side="right"))
    while len(_cache) >= _CACHE_LIMIT:
        _cache.pop(next(iter(_cache)))
    _cache[key] = fresh
    return fresh


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
    bars = load_feed(engine, desk, feed, run)
    if desk.account.gateway != LOCAL:
        must_fit_platform(desk, version, run.symbols)
    day_end = desk.account.day_end
    currency = desk.account.currency
    instrument = bars.instrument if bars is not None else desk.platform.instrument(run.symbol)
    policy = options.get("stop_policy") or {}
    return Program(
        spec=spec,
        version_id=version.bot_version_id,
        version_hash=version.version_hash,
        instrument=instrument,
        currency=currency,
        day_end=day_end,
        guards=Guards.from_facts(json.loads(run.guards_json)),
        capital=to_minor(run.capital, currency),
        feed=feed,
        stop_policy=StopPolicy(policy.get("kind", "reject"), Decimal(str(policy.get("value", "0")))),
        reverse=bool(options.get("reverse", True)),
        has_target=spec.protection["target"]["kind"] != "none",
        warmup_bars=int(version.evidence.get("warmup_bars", spec.warmup_bars)),
        data=None if bars is None else _replay_data(engine, bars, feed, currency, day_end),
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


def _fields(bars: Bars) -> tuple[list[Any], ...]:
    nan: npt.NDArray[np.float64] = np.full(len(bars), np.nan)
    volume = nan if bars.volume is None else bars.volume
    return tuple(c.tolist() for c in (bars.ts, bars.open, bars.high, bars.low, bars.close, volume))
