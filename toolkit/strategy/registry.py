"""The table of node types: one step function each, with its state, its output and its semantics version."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import SpecError, StrategyError, must_be

Bound = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One node type.

    ``fn(*inputs, *bound, *state[, w])`` returns its value alone when it has no scalar state, else the value followed by
    the new scalar state. ``w`` is a buffer of float64 whose size depends on the bound window.

    Attributes
    ----------
    name : str
        Name in the graph and in stored specs.
    fn : callable
        The plain Python step function; the column kernels are generated from its source.
    inputs : str
        One letter per input that changes from bar to bar: ``f`` number, ``i`` condition.
    settings : int
        How many scalar arguments follow the inputs in the graph.
    bound : str
        One letter per derived scalar passed to ``fn``: ``f`` float64, ``i`` int64.
    bind : callable
        Turns the settings into the derived scalars and refuses impossible ones.
    state : tuple of float
        The scalar state before the first bar.
    buffer : callable or None
        Number of float64 in ``w`` for the derived scalars.
    fill : float
        What a fresh buffer holds.
    out : str
        ``f8`` or ``i1``.
    version : int
        Semantics version, stored with every spec; a change of any value raises it.
    warm : callable
        Bars after which the value no longer depends on where a run began, about.
    vector : callable or None
        The same arithmetic over whole numpy columns, used only where numba is absent.
    source : str
        What a spec ships of a user's own node type; empty for the toolkit's.
    """

    name: str
    fn: Callable[..., Any]
    inputs: str
    settings: int
    bound: str
    bind: Callable[..., Bound]
    state: tuple[float, ...]
    buffer: Callable[..., int] | None
    fill: float
    out: str
    version: int
    warm: Callable[..., int]
    vector: Callable[..., Any] | None
    source: str = ""

    @property
    def elementwise(self) -> bool:
        """Whether the node has no memory, so that scalars and columns may be mixed in it."""
        return not self.state and self.buffer is None and not self.bound


STEPS: dict[str, Step] = {}
HELPERS: dict[str, Callable[..., Any]] = {}


def whole(value: float, what: str, least: int = 1) -> int:
    """Return a window as int; refuse fractions and anything below ``least``."""
    number = int(value)
    if number != value or number < least:
        shown = number if number == value else value
        raise StrategyError(must_be(what, f"a whole number of at least {least}", shown, "change the parameter"))
    return number


def no_settings() -> Bound:
    """Bind nothing."""
    return ()


def no_warm_up(*_: Any) -> int:
    """Say that a value never depends on earlier bars."""
    return 0


def step(
    name: str,
    inputs: str,
    *,
    settings: int = 0,
    bound: str = "",
    bind: Callable[..., Bound] = no_settings,
    state: Sequence[float] = (),
    buffer: Callable[..., int] | None = None,
    fill: float = float("nan"),
    out: str = "f8",
    version: int = 1,
    warm: Callable[..., int] = no_warm_up,
    vector: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated step function as node type ``name``; see `Step` for the fields."""

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        if name in STEPS:
            raise ValueError(f"node type {name!r} is registered twice")
        STEPS[name] = Step(
            name, fn, inputs, settings, bound, bind, tuple(state), buffer, fill, out, version, warm, vector
        )
        return fn

    return register


def helper(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a plain function that step functions call, so that the kernels carry it too."""
    HELPERS[fn.__name__] = fn
    return fn


def get_step(name: str) -> Step:
    """Return a node type; an unknown one belongs to another version of the toolkit."""
    found = STEPS.get(name)
    if found is None:
        raise SpecError(
            must_be(
                "a node type",
                "known to this toolkit",
                repr(name),
                "the spec was written by a newer version, or ships no source for it",
            )
        )
    return found


def plain_source(fn: Callable[..., Any]) -> str:
    """Return a function's source without its decorators."""
    text = textwrap.dedent(inspect.getsource(fn))
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    return "\n".join(lines[start:]) + "\n"
