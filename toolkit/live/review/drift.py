"""Drift: a run against its own version, replayed over the bars it saw. Without a fault it is exactly zero."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from toolkit.clock import from_ns, to_ns
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.review.closed_rows import closed_rows
from toolkit.live.review.seen_bars import seen_bars, seen_of_each
from toolkit.market import Bars, Instrument
from toolkit.risk.guardrails import Guards
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import read_account
from toolkit.store.runs import RunRecord, Runs, Versions
from toolkit.strategy.spec import StrategySpec

TradeRow = Mapping[str, Any]
# The backtest over a run's bars: spec, bars (of several symbols by symbol), account, guards, conversion, and the first row
# at whose open it may fill, those before it warm up.
Model = Callable[..., Sequence[TradeRow]]
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far a run is from its model; money in account currency, live minus model.

    Attributes
    ----------
    bars
        Bars compared.
    missed_bars
        Opens of bars that the venue had and the run did not see.
    matched, missing, extra
        Closed trades on both sides; only in the model; only live (entry time and side decide).
    entry_slippage_points, exit_slippage_points
        Points lost (positive) against the model over all matched trades.
    causes
        The profit gap by cause: ``missing``, ``extra``, ``size``, ``entry_price``, ``exit``, ``commission``, ``swap``.
    profit_gap
        Sum of the causes.
    """

    live_run_id: UUID
    bars: int
    missed_bars: tuple[str, ...]
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    entry_slippage_points: int
    exit_slippage_points: int
    causes: dict[str, Decimal]
    profit_gap: Decimal
    currency: str

    @property
    def is_zero(self) -> bool:
        """Whether live and model are equal in every trade."""
        return not (
            self.missed_bars
            or self.missing
            or self.extra
            or self.entry_slippage_points
            or self.exit_slippage_points
            or any(self.causes.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        data = asdict(self)
        data["live_run_id"] = str(self.live_run_id)
        data["causes"] = {k: str(v) for k, v in self.causes.items()}
        data["profit_gap"] = str(self.profit_gap)
        return data

    def __str__(self) -> str:
        if self.is_zero:
            return f"no drift: {self.matched} trades over {self.bars:,} bars, equal to the model"
        words = []
        if self.missed_bars:
            words.append(f"{len(self.missed_bars)} missed bar(s), the first {self.missed_bars[0]}")
        if self.missing:
            words.append(f"{len(self.missing)} missing entr(ies), the first {self.missing[0]}")
        if self.extra:
            words.append(f"{len(self.extra)} extra entr(ies), the first {self.extra[0]}")
        if self.entry_slippage_points or self.exit_slippage_points:
            words.append(f"slippage {self.entry_slippage_points} points in, {self.exit_slippage_points} out")
        split = ", ".join(f"{name} {money:+}" for name, money in self.causes.items() if money)
        return f"drift {self.profit_gap:+} {self.currency} ({split or 'no money'}): " + "; ".join(words)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{v:+}</td></tr>" for k, v in self.causes.items())
        return f"<p>{html.escape(str(self))}</p><table>{rows}</table>"


def measure_drift(engine: Engine, principal: Principal, live_run_id: UUID, model: Model) -> DriftReport:
    """Compare a run's closed trades with its version over the bars up to its cursor.

    Parameters
    ----------
    model
        The backtest; handed in, so that live does not import research.
    """
    with engine.work(principal, write=False) as work:
        run = Runs(work.connection, principal).get(live_run_id)
        version = Versions(work.connection, principal).get(run.bot_version_id)
        owner = read_account(work.connection, run.account_id)
        rows = closed_rows(work.connection, live_run_id, owner.currency)
    each = seen_of_each(engine, run, version) if len(run.symbols) > 1 else {run.symbol: seen_bars(engine, run, version)}
    full = {symbol: seen.full for symbol, seen in each.items()}
    first = {symbol: seen.first_fill for symbol, seen in each.items()}
    conversion = {name: bars for seen in each.values() for name, bars in seen.conversion.items()}
    account = _terms(owner.settings, run)
    guards = Guards.from_facts(json.loads(run.guards_json))
    spec = StrategySpec.from_json(version.spec_json)
    several = len(full) > 1
    given, begin = (full, first) if several else (full[run.symbol], first[run.symbol])
    expected = list(model(spec, given, account, guards, conversion, begin))
    if _is_live(run):
        # What ends in the bar that is still open is not in the model yet.
        ends = {symbol: from_ns(bars.closes_at(len(bars) - 1)) for symbol, bars in full.items()}
        rows = [t for t in rows if t["exit_time"] < ends[str(t["symbol"])]]
    missed = tuple(sorted(ts for seen in each.values() for ts in seen.missed))
    return compare_trades(run, expected, rows, full, owner.currency, missed)


def compare_trades(
    run: RunRecord,
    expected: Sequence[TradeRow],
    live: Sequence[TradeRow],
    series: Mapping[str, Bars],
    currency: str,
    missed: tuple[str, ...],
) -> DriftReport:
    """Match trades by symbol, the bar they were entered in, side and order of exit, and split the profit gap by cause."""
    mine = dict(_numbered(live, series))
    causes = dict.fromkeys(("missing", "extra", "size", "entry_price", "exit", "commission", "swap"), _ZERO)
    missing: list[str] = []
    slip_in = slip_out = matched = 0
    for key, trade in _numbered(expected, series):
        got = mine.pop(key, None)
        if got is None:
            missing.append(_name(trade))
            causes["missing"] -= _net(trade)
            continue
        matched += 1
        instrument = series[str(trade["symbol"])].instrument
        slip_in += _points_lost(trade, got, "entry_price", instrument)
        slip_out -= _points_lost(trade, got, "exit_price", instrument)
        _split(trade, got, causes)
    causes["extra"] = sum((_net(t) for t in mine.values()), _ZERO)
    return DriftReport(
        live_run_id=run.live_run_id,
        bars=sum(len(bars) for bars in series.values()),
        missed_bars=missed,
        matched=matched,
        missing=tuple(missing),
        extra=tuple(_name(t) for t in mine.values()),
        entry_slippage_points=slip_in,
        exit_slippage_points=slip_out,
        causes=causes,
        profit_gap=sum(causes.values(), _ZERO),
        currency=currency,
    )


def _split(model: TradeRow, got: TradeRow, causes: dict[str, Decimal]) -> None:
    """Attribute the gap of one matched trade: first size, then entry price, the rest to the exit."""
    gap = got["profit"] - model["profit"]
    sign = 1 if str(model["side"]) == "BUY" else -1
    move = (model["exit_price"] - model["entry_price"]) * sign
    by_size = by_entry = _ZERO
    if got["lots"] != model["lots"]:
        by_size = (model["profit"] * (got["lots"] / model["lots"] - 1)).quantize(gap if gap else Decimal("0.01"))
    if got["entry_price"] != model["entry_price"] and move:
        per_price = model["profit"] / move
        shift = (model["entry_price"] - got["entry_price"]) * sign
        by_entry = (per_price * shift).quantize(gap if gap else Decimal("0.01"))
    causes["size"] += by_size
    causes["entry_price"] += by_entry
    causes["exit"] += gap - by_size - by_entry
    causes["commission"] += got["commission"] - model["commission"]
    causes["swap"] += got["swap"] - model["swap"]


def _points_lost(model: TradeRow, got: TradeRow, column: str, instrument: Instrument) -> int:
    sign = 1 if str(model["side"]) == "BUY" else -1
    return sign * (instrument.to_points(got[column]) - instrument.to_points(model[column]))


def _terms(settings: Mapping[str, Any], run: RunRecord) -> PaperAccount:
    """Return the account's paper terms with the run's own capital; on other platforms the costs are the model's zero."""
    facts = dict(settings.get("paper") or {})
    facts["balance"] = str(run.capital)
    return PaperAccount.from_facts(facts)


def _is_live(run: RunRecord) -> bool:
    return '"platform"' in run.feed_json


def _key(trade: TradeRow, bars: Bars) -> tuple[str, int, str]:
    """Return what makes a trade the same one; a fill some seconds after the open belongs to its bar."""
    row = int(bars.ts.searchsorted(to_ns(trade["entry_time"]), side="right"))
    return str(trade["symbol"]), row, _side(trade)


def _side(trade: TradeRow) -> str:
    return str(getattr(trade["side"], "value", trade["side"]))


def _numbered(
    trades: Sequence[TradeRow], series: Mapping[str, Bars]
) -> list[tuple[tuple[str, int, str, int], TradeRow]]:
    """Return trades with their keys; the parts of a position that was closed in parts are numbered."""
    seen: Counter[tuple[str, int, str]] = Counter()
    keyed = []
    for trade in trades:
        key = _key(trade, series[str(trade["symbol"])])
        keyed.append(((*key, seen[key]), trade))
        seen[key] += 1
    return keyed


def _name(trade: TradeRow) -> str:
    return f"{_side(trade)} {trade['entry_time'].isoformat()}"


def _net(trade: TradeRow) -> Decimal:
    net: Decimal = trade["profit"] + trade["commission"] + trade["swap"]
    return net
