"""Where the compiled kernels live and when they are compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.strategy.columns import kernels

RUN = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from conftest import random_bars
import toolkit.strategy as st
class S(st.SectionedStrategy):
    def indicators(self, bars): return dict(e=st.ema(bars.close, 5), h=st.highest(bars.high, 9).shift(1))
    def entry(self, x): return st.Entry(long=st.crossed_above(x.close, x.h), short=x.close < x.e)
    def protection(self, x): return st.Protection(stop_loss=st.Pips(10))
    def risk(self): return st.Lots(1)
d = st.evaluate(st.StrategySpec.from_strategy(S()), random_bars(500), frame=True)
print(d.code.sum(), d.frame["e"][-1], d.frame["h"][-1])
"""


def run(cache: Path, **env: str) -> subprocess.Popen[str]:
    """Start a fresh process that evaluates a small strategy with its kernels under ``cache``."""
    code = RUN.format(tests=str(Path(__file__).parents[1]))
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), **env}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="XDG_CACHE_HOME is a Linux setting")
def test_kernels_are_compiled_once_and_by_several_processes_at_once(tmp_path: Path) -> None:
    """Two processes that start together both work; a later one compiles nothing, with bounds checked too."""
    pytest.importorskip("numba")
    both = [run(tmp_path), run(tmp_path)]
    outs = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], outs
    assert outs[0][0] == outs[1][0] != ""
    assert any("compiling" in err for _, err in outs)
    files = sorted(p.name for p in tmp_path.rglob("*.nbc"))
    later = run(tmp_path)
    out, err = later.communicate(timeout=120)
    assert (later.returncode, out, err) == (0, outs[0][0], "")
    assert sorted(p.name for p in tmp_path.rglob("*.nbc")) == files
    checked = run(tmp_path / "checked", NUMBA_BOUNDSCHECK="1")
    assert checked.communicate(timeout=120)[0] == out


def test_the_generated_file_is_plain_python() -> None:
    """The kernels' source compiles and names every node type."""
    text = kernels.source()
    compile(text, "columns.py", "exec")
    assert "def col_ema(" in text and "def col_gt_as(" in text and "fastmath=False" in text


def test_text_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-written file of a killed process is replaced, and no temporary file stays behind."""
    pytest.importorskip("numba")
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    text = "VALUE = 41 + 1\n"
    module = kernels.load_module(text, "probe")
    file = Path(str(module.__file__))
    file.write_text("VALUE = 4")
    assert kernels.load_module(text, "probe").VALUE == 42
    assert [p.suffix for p in file.parent.iterdir() if p.is_file()] == [".py"]


def test_an_unwritable_cache_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be made is replaced by one in the temporary folder."""
    pytest.importorskip("numba")
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(kernels, "cache_folder", lambda: blocked)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kernels.load_module("VALUE = 7\n", "probe").VALUE == 7
