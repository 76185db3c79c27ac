"""The package says the truth about itself: extras, environment.yml, constraints.txt and the imports agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("toolkit", "workers", "panel_app")
PYTHONS = ("3.11", "3.12", "3.13")


@cache
def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _runtime_requirements() -> list[Requirement]:
    extras = _project()["optional-dependencies"]
    lists = [
        _project()["dependencies"],
        *(names for extra, names in extras.items() if extra not in {"all", "dev", "docs"}),
    ]
    return [Requirement(line) for names in lists for line in names]


def test_all_is_every_runtime_extra() -> None:
    """The extra `all` names every extra except itself, `dev` and `docs`."""
    extras = _project()["optional-dependencies"]
    (line,) = extras["all"]
    assert Requirement(line).extras == set(extras) - {"all", "dev", "docs"}


def test_metatrader5_is_asked_for_on_windows_only() -> None:
    """The vendor's package exists for Windows alone, so every mention of it carries the marker."""
    found = [r for r in _runtime_requirements() if canonicalize_name(r.name) == "metatrader5"]
    assert found
    assert all(r.marker is not None and not r.marker.evaluate({"sys_platform": "linux"}) for r in found)
    assert all(r.marker is not None and r.marker.evaluate({"sys_platform": "win32"}) for r in found)


def test_each_runtime_requirement_has_one_range() -> None:
    """A package that two extras ask for is asked for with the same range in both."""
    ranges: dict[str, set[str]] = {}
    for requirement in _runtime_requirements():
        ranges.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


def _imported_top_names() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                for name in names:
                    yield name.partition(".")[0], str(path.relative_to(ROOT))


def test_every_import_is_declared() -> None:
    """Each third-party package that the code imports is a direct requirement of the core or of an extra."""
    declared = {canonicalize_name(r.name) for r in _runtime_requirements()}
    owners = packages_distributions()
    undeclared: dict[str, set[str]] = {}
    for name, path in _imported_top_names():
        if name in sys.stdlib_module_names or name in PACKAGES:
            continue
        distributions = {canonicalize_name(owner) for owner in owners.get(name, [name])}
        if not distributions & declared:
            undeclared.setdefault(name, set()).add(path)
    assert undeclared == {}


def test_environment_yml_is_thin_and_in_step() -> None:
    """environment.yml holds Python, pip and the project itself; its Python range is pyproject's and it parses as conda specs."""
    rattler = pytest.importorskip("rattler")
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip_section,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    specs = {spec.name.normalized: spec for spec in (rattler.MatchSpec(text) for text in conda)}
    assert set(specs) == {"python", "pip"}
    assert set(str(specs["python"].version).split(",")) == set(_project()["requires-python"].split(","))
    assert pip_section == ["-e .[all,dev]"]


def _pinned() -> dict[str, list[Requirement]]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    pinned: dict[str, list[Requirement]] = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line.split(" --hash=", 1)[0].strip())
            pinned.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pinned


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_requirement_within_its_range(python: str) -> None:
    """On each supported Python every direct requirement has exactly one pin, and the pin lies in its range."""
    extras = _project()["optional-dependencies"]
    dev = [Requirement(line) for line in (*extras["dev"], *extras["docs"]) if not line.startswith("seatrial[")]
    pinned = _pinned()
    for requirement in [*_runtime_requirements(), *dev]:
        for platform in ("linux", "win32", "darwin"):
            where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": platform}
            if requirement.marker is not None and not requirement.marker.evaluate(where):
                continue
            pins = [
                p for p in pinned[canonicalize_name(requirement.name)] if p.marker is None or p.marker.evaluate(where)
            ]
            assert len(pins) == 1, (requirement.name, python, platform)
            version = Version(next(iter(pins[0].specifier)).version)
            assert requirement.specifier.contains(version, prereleases=True), (str(requirement), version)


def test_constraints_are_hashed_and_name_no_host() -> None:
    """Every pin carries at least one sha256 and no address of an index."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=\S)", text) if block.strip() and not block.startswith("#")]
    assert len(blocks) > 150
    assert [block.splitlines()[0] for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []
    assert "://" not in text


def test_supported_pythons_agree() -> None:
    """requires-python, the classifiers and the lanes of CI name the same Pythons."""
    classifiers = {c.rsplit(" ", 1)[1] for c in _project()["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)}
    assert classifiers == set(PYTHONS)
    specifier = Requirement(f"x{_project()['requires-python']}").specifier
    assert all(specifier.contains(f"{python}.1") for python in PYTHONS)
    assert not specifier.contains("3.10.1")
    assert not specifier.contains("3.14.0")
    lanes = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(python in lanes for python in PYTHONS)


def test_version_is_one() -> None:
    """pyproject.toml and the package state the same version."""
    import toolkit

    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        == toolkit.__version__
    )


def test_data_files_are_package_data() -> None:
    """Every non-Python file inside the packages is of a kind that the wheel takes along."""
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"][
        "*"
    ]
    left_out = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in {".py", ".pyc"}
        and not any(path.match(kind) for kind in kinds)
    ]
    assert left_out == []
