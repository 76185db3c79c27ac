"""Turns the plain functions of the loop into one compiled module, kept on disk under the hash of all it is made of.

numba decides whether its cache is fresh by the file that holds the function, not by the functions it calls; so the
sources of the rules, the guards and the loop are written together into one generated file, in a folder named after
their hash and numba's version. Nothing stale can be loaded, and a read-only installation works too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

from platformdirs import user_cache_dir

from toolkit.risk import guard_rules, rounding
from toolkit.simulation import events, loop, marking, rules, state, stretches
from toolkit.simulation.compiling import stretches_compiled
from toolkit.simulation.compiling.background import Compilation
from toolkit.simulation.holding import hold, margin, swap
from toolkit.simulation.managed import cells
from toolkit.simulation.managed import loop as managed_loop
from toolkit.simulation.managed import rules as managed_rules
from toolkit.simulation.managed import steps as managed_steps
from toolkit.simulation.portfolio import cells as portfolio_cells
from toolkit.simulation.portfolio import loop as portfolio_loop

__all__ = ["compiled_loop", "compiled_managed_loop", "compiled_portfolio_loop", "have_numba", "kernel_folder"]

_LOCK = threading.RLock()
_elsewhere: Compilation | None = None
_at_hand: ModuleType | None = None
_RULES = (rounding, guard_rules, rules, state, margin, swap, hold, events, marking, stretches)
# A part is compiled into its callers, which halves the time of a run: as a function of its own it would pass seven
# numbers for every array and count references to it, and would be compiled again with wrappers that nobody calls.
_ROOT = "cache=True, nogil=True, error_model='numpy'"
_RARE = "nogil=True, error_model='numpy', no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False"
_PART = f"{_RARE}, forceinline=True"
_SELDOM = ("mul_div_long", "pay_night", "see_day", "moments", "end_fall", "stop_out_in_range", "note_skip")
_HEADER = '''"""Generated from the toolkit's own sources; safe to delete."""
import math

import numpy as np
from numba import njit, types

'''
# what `simulate` takes; columns may be read-only, as those of bars are
_SIGNATURES = {
    "simulate": """_P, _Q = (types.Array(t, 1, "C", readonly=True) for t in (types.int32, types.int64))
SIGNATURE = types.int64(
    *[_P] * 8, types.Array(types.uint8, 1, "C", readonly=True), _P, _P, types.float64, _Q, _P,
    types.int64[::1], types.float64[::1],
)
"""
}


def have_numba() -> bool:
    """Whether the loop can be compiled here; SEATRIAL_NO_NUMBA=1 forces the interpreted run."""
    return os.environ.get("SEATRIAL_NO_NUMBA", "") != "1" and importlib.util.find_spec("numba") is not None


def kernel_folder() -> Path:
    """Folder of compiled code: SEATRIAL_KERNEL_CACHE, or the user's cache folder."""
    chosen = os.environ.get("SEATRIAL_KERNEL_CACHE")
    return Path(chosen) if chosen else Path(user_cache_dir("seatrial", appauthor=False))


def _source(modules: Sequence[ModuleType], *roots: str) -> str:
    """One module's text: the integer constants of ``modules`` and the plain functions ``roots`` need, callees first.

    Of functions with one name the last module's is taken.
    """
    constants: dict[str, float] = {}
    functions: dict[str, FunctionType] = {}
    for module in modules:
        for name, value in vars(module).items():
            if type(value) in (int, float):
                if constants.setdefault(name, value) != value:
                    raise ImportError(f"the constant {name} has two values among the modules compiled together")
            elif isinstance(value, FunctionType) and value.__module__ == module.__name__ and name == value.__name__:
                functions[name] = value
    wanted = _reachable(functions, *roots)
    parts = [_HEADER]
    parts += [f"{name} = {value}\n" for name, value in sorted(constants.items())]
    for name in wanted:
        options = _ROOT if name in roots else _RARE if name in _SELDOM else _PART
        if name in _SIGNATURES:
            parts.append(f"\n\n{_SIGNATURES[name]}")
            options = f"SIGNATURE, {options}"
        parts.append(f"\n\n@njit({options})\n{inspect.getsource(functions[name])}")
    return "".join(parts)


def _reachable(functions: dict[str, FunctionType], *roots: str) -> list[str]:
    """Names reachable from ``roots``, callees before callers."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for callee in functions[name].__code__.co_names:
            if callee in functions and callee != name:
                visit(callee)
        order.append(name)

    for root in roots:
        visit(root)
    return order


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: any folder of this user will do
        user = os.getuid() if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"seatrial-{user}" / folder.name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, text: str) -> None:
    """Write atomically: another process may be doing the same."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write("from __future__ import annotations\n" + text)
    Path(name).replace(path)


@cache
def compiled_loop() -> ModuleType:
    """Return the module whose ``simulate`` is compiled, or the plain one where numba is not installed."""
    if not have_numba():
        return loop
    path = _simulation()
    with _LOCK:
        if _elsewhere is not None:
            _elsewhere.wait()
        elif not _on_disk(path):
            print("seatrial: compiling the simulation for the first time, some seconds ...", file=sys.stderr)  # noqa: T201
        return load(path)


def loop_at_hand() -> ModuleType:
    """Return what `compiled_loop` returns if its code is on disk, else the plain module while another process compiles it.

    Both give the same integers; the plain one takes about a microsecond a bar.
    """
    global _elsewhere, _at_hand
    if _at_hand is not None:
        return _at_hand
    if not have_numba():
        return loop
    path = _simulation()
    with _LOCK:
        if _elsewhere is None and not _on_disk(path):
            try:
                _elsewhere = Compilation(path)
            except OSError:  # no further process to be had: compile here
                pass
            else:
                print(  # noqa: T201
                    "seatrial: compiling the simulation in another process, once; until that is done runs are "
                    "interpreted, with the same results",
                    file=sys.stderr,
                )
        if _elsewhere is not None and _elsewhere.running:
            return loop
    _at_hand = compiled_loop()
    return _at_hand


@cache
def _simulation() -> Path:
    return _generated("simulation", (*_RULES, loop, stretches_compiled), "simulate", "price_blocks")


def _on_disk(path: Path) -> bool:
    return path.with_suffix(".compiled").exists()


@cache
def compiled_managed_loop() -> ModuleType:
    """Return the module whose ``simulate_managed`` is compiled, or the plain one where numba is not installed."""
    if not have_numba():
        return managed_loop
    parts = (*_RULES, cells, managed_rules, managed_steps, managed_loop, stretches_compiled)
    return _compiled("managed", parts, "simulate_managed")


@cache
def compiled_portfolio_loop() -> ModuleType:
    """Return the module whose ``simulate_many`` is compiled, or the plain one where numba is not installed."""
    if not have_numba():
        return portfolio_loop
    return _compiled("portfolio", (*_RULES, portfolio_cells, portfolio_loop), "simulate_many")


def _compiled(stem: str, modules: Sequence[ModuleType], *roots: str) -> ModuleType:
    path = _generated(stem, modules, *roots)
    with _LOCK:
        if not _on_disk(path):
            print("seatrial: compiling the simulation for the first time, some seconds ...", file=sys.stderr)  # noqa: T201
        return load(path)


def _generated(stem: str, modules: Sequence[ModuleType], *roots: str) -> Path:
    """Return the file of these functions, writing it where it is not there yet."""
    import numba

    with _LOCK:
        text = _source(modules, *roots)
        digest = hashlib.sha256(f"{numba.__version__}\n{sys.version}\n{text}".encode()).hexdigest()[:32]
        path = _writable(kernel_folder() / digest) / f"{stem}.py"
        if not path.exists():
            _write(path, text)
        return path


def load(path: Path | str) -> ModuleType:
    """Import a generated module; what has a signature is compiled by that, or read from disk."""
    path = Path(path)
    name = f"seatrial_{path.stem}_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load the generated module {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    path.with_suffix(".compiled").touch()
    return module
