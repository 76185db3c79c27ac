"""Fixtures of the page's tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load() -> ModuleType:
    path = Path(__file__).with_name("seeding.py")
    spec = importlib.util.spec_from_file_location("panel_seeding", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["panel_seeding"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def seeding() -> ModuleType:
    """The module that writes rows for the page."""
    return _load()


@pytest.fixture
def seed(seeding, tmp_path):  # type: ignore[no-untyped-def]
    """A fresh database with one user."""
    made = seeding.Seed(tmp_path / "home")
    yield made
    made.engine.dispose()
