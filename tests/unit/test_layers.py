"""The directions of import: the contracts of pyproject.toml hold, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("toolkit", "workers", "panel_app")


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of ``folder`` with its own pyproject.toml."""
    lint = "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    code = f"import sys; sys.path.insert(0, '.'); {lint}"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def copied_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and pyproject.toml in a folder of their own, to plant violations in."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_every_contract_is_kept() -> None:
    """import-linter keeps every contract of pyproject.toml on this tree."""
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("toolkit/market/planted.py", "import toolkit.strategy", "imports go from upper to lower layers only"),
        ("toolkit/live/planted.py", "import toolkit.research", "imports go from upper to lower layers only"),
        ("toolkit/risk/planted.py", "def f():\n    import sqlalchemy", "the core is light"),
        ("panel_app/views/planted.py", "from toolkit.platforms import simulated", "the monitor only asks"),
    ],
)
def test_planted_violation_is_caught(copied_tree: Path, module: str, line: str, contract: str) -> None:
    """One forbidden import breaks exactly the contract that forbids it."""
    planted = copied_tree / module
    planted.write_text(line + "\n", encoding="utf-8")
    try:
        done = _lint(copied_tree)
    finally:
        planted.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout
    assert done.stdout.count(" BROKEN") == 1


def test_every_package_has_a_place_in_the_layers() -> None:
    """Each module or package directly under toolkit/ is named in the layers, so that none escapes them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    placed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    found = {
        f"toolkit.{path.stem}"
        for path in (ROOT / "toolkit").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path.is_dir() and any(path.glob("*.py")))
    }
    assert found - placed == set()
