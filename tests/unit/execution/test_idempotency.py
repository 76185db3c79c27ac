"""Keys, fingerprints and client tags."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import RequestError
from toolkit.execution.idempotency import (
    ai_key,
    client_tag,
    is_our_tag,
    payload_hash,
    run_key,
    signal_fingerprint,
)
from toolkit.market import Side

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text())


def key_of(case):
    if case["kind"] == "ai":
        return ai_key(
            account_id=UUID(case["account_id"]),
            source=case["source"],
            signal_id=case["signal_id"],
            action=case["action"],
        )
    return run_key(
        live_run_id=UUID(case["live_run_id"]),
        bar_time=datetime.fromisoformat(case["bar_time"]),
        symbol=case["symbol"],
        side=Side(case["side"]),
        action=case["action"],
        ordinal=case["ordinal"],
        fingerprint=signal_fingerprint(case["version_hash"], case["words"]),
    )


def test_there_are_twenty_golden_keys():
    """The file pins twenty keys, all different."""
    assert len({case["key"] for case in GOLDEN}) == 20


@pytest.mark.parametrize("case", GOLDEN, ids=[c["name"] for c in GOLDEN])
def test_golden_key(case):
    """A key never changes between versions of the toolkit: an order in flight must be found again."""
    assert key_of(case) == case["key"]
    tag = client_tag(case["key"])
    assert (tag.text, tag.magic) == (case["tag"], case["magic"])


RUN = UUID("9f1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8")
BAR = datetime.fromisoformat("2017-01-03T10:00:00+00:00")


def key(**changes):
    fields = {
        "live_run_id": RUN, "bar_time": BAR, "symbol": "EURUSD", "side": Side.BUY, "action": "OPEN_TRADE", "ordinal": 0,
        "fingerprint": "f",
    }  # fmt: skip
    return run_key(**(fields | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"live_run_id": UUID(int=1)},
        {"bar_time": BAR + timedelta(hours=1)},
        {"symbol": "GBPUSD"},
        {"side": Side.SELL},
        {"action": "CLOSE_POSITION"},
        {"ordinal": 1},
        {"fingerprint": "g"},
    ],
)
def test_each_field_makes_another_key(change):
    """Two signals that differ in one field are two signals."""
    assert key(**change) != key()


def test_the_bar_time_is_taken_in_utc():
    """The same moment in another zone is the same key; a naive time is refused."""
    assert key(bar_time=BAR.astimezone(timezone(timedelta(hours=2)))) == key()
    with pytest.raises(ValueError, match="tz-aware"):
        key(bar_time=BAR.replace(tzinfo=None))


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_fields_cannot_run_into_each_other(a, b, c, d):
    """Length prefixes keep (symbol, action) pairs apart whatever their texts are."""
    if (a, b) != (c, d):
        assert key(symbol=a, action=b) != key(symbol=c, action=d)


@given(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
def test_a_tag_fits_the_platforms(text):
    """28 characters for MT5's comment of 29, a positive 63-bit magic, and both recognised as ours."""
    tag = client_tag(text)
    assert len(tag.text) == 28
    assert tag.text.startswith("q1")
    assert tag.text.isalnum()
    assert 0 < tag.magic < 2**63
    assert is_our_tag(tag.text, 0)
    assert is_our_tag("", tag.magic)


def test_a_foreign_tag_is_not_ours():
    """Somebody else's comment and magic are not taken for ours."""
    assert not is_our_tag("my manual trade", 0)
    assert not is_our_tag("", 123456)


def test_words_are_order_free_and_exact():
    """The order of words and trailing zeros do not matter; their values do."""
    a = signal_fingerprint("v", {"x": Decimal("1.10"), "y": 2})
    assert a == signal_fingerprint("v", {"y": 2, "x": Decimal("1.1")})
    assert a != signal_fingerprint("v", {"x": Decimal("1.11"), "y": 2})
    assert a != signal_fingerprint("w", {"x": Decimal("1.10"), "y": 2})


def test_a_float_word_is_refused():
    """A float has no stable text."""
    with pytest.raises(RequestError, match="Decimal"):
        signal_fingerprint("v", {"x": 1.1})


def test_an_ai_signal_needs_source_and_id():
    """Without an id of its own a signal cannot be recognised again."""
    with pytest.raises(RequestError, match="signal_id"):
        ai_key(account_id=RUN, source="desk", signal_id="", action="OPEN_TRADE")


def test_the_payload_hash_covers_the_signals_words():
    """Another fingerprint, side, symbol or action is another payload."""
    base = payload_hash("OPEN_TRADE", "EURUSD", Side.BUY, "f")
    others = {
        payload_hash("OPEN_TRADE", "EURUSD", Side.BUY, "g"),
        payload_hash("OPEN_TRADE", "EURUSD", Side.SELL, "f"),
        payload_hash("OPEN_TRADE", "GBPUSD", Side.BUY, "f"),
        payload_hash("CLOSE_POSITION", "EURUSD", Side.BUY, "f"),
    }
    assert base not in others
    assert len(others) == 4
