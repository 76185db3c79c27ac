"""The packaged sample is what its card says it is."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pandas as pd
import pytest

from toolkit.errors import BadInput
from toolkit.market import sample_bars, sample_cards

FOLDER = files("toolkit.market.samples")
CARDS = sample_cards()


@pytest.mark.parametrize("key", CARDS, ids=" ".join)
def test_card_facts_are_recomputed_from_the_file(key):
    """Checksum, rows, range and extremes of the card follow from the shipped file."""
    card = CARDS[key]
    raw = FOLDER.joinpath(card["file"]).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == card["sha256"]
    table = pd.read_parquet(FOLDER / card["file"])
    assert len(table) == card["rows"]
    assert table.ts.iloc[0].isoformat() == card["first"]
    assert table.ts.iloc[-1].isoformat() == card["last"]
    assert f"{table.low.min():.5f}" == card["lowest"]
    assert f"{table.high.max():.5f}" == card["highest"]


@pytest.mark.parametrize("key", CARDS, ids=" ".join)
def test_every_card_names_source_licence_and_maker(key):
    """A sample without a source and a licence is not shipped."""
    card = CARDS[key]
    assert len(card["source"]) > 10
    assert card["licence"] == "MIT"
    assert "Permission is hereby granted" in card["licence_text"]
    assert len(card["source_sha256"]) == 64
    assert FOLDER.joinpath(card["made_by"]).is_file()


def test_the_sample_is_eurusd_h1_of_2017():
    """6,225 bars; the ask is the file's price and the bid is the card's spread below it."""
    bars = sample_bars("EURUSD", "H1")
    table = pd.read_parquet(FOLDER / "eurusd_h1_2017.parquet")
    assert len(bars) == 6225
    assert (bars.in_price_units(bars.ask_close) == table.close.to_numpy()).all()
    for part in ("open", "high", "low", "close"):
        assert set((getattr(bars, f"ask_{part}") - getattr(bars, f"bid_{part}")).tolist()) == {8}
    assert bars is sample_bars("EURUSD", "H1")


def test_an_unknown_sample_lists_what_there_is():
    """Asking for another sample names the ones shipped."""
    with pytest.raises(
        BadInput, match=r"sample must be one of EURUSD H1, was GBPUSD H1: load your own data with load_bars"
    ):
        sample_bars("GBPUSD", "H1")
