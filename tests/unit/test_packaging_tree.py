"""The guard over the tree: it passes on this repository and it finds what it is for."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _guard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_tree", ROOT / ".ci" / "check_tree.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty git repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def _findings(repository: Path, name: str, text: str) -> list[str]:
    (repository / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "add", "-f", name], cwd=repository, check=True)
    return list(_guard().file_findings(repository, name))


def test_this_tree_has_no_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that git tracks here belongs to one machine, and no notebook carries outputs."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    code = _guard().main([str(ROOT)])
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.py", 'DATA = "' + "/".join(["", "root", "bars.csv"]) + '"\n', "path of one machine"),
        ("b.toml", "url = 'https://" + ".".join(["pypi", "org"]) + "/x'\n", "package index address"),
        ("c.cfg", "--index-" + "url = here\n", "package index address"),
        ("d.txt", "<" * 7 + " HEAD\n", "merge conflict"),
        ("e.log", "hello\n", "generated or private"),
        ("f.txt", "x" * 1_000_001, "more than 1,000,000"),
    ],
)
def test_guard_finds(repository: Path, name: str, text: str, words: str) -> None:
    """Each kind of unwanted content is found in a file that has nothing else wrong."""
    findings = _findings(repository, name, text)
    assert len(findings) == 1
    assert words in findings[0]


def test_guard_finds_notebook_outputs(repository: Path) -> None:
    """A notebook cell with an output or an execution count is refused, a clean one is not."""
    dirty = {"cells": [{"cell_type": "code", "source": [], "outputs": [{"text": "1"}], "execution_count": 3}]}
    clean = {"cells": [{"cell_type": "code", "source": [], "outputs": [], "execution_count": None}]}
    assert len(_findings(repository, "dirty.ipynb", json.dumps(dirty))) == 2
    assert _findings(repository, "clean.ipynb", json.dumps(clean)) == []


def test_guard_lets_ordinary_text_pass(repository: Path) -> None:
    """Relative paths, protocol words and divisions are no findings."""
    text = "see ../shared/data and toolkit/work/items, ratio a/home/b, https://example.org/opt-out\n"
    assert _findings(repository, "a.md", text) == []
