"""How many trials this notebook session has made: every distinct strategy, parameter set and data counts once.

The best of many tries looks good by chance alone; how good depends on how many there were
(`toolkit.research.validation.overfitting`).
People forget to count, so `tk.backtest`, `tk.sweep` and `tk.walk_forward` count for them. A trial is one strategy graph
with one set of parameter values on one stretch of data. Running it again, alone or inside a sweep, adds nothing;
neither do another account, guards or pictures, which are not searched for an edge.

The count lives in the process (a kernel restart forgets it), is safe to use from threads, and is only ever set back by
`reset_trials`.
"""

from __future__ import annotations

import hashlib
import html
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.errors import BadInput, must_be
from toolkit.market.series.several import as_series, fingerprint_of

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.market import Bars
    from toolkit.strategy.spec import StrategySpec

__all__ = [
    "TrialCount",
    "TrialGroup",
    "count_sets",
    "count_spec",
    "count_trial",
    "not_counted",
    "reset_trials",
    "structure_hash",
    "trials",
]


@dataclass(frozen=True, slots=True)
class TrialGroup:
    """Trials of one strategy graph on one stretch of data.

    Attributes
    ----------
    strategy, data
        Words for people: the strategy's name; symbol, timeframe and number of bars.
    structure
        `structure_hash` of the strategy, or the ``spec_hash`` that was counted.
    data_fingerprint
        ``bars.fingerprint``; of several symbols together that of all of them.
    count
        Distinct parameter sets.
    parts
        Of several symbols together: the fingerprint of each one's bars.
    """

    strategy: str
    data: str
    structure: str
    data_fingerprint: str
    count: int
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialCount:
    """The trials of the session so far: ``int(tk.trials())`` is the number, ``.groups`` say on what."""

    groups: tuple[TrialGroup, ...]

    @property
    def count(self) -> int:
        """Number of distinct trials."""
        return sum(group.count for group in self.groups)

    def on(self, bars: Bars | Mapping[str, Bars]) -> int:
        """Return the number of distinct trials on exactly these bars, those together with other symbols included."""
        wanted = fingerprint_of(as_series(bars))
        return sum(group.count for group in self.groups if wanted in (group.data_fingerprint, *group.parts))

    @property
    def frame(self) -> pd.DataFrame:
        """One row a group: strategy, data, trials, structure, data_fingerprint."""
        import pandas as pd

        columns = ("strategy", "data", "trials", "structure", "data_fingerprint")
        rows = [(g.strategy, g.data, g.count, g.structure, g.data_fingerprint) for g in self.groups]
        return pd.DataFrame(rows, columns=list(columns))

    def __int__(self) -> int:
        return self.count

    __index__ = __int__

    def _head(self) -> str:
        return f"{self.count:,} {'trial' if self.count == 1 else 'trials'} in this session"

    def __repr__(self) -> str:
        lines = [self._head()]
        lines += [f"  {g.count:>9,}  {g.strategy} on {g.data}" for g in self.groups]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(g.strategy)}</td><td>{html.escape(g.data)}</td><td>{g.count:,}</td></tr>"
            for g in self.groups
        )
        head = "<tr><th>strategy</th><th>data</th><th>trials</th></tr>"
        return f"<table><caption>{self._head()}</caption>{head}{rows}</table>"


class _Group:
    """Parameter sets seen so far; ``unnamed`` is the largest number counted without naming the sets."""

    __slots__ = ("data", "parts", "sets", "strategy", "unnamed")

    def __init__(self, strategy: str, data: str, parts: tuple[str, ...] = ()) -> None:
        self.parts = parts
        self.strategy = strategy
        self.data = data
        self.sets: set[str] = set()
        self.unnamed = 0

    @property
    def count(self) -> int:
        return max(len(self.sets), self.unnamed)


_lock = threading.RLock()
_groups: dict[tuple[str, str], _Group] = {}
# A fingerprint reads every byte of the bars (60 ms a million), longer than a backtest of them takes, and a structure's
# hash writes all of it down: what ran on the last bars seen waits here until others come or somebody asks.
_waiting: list[tuple[dict[str, Bars], list[tuple[StrategySpec, set[str]]]]] = []
_MOST_WAITING = 256
_paused: ContextVar[bool] = ContextVar("trial counting paused", default=False)


def structure_hash(spec: StrategySpec) -> str:
    """Sha256 of a strategy without its parameter values: equal for every point of a grid over one graph."""
    data = spec.to_dict()
    data["params"] = {name: {**p, "value": None} for name, p in data["params"].items()}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def count_trial(spec_hash: str, data_fingerprint: str, n: int = 1) -> None:
    """Count ``n`` trials under a hash of your own, for engines outside the toolkit.

    The same hash on the same data counts once: a second call adds only what its ``n`` exceeds the first one's.

    Parameters
    ----------
    spec_hash
        What was tried; use one hash for all the sets of one search.
    data_fingerprint
        ``bars.fingerprint``.
    n
        Number of distinct parameter sets.

    Raises
    ------
    BadInput
        When ``n`` is not a whole number of 1 or more.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise BadInput(must_be("n", "a whole number of 1 or more", repr(n), "count each parameter set once"))
    if _paused.get():
        return
    with _lock:
        group = _group(spec_hash, data_fingerprint, spec_hash[:12], f"data {data_fingerprint[:12]}")
        group.unnamed = max(group.unnamed, n)


def count_sets(spec: StrategySpec, bars: Bars | Mapping[str, Bars], sets: Iterable[Mapping[str, Any]]) -> None:
    """Count parameter sets of a strategy, each a mapping of the values that differ from the spec's own.

    About 2 microseconds a set. A set that `count_spec` or another sweep counted on these bars is not counted again.
    """
    if _paused.get():
        return
    options = [name for name, p in spec.params.items() if p.type == "choice"]
    if not options:
        _note(spec, as_series(bars), _texts(spec, sets))
        return
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}  # a tk.Choice changes the graph
    for values in sets:
        groups.setdefault(tuple(values.get(name, spec.values[name]) for name in options), []).append(values)
    for chosen, members in groups.items():
        traced = spec.with_params(dict(zip(options, chosen, strict=True)))
        _note(traced, as_series(bars), _texts(traced, members))


def _texts(spec: StrategySpec, sets: Iterable[Mapping[str, Any]]) -> set[str]:
    base = spec.values
    # a value of the parameter's own type is written as it is; others (numpy numbers, 2 for 2.0) are brought to it
    return {
        repr(
            [
                values[name]
                if name in values and type(values[name]) is type(own)
                else (spec.params[name].with_value(name, values[name]).value if name in values else own)
                for name, own in base.items()
            ]
        )
        for values in sets
    }


def count_spec(spec: StrategySpec, bars: Bars | Mapping[str, Bars]) -> None:
    """Count one strategy with its own parameter values on these bars."""
    count_sets(spec, bars, ({},))


def _note(spec: StrategySpec, series: dict[str, Bars], texts: set[str]) -> None:
    with _lock:
        if _waiting and (not _same(_waiting[0][0], series) or len(_waiting[0][1]) >= _MOST_WAITING):
            _settle()
        if not _waiting:
            _waiting.append((series, []))
        _waiting[0][1].append((spec, texts))


def _same(one: dict[str, Bars], other: dict[str, Bars]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one.values(), other.values(), strict=True))


def _settle() -> None:
    while _waiting:
        series, noted = _waiting.pop()
        parts = tuple(bars.fingerprint for bars in series.values()) if len(series) > 1 else ()
        for spec, texts in noted:
            group = _group(structure_hash(spec), fingerprint_of(series), spec.name, _words(series), parts)
            group.sets.update(texts)


def _group(structure: str, fingerprint: str, strategy: str, data: str, parts: tuple[str, ...] = ()) -> _Group:
    return _groups.setdefault((structure, fingerprint), _Group(strategy, data, parts))


def _words(series: dict[str, Bars]) -> str:
    frame = next(iter(series.values())).timeframe
    return f"{', '.join(series)} {frame}, {sum(map(len, series.values())):,} bars"


@contextmanager
def not_counted() -> Iterator[None]:
    """Count nothing that runs inside: for checks and replays of what has been counted already. Per thread."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def trials() -> TrialCount:
    """Return the distinct trials of this session: every strategy, parameter set and data evaluated so far, once each."""
    with _lock:
        _settle()
        return TrialCount(
            tuple(
                TrialGroup(g.strategy, g.data, *key, g.count, g.parts) for key, g in sorted(_groups.items()) if g.count
            )
        )


def reset_trials() -> TrialCount:
    """Forget the count and return what it was. Only for a new question on new data: the old tries did happen."""
    with _lock:
        before = trials()
        _groups.clear()
        return before
