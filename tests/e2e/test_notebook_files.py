"""The notebooks in the tree are clean files; `.ci/run` executes every cell of them with nbval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _cells(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def test_notebook_of_the_first_session_is_there() -> None:
    """The tree holds the tutorial that the README sends a reader to."""
    assert "01_research_to_live.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_no_output(path: Path) -> None:
    """No cell in git carries an output, an execution count or widget state."""
    for cell in _cells(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_works_in_a_folder_of_its_own(path: Path) -> None:
    """The first code cell that names SEATRIAL_HOME comes before the toolkit is imported, so a reader's data is untouched."""
    code = "\n".join("".join(cell["source"]) for cell in _cells(path) if cell["cell_type"] == "code")
    assert code.index("SEATRIAL_HOME") < code.index("import toolkit")
