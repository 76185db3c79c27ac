"""Finding the module that speaks MetaTrader 5's interface."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from toolkit.errors import MissingPackage


def load_module() -> Any:
    """Return the vendor's package.

    Raises
    ------
    MissingPackage
        Where it is not installed; the message says what to do on this system.
    """
    try:
        return importlib.import_module("MetaTrader5")
    except ImportError as e:
        if sys.platform == "win32":
            remedy = 'run pip install "seatrial[mt5]"'
        else:
            remedy = (
                "the vendor's package runs on Windows only: run `python -m toolkit.platforms.agent` beside a terminal on "
                "Windows or under Wine and connect to it, or pass a module with the same surface as mt5="
            )
        raise MissingPackage(f"package MetaTrader5 must be installed, was not: {remedy}") from e
