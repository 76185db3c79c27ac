"""What a stored sea trial was made on: one symbol, or several with facts and data of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tested_symbols(trial: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the symbols of a trial's report, in the order in which they act."""
    several = trial.get("series")
    return tuple(str(each["symbol"]) for each in several) if several else (str(trial["symbol"]),)


def tested_instruments(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract facts of each symbol of a trial's report."""
    several = trial.get("series")
    if several:
        return {str(each["symbol"]): each["instrument"] for each in several}
    return {str(trial["symbol"]): trial["instrument"]}


def tested_fingerprints(trial: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fingerprint of each symbol's bars of a trial's report, in the same order."""
    several = trial.get("series")
    return tuple(str(each["fingerprint"]) for each in several) if several else (str(trial["data_fingerprint"]),)
