"""Registering accounts: a reference to the secret, and a canary that must show up nowhere."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.plugins.live_support import Sea
from toolkit.errors import BadInput
from toolkit.live.opening.register import register_account
from toolkit.store.people.accounts import AccountRecord

CANARY = "s3cr3t-canary-9f1c"


def register(sea: Sea, **changed: Any) -> AccountRecord:
    """Register a demo account with what a test changes."""
    values: dict[str, Any] = {
        "platform": "metatrader5", "login": "5001", "server": "Broker-Demo", "currency": "USD", "environment": "demo",
        "secret_ref": "env:SEATRIAL_TEST_SECRET", "settings": {"path": "terminal"},
    }  # fmt: skip
    return register_account(sea.engine, "mt5-demo", **{**values, **changed})


@pytest.mark.parametrize("reference", ["env:NAME", "file:/run/secret", "keyring:seatrial/mt5-demo"])
def test_ownership_an_account_keeps_a_reference(sea: Sea, reference: str) -> None:
    """Each kind of reference is stored as it stands, and the account is its owner's."""
    record = register(sea, secret_ref=reference)
    assert record.secret_ref == reference and record.owner_id == sea.engine.principal.user_id
    assert record.settings == {"mt5": {"path": "terminal"}} and record.environment == "demo"


def test_a_secret_in_place_of_a_reference_is_refused_and_shown_nowhere(
    sea: Sea, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the message, the log, the database files nor the audit trail repeat what may be the secret."""
    with caplog.at_level(logging.DEBUG), pytest.raises(BadInput) as refused:
        register(sea, secret_ref=CANARY)
    assert CANARY not in str(refused.value) and CANARY not in repr(refused.value) and CANARY not in caplog.text
    sea.engine.close()
    for file in sea.home.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file.name


def test_a_secret_among_the_settings_is_refused_by_its_name(sea: Sea) -> None:
    """The option is named, its value is not."""
    with pytest.raises(BadInput, match="named password") as refused:
        register(sea, settings={"path": "x", "agent": {"password": CANARY}})
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"platform": "simulated"}, "platform must be one of metatrader5, ctrader"),
        ({"environment": "paper"}, "'demo' or 'real'"),
        ({"login": ""}, "login and server must be given"),
        ({"server": ""}, "login and server must be given"),
    ],
)
def test_what_does_not_fit_is_refused(sea: Sea, changed: dict[str, Any], words: str) -> None:
    """Each field is checked at the door."""
    with pytest.raises(BadInput, match=words):
        register(sea, **changed)


def test_the_same_name_twice_is_refused(sea: Sea) -> None:
    """An owner's accounts have different names."""
    register(sea)
    with pytest.raises(BadInput, match="account name must be new"):
        register(sea)


@pytest.mark.parametrize(
    ("settings", "day_end"),
    [({"clock": "New York + 7"}, "New York + 7"), ({"clock": "Europe/Athens"}, "Europe/Athens"), ({}, "UTC")],
)
def test_mt5_day_of_an_account_ends_at_its_servers_midnight(sea: Sea, settings: dict[str, str], day_end: str) -> None:
    """Daily guards count by the clock the account states; without one by UTC."""
    assert register(sea, settings=settings).day_end == day_end


def test_the_day_of_a_paper_account_ends_where_its_terms_say(sea: Sea) -> None:
    """The terms of the account decide."""
    assert sea.account(day_end="Europe/Athens").day_end == "Europe/Athens"
