"""`import toolkit` is cheap, and the packages that trade do not drag in the packages that draw."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"vectorbt", "numba", "pandas", "panel", "holoviews", "bokeh", "plotly", "pyarrow", "dask", "optuna"}
CORE = ("toolkit.market", "toolkit.strategy", "toolkit.simulation", "toolkit.risk", "toolkit.execution")

_PROBE = """
import json, sys, time
before = time.perf_counter()
for name in sys.argv[1:]:
    __import__(name)
seconds = time.perf_counter() - before
print(json.dumps({"seconds": seconds, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def _import(*names: str) -> tuple[float, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *names], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["seconds"], set(answer["modules"])


def test_import_toolkit_is_fast_and_light() -> None:
    """`import toolkit` takes under 0.3 s (best of three) and loads none of the heavy packages, nor the database."""
    runs = [_import("toolkit") for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert runs[0][1] & (HEAVY | {"sqlalchemy", "alembic", "dramatiq", "typer", "pydantic"}) == set()


@pytest.mark.parametrize("package", CORE)
def test_core_package_loads_nothing_heavy(package: str) -> None:
    """A core package imports without pandas, numba or any database, message broker or drawing package."""
    _, modules = _import(package)
    assert modules & (HEAVY | {"sqlalchemy", "dramatiq", "redis", "MetaTrader5"}) == set()


def test_live_path_loads_nothing_that_draws() -> None:
    """What a worker needs (live, gateways, store) imports without pandas, numba, vectorbt or panel: a worker stays small."""
    _, modules = _import("toolkit.live", "toolkit.gateways", "toolkit.store", "toolkit.bootstrap")
    assert modules & HEAVY == set()


def test_probe_sees_a_heavy_package() -> None:
    """The probe itself reports a package that is loaded, so the tests above can fail."""
    pytest.importorskip("pandas")
    assert "pandas" in _import("pandas")[1]


def test_a_misspelt_word_of_the_notebook_is_answered_with_the_nearest_one() -> None:
    """``tk.rsx`` says what was probably meant."""
    import toolkit as tk

    with pytest.raises(AttributeError, match="no attribute 'rsx'; did you mean 'rsi'"):
        tk.rsx  # noqa: B018 - the access is the test
