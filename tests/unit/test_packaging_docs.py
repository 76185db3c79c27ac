"""README and docs tell the truth: commands exist, names are exported, links lead somewhere, examples run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _fences(name: str, *languages: str) -> list[str]:
    return [body for language, body in _FENCE.findall(_text(name)) if language in languages]


@cache
def _commands() -> dict[str, frozenset[str]]:
    """Sub-commands of ``seatrial`` by their words, each with its options, read from the command itself."""
    from typer.main import get_command

    from toolkit.cli import app

    found: dict[str, frozenset[str]] = {}

    def walk(command: object, words: tuple[str, ...]) -> None:
        options = {
            option
            for parameter in getattr(command, "params", [])
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        found[" ".join(words)] = frozenset(options | {"--help"})
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*words, name))

    walk(get_command(app), ())
    return found


def _seatrial_lines(name: str) -> list[str]:
    """Every use of the command in fences and inline code: the words after ``seatrial``."""
    code = _fences(name, "bash", "text", "", "console") + re.findall(r"`([^`\n]+)`", _text(name))
    return [
        match.group(1).strip()
        for piece in code
        for match in re.finditer(r"(?:^|&& |\$ )seatrial ([^\n&|#]+)", piece, re.MULTILINE)
    ]


# The notebook's own check: both tables, column by column; the backtest's numbers are floats, the run's are Decimals.
_SAME_TRADES = """
assert run.wait(200) == "STOPPED", run.status
assert len(bt.trades) > 100
assert list(bt.trades.columns) == list(run.trades.columns)
for name in bt.trades.columns:
    there, here = bt.trades[name], run.trades[name]
    assert list(there) == list(here.astype(float) if there.dtype == float else here), name
"""


@pytest.mark.parametrize("name", NAMES)
def test_named_commands_exist(name: str) -> None:
    """Each `seatrial ...` in the document is a command that exists, with options that it has."""
    for line in _seatrial_lines(name):
        words = line.split()
        path = ""
        for word in words:
            longer = f"{path} {word}".strip()
            if longer not in _commands():
                break
            path = longer
        assert path or words[0].startswith("-"), f"{name}: there is no `seatrial {words[0]}`"
        unknown = {word.split("=")[0] for word in words if word.startswith("--")} - _commands()[path]
        assert not unknown, f"{name}: `seatrial {path}` has no {sorted(unknown)}"


@pytest.mark.parametrize("name", NAMES)
def test_named_words_are_exported(name: str) -> None:
    """Each `tk.NAME` in the document is a name of the toolkit."""
    import toolkit

    named = set(re.findall(r"\btk\.([A-Za-z_]\w*)", _text(name)))
    assert sorted(named - set(dir(toolkit))) == []


@pytest.mark.parametrize("name", NAMES)
def test_links_and_named_files_exist(name: str) -> None:
    """Each relative link, and each path written as code that looks like a file of the packages, leads to a file."""
    here = (ROOT / name).parent
    links = [
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", _text(name))
        if "://" not in link and not link.startswith("#")
    ]
    missing = [link for link in links if link and not (here / link).exists()]
    paths = re.findall(r"`((?:toolkit|workers|panel_app|tests|docs|notebooks)/[\w/.-]+)`", _text(name))
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_python_fences_parse(name: str) -> None:
    """Each Python example is valid Python."""
    for body in _fences(name, "python"):
        ast.parse(body)


def test_readme_names_the_two_commands_that_ci_runs() -> None:
    """The README's two commands are the ones that continuous integration runs."""
    readme, script = _text("README.md"), _text(".ci/run")
    assert 'pip install -e ".[all]" && seatrial demo' in readme
    assert 'pip install -e ".[all,dev]" && pytest' in readme
    assert 'pip install -e ".[all,dev]"' in script
    assert " pytest -rs --durations" in script
    assert "seatrial demo" in script


def test_readme_example_runs(tmp_path: Path) -> None:
    """The README's notebook example runs as it stands, in an empty home, and its run makes the backtest's trades."""
    pytest.importorskip("pandas")
    code = "\n".join(_fences("README.md", "python"))
    code += _SAME_TRADES
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "SEATRIAL_HOME": str(tmp_path / "home"), "SEATRIAL_DATABASE_URL": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
