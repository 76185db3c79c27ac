"""``tk.sweep``: many parameter sets of one strategy, and what to make of them."""

from __future__ import annotations

import itertools
import os
import random as random_numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.research.portfolio import JointSetup, prepare_joint
from toolkit.research.setup import FillAt, Setup, prepare_many
from toolkit.research.sweeps.engine import Job, Outcome, run_job, run_sets, tiled
from toolkit.research.sweeps.result import HIGHER_IS_BETTER, SweepResult
from toolkit.research.validation.trial_count import count_sets, structure_hash
from toolkit.strategy.authoring.params import unknown_param
from toolkit.strategy.spec import StrategySpec

if TYPE_CHECKING:
    from toolkit.market import Bars
    from toolkit.risk.guardrails import Guards
    from toolkit.simulation.account import PaperAccount

__all__ = ["SweepResult", "guided_search", "sweep"]

Engine = Literal["local", "dask"]
Grid = Mapping[str, Iterable[Any]]


def sweep(
    strategy: Any,
    bars: Bars | Mapping[str, Bars],
    *,
    grid: Grid,
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
    samples: int | None = None,
    seed: int = 0,
    engine: Engine = "local",
    address: str | None = None,
    threads: int | None = None,
    memory_mb: int = 200,
    progress: bool = True,
    resume: SweepResult | None = None,
) -> SweepResult:
    """Backtest every set of a parameter grid, or a random sample of it.

    Parameters
    ----------
    strategy
        Class, object or spec; parameters outside the grid keep its values.
    bars, account, guards, fill_at, conversion
        As in `toolkit.research.backtest.backtest`, which gives the same statistics for the same set.
    grid
        Values of each swept parameter.
    samples, seed
        Run this many sets drawn from the grid without repetition; the seed makes the draw the same again.
    engine, address
        ``"local"``: threads of this process. ``"dask"``: the workers of the Dask scheduler at ``address``, or of one
        started for this sweep; the numbers are the same.
    threads
        Default: every core.
    memory_mb
        Budget for shared columns over all threads.
    progress
        Show a bar with the time left. An interrupt keeps the sets that are done.
    resume
        An interrupted sweep, or one of a smaller grid, of the same strategy on the same bars and terms: its sets are
        taken over and not run again.

    Returns
    -------
    SweepResult

    Raises
    ------
    BadInput
        When the grid is empty, names an unknown parameter or leaves a parameter's bounds.
    """
    setup = _setup(bars, account, guards, fill_at, conversion)
    spec = StrategySpec.from_strategy(strategy() if isinstance(strategy, type) else strategy)
    axes = _axes(spec, grid)
    specs, sets = _sets(spec, axes, samples, seed)
    threads = max(1, threads or os.cpu_count() or 1)
    job = Job(setup, specs, sets, max(1 << 20, (memory_mb << 20) // threads))
    out = Outcome(len(sets), setup.days)
    if resume is not None:
        _take_over(resume, spec, setup, specs, sets, out)
    with _bar(len(sets) - int(out.done.sum()), progress) as tick:
        if engine == "dask":
            complete = _on_dask(job, address, threads, tick, out)
        elif engine == "local":
            complete = run_job(job, threads, tick, out)
        else:
            raise BadInput(must_be("engine", "'local' or 'dask'", repr(engine), "leave it out for this machine"))
    return _result(spec, setup, axes, _whole(spec, axes, sets), out, complete, sampled=samples is not None)


def guided_search(
    strategy: Any,
    bars: Bars | Mapping[str, Bars],
    *,
    grid: Grid,
    trials: int,
    metric: str = "sharpe",
    account: PaperAccount | None = None,
    guards: Guards | None = None,
    fill_at: FillAt = "next_open",
    conversion: Mapping[str, Bars] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SweepResult:
    """Let Optuna choose which sets of a grid to try, each informed by the ones before.

    Parameters
    ----------
    trials
        Number of sets to try; a set that comes again costs nothing and counts once.
    metric
        Statistic to improve, see `toolkit.research.stats.DEFINITIONS`.

    Raises
    ------
    MissingPackage
        When Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as e:
        raise MissingPackage(
            "optuna must be installed for guided_search, was missing: pip install seatrial[research]"
        ) from e
    setup = _setup(bars, account, guards, fill_at, conversion)
    spec = StrategySpec.from_strategy(strategy() if isinstance(strategy, type) else strategy)
    axes = _axes(spec, grid)
    direction: Literal["maximize", "minimize"] = "maximize" if HIGHER_IS_BETTER(metric) else "minimize"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    tried: dict[tuple[Any, ...], tuple[dict[str, Any], Outcome, float]] = {}
    complete = True
    with _bar(trials, progress) as tick:
        try:
            for _ in range(trials):
                trial = study.ask()
                chosen = tuple(axes[name][trial.suggest_int(name, 0, len(axes[name]) - 1)] for name in axes)
                if chosen not in tried:
                    specs, sets = _sets(spec, {name: [v] for name, v in zip(axes, chosen, strict=True)}, None, 0)
                    one = run_sets(Job(setup, specs, sets), [0])
                    values = dict(zip(axes, chosen, strict=True))
                    row = SweepResult(spec, setup, axes, [values], one, complete=True, sampled=True).results.iloc[0]
                    tried[chosen] = (values, one, float(row[metric]))
                study.tell(trial, tried[chosen][2] if np.isfinite(tried[chosen][2]) else None,
                           state=None if np.isfinite(tried[chosen][2]) else optuna.trial.TrialState.FAIL)  # fmt: skip
                tick(1)
        except KeyboardInterrupt:
            complete = False
    found = list(tried.values())
    out = Outcome(len(found), setup.days)
    for row_number, (_, one, _) in enumerate(found):
        out.copy_from(one, [row_number])
    return _result(spec, setup, axes, [values for values, _, _ in found], out, complete, sampled=True)


def _setup(
    bars: Bars | Mapping[str, Bars],
    account: PaperAccount | None,
    guards: Guards | None,
    fill_at: FillAt,
    conversion: Mapping[str, Bars] | None,
) -> Setup | JointSetup:
    if isinstance(bars, Mapping):
        return prepare_joint(bars, account, guards, fill_at, conversion)
    return prepare_many(bars, account, guards, fill_at, conversion)


def _axes(spec: StrategySpec, grid: Grid) -> dict[str, list[Any]]:
    """The grid with every value in the parameter's own type, checked against its bounds, without repetitions."""
    if not grid:
        raise BadInput(
            must_be("grid", "at least one parameter with values", "empty", "write grid=dict(fast=range(5, 50))")
        )
    axes: dict[str, list[Any]] = {}
    for name, values in grid.items():
        if name not in spec.params:
            raise unknown_param(name, spec.params, spec.name)
        checked = list(dict.fromkeys(spec.params[name].with_value(name, v).value for v in values))
        if not checked:
            raise BadInput(must_be(f"grid[{name!r}]", "at least one value", "empty", "give a range or a list"))
        axes[name] = checked
    return axes


def _sets(
    spec: StrategySpec, axes: Mapping[str, list[Any]], samples: int | None, seed: int
) -> tuple[tuple[StrategySpec, ...], list[tuple[int, dict[str, Any]]]]:
    """Every set as (spec number, values); a tk.Choice changes the graph, so each of its values has a spec of its own."""
    choices = [name for name in axes if spec.params[name].type == "choice"]
    numbers = [name for name in axes if name not in choices]
    specs = []
    for combination in itertools.product(*(axes[name] for name in choices)):
        wanted = dict(zip(choices, combination, strict=True))
        specs.append(spec.with_params(wanted) if wanted else spec)
    per_spec = 1
    for name in numbers:
        per_spec *= len(axes[name])
    total = per_spec * len(specs)
    if samples is not None and not 1 <= samples <= total:
        raise BadInput(
            must_be("samples", f"from 1 to {total}, the size of the grid", samples, "sample less or leave it out")
        )
    if samples is None:
        picked: Iterable[int] = range(total)
    else:
        picked = sorted(random_numbers.Random(seed).sample(range(total), samples))  # noqa: S311 - a draw, not a secret
    sets = []
    for flat in picked:
        number, rest = divmod(flat, per_spec)
        values: dict[str, Any] = {}
        for name in reversed(numbers):
            rest, k = divmod(rest, len(axes[name]))
            values[name] = axes[name][k]
        sets.append((number, {name: values[name] for name in numbers}))
    return tuple(specs), sets


def _whole(
    spec: StrategySpec, axes: Mapping[str, list[Any]], sets: list[tuple[int, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Each set with its choices, which `_sets` left to the spec's number."""
    choices = [name for name in axes if spec.params[name].type == "choice"]
    combinations = list(itertools.product(*(axes[name] for name in choices)))
    return [{**dict(zip(choices, combinations[number], strict=True)), **values} for number, values in sets]


def _result(
    spec: StrategySpec,
    setup: Setup | JointSetup,
    axes: dict[str, list[Any]],
    full: list[dict[str, Any]],
    out: Outcome,
    complete: bool,
    *,
    sampled: bool,
) -> SweepResult:
    done = np.flatnonzero(out.done)
    count_sets(spec, setup.given, [full[i] for i in done])
    return SweepResult(spec, setup, axes, full, out, complete=complete, sampled=sampled)


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left, in a shell or a notebook."""
    if not show or total < 50:
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("sets"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), refresh_per_second=4, transient=True) as progress:
        task = progress.add_task("sweep", total=total)
        counted = itertools.count()
        pending = [0]

        def tick(n: int) -> None:
            pending[0] += n  # a lost count between threads only costs a moment of the picture
            if next(counted) % 64 == 0:
                progress.update(task, completed=pending[0])

        yield tick


def _take_over(
    earlier: SweepResult,
    spec: StrategySpec,
    setup: Setup | JointSetup,
    specs: tuple[StrategySpec, ...],
    sets: list[tuple[int, dict[str, Any]]],
    out: Outcome,
) -> None:
    """Copy the rows an earlier sweep has done of the same sets."""
    same = structure_hash(earlier.spec) == structure_hash(spec) and setup.same_terms(earlier.setup)
    if not same:
        raise BadInput(
            must_be("resume", "a sweep of this strategy, bars, account and guards", "another", "start without resume")
        )
    # values outside the grid are the spec's own and may have changed since
    found = {
        _point({**earlier.spec.values, **values}): row for row, values in zip(earlier.rows, earlier.sets, strict=True)
    }
    for row, (number, values) in enumerate(sets):
        at = found.get(_point({**specs[number].values, **values}))
        if at is not None and earlier.outcome.stride == out.stride:
            for name in ("totals", "final", "moments", "daily", "done"):
                getattr(out, name)[row] = getattr(earlier.outcome, name)[at]


def _point(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(values.items()))


def _on_dask(job: Job, address: str | None, threads: int, tick: Callable[[int], None], out: Outcome) -> bool:
    """Hand chunks of sets to a Dask cluster and put the rows together."""
    try:
        import distributed
    except ImportError as e:
        raise MissingPackage(
            "dask must be installed for engine='dask', was missing: pip install seatrial[research]"
        ) from e
    dask: Any = distributed  # its functions carry no types
    cluster = None
    if address is None:
        cluster = dask.LocalCluster(n_workers=threads, threads_per_worker=1, dashboard_address=None, silence_logs=40)
    client = dask.Client(address or cluster, set_as_default=False)
    try:
        workers = max(1, len(client.scheduler_info()["workers"]))
        shared = client.scatter(job, broadcast=True, hash=False)
        size = max(1, min(512, -(-len(job.sets) // (4 * workers))))
        order = [row for row in tiled(job.sets) if not out.done[row]]
        rows = [order[i : i + size] for i in range(0, len(order), size)]
        futures = {client.submit(run_sets, shared, r, pure=False): r for r in rows}
        try:
            with client.as_current():
                for future in dask.as_completed(list(futures)):
                    out.copy_from(future.result(), futures[future])
                    tick(len(futures[future]))
        except KeyboardInterrupt:
            client.cancel(list(futures))
            return False
        return True
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
