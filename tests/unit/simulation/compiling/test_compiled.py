"""Generated code: the very first run does not wait for the compiler, and what is on disk is used from then on."""

from __future__ import annotations

import pytest

from toolkit.risk import rounding
from toolkit.simulation import loop
from toolkit.simulation.compiling import compiled

pytest.importorskip("numba")


@pytest.fixture
def nothing_compiled(tmp_path, monkeypatch):
    """A machine without compiled code, whose simulation is one small function so that compiling it takes a moment."""
    monkeypatch.delenv("SEATRIAL_NO_NUMBA", raising=False)
    monkeypatch.setenv("SEATRIAL_KERNEL_CACHE", str(tmp_path))
    path = compiled._generated("simulation", (rounding,), "whole_pips_up")
    monkeypatch.setattr(compiled, "_simulation", lambda: path)
    monkeypatch.setattr(compiled, "_elsewhere", None)
    monkeypatch.setattr(compiled, "_at_hand", None)
    compiled.compiled_loop.cache_clear()
    yield path
    compiled.compiled_loop.cache_clear()


def test_the_first_run_is_interpreted_while_another_process_compiles(nothing_compiled, capsys):
    """Nothing on disk: the plain loop at once and one message; the compiled one when the other process has ended."""
    assert compiled.loop_at_hand() is loop
    assert capsys.readouterr().err.count("compiling the simulation") == 1
    compiled._elsewhere.wait()
    assert nothing_compiled.with_suffix(".compiled").exists()
    module = compiled.loop_at_hand()
    assert module is not loop
    assert module.whole_pips_up.py_func(11, 10) == 20
    assert compiled.loop_at_hand() is module
    assert capsys.readouterr().err == ""


def test_who_needs_compiled_code_waits_for_the_other_process(nothing_compiled, capsys):
    """A sweep's loop is never the plain one, and is not compiled a second time."""
    assert compiled.loop_at_hand() is loop
    assert compiled.compiled_loop() is not loop
    assert nothing_compiled.with_suffix(".compiled").exists()
    assert capsys.readouterr().err.count("compiling the simulation") == 1


def test_a_machine_that_starts_no_process_compiles_here(nothing_compiled, capsys, monkeypatch):
    """Without a second process the first run waits, and says so."""

    def refuse(path):
        raise OSError("no more processes")

    monkeypatch.setattr(compiled, "Compilation", refuse)
    assert compiled.loop_at_hand() is not loop
    assert "compiling the simulation for the first time" in capsys.readouterr().err
