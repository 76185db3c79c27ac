"""One node of the incremental driver as a closure without arguments: what a bar costs is these calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.strategy.registry import Step

Run = Callable[[], None]


def walk(
    step: Step,
    values: list[Any],
    index: int,
    inputs: tuple[int, ...],
    bound: tuple[Any, ...],
    held: list[float],
    tail: tuple[Any, ...],
) -> Run:
    """Return a call that reads the node's inputs from ``values``, steps it and writes its value and state back.

    The commonest shapes are written out; unpacking lists of arguments would cost half of the time of a bar.
    """
    fn = step.fn
    if step.elementwise:
        return _plain(fn, values, index, inputs)
    if not held and not tail:
        return lambda: values.__setitem__(index, fn(*[values[i] for i in inputs], *bound))
    shape = (len(inputs), len(bound), len(held), len(tail))
    if shape == (1, 2, 2, 0):
        return _average(fn, values, index, inputs[0], bound, held)
    if shape == (2, 0, 2, 0):
        return _crossing(fn, values, index, inputs, held)
    if shape == (3, 0, 1, 0):
        return _range(fn, values, index, inputs, held)
    if shape == (1, 1, 1, 1):
        return _memory(fn, values, index, inputs[0], bound[0], held, tail[0])
    if shape in ((1, 2, 4, 0), (1, 1, 4, 1)):
        return _four(fn, values, index, inputs[0], bound, held, tail)
    return _any(fn, values, index, inputs, bound, held, tail)


def _plain(fn: Callable[..., Any], values: list[Any], index: int, inputs: tuple[int, ...]) -> Run:
    if len(inputs) == 1:
        (a,) = inputs

        def one() -> None:
            values[index] = fn(values[a])

        return one
    if len(inputs) == 2:
        a, b = inputs

        def two() -> None:
            values[index] = fn(values[a], values[b])

        return two

    def many() -> None:
        values[index] = fn(*[values[i] for i in inputs])

    return many


def _average(
    fn: Callable[..., Any], values: list[Any], index: int, a: int, bound: tuple[Any, ...], held: list[float]
) -> Run:
    n, alpha = bound

    def run() -> None:
        values[index], held[0], held[1] = fn(values[a], n, alpha, held[0], held[1])

    return run


def _crossing(fn: Callable[..., Any], values: list[Any], index: int, inputs: tuple[int, ...], held: list[float]) -> Run:
    a, b = inputs

    def run() -> None:
        values[index], held[0], held[1] = fn(values[a], values[b], held[0], held[1])

    return run


def _range(fn: Callable[..., Any], values: list[Any], index: int, inputs: tuple[int, ...], held: list[float]) -> Run:
    a, b, c = inputs

    def run() -> None:
        values[index], held[0] = fn(values[a], values[b], values[c], held[0])

    return run


def _memory(
    fn: Callable[..., Any], values: list[Any], index: int, a: int, n: Any, held: list[float], buffer: list[float]
) -> Run:
    def run() -> None:
        values[index], held[0] = fn(values[a], n, held[0], buffer)

    return run


def _four(
    fn: Callable[..., Any],
    values: list[Any],
    index: int,
    a: int,
    bound: tuple[Any, ...],
    held: list[float],
    tail: tuple[Any, ...],
) -> Run:
    """Four numbers of state: an extreme of a window, which has a buffer besides, or a relative strength."""

    def run() -> None:
        s0, s1, s2, s3 = held
        values[index], held[0], held[1], held[2], held[3] = fn(values[a], *bound, s0, s1, s2, s3, *tail)

    return run


def _any(
    fn: Callable[..., Any],
    values: list[Any],
    index: int,
    inputs: tuple[int, ...],
    bound: tuple[Any, ...],
    held: list[float],
    tail: tuple[Any, ...],
) -> Run:
    if len(inputs) == 1:
        (a,) = inputs

        def one() -> None:
            values[index], *held[:] = fn(values[a], *bound, *held, *tail)

        return one

    if len(inputs) == 2:
        a, b = inputs

        def two() -> None:
            values[index], *held[:] = fn(values[a], values[b], *bound, *held, *tail)

        return two

    def many() -> None:
        values[index], *held[:] = fn(*[values[i] for i in inputs], *bound, *held, *tail)

    return many
