"""The rehearsal on a real MetaTrader 5 demo account, named by SEATRIAL_DEMO_* variables; skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.platforms.metatrader5.doctor import rehearse
from toolkit.platforms.opening import open_metatrader5


@pytest.mark.demo_account
def test_mt5_platform_rehearsal_on_a_demo_account(tmp_path: Path) -> None:
    """Two minimum lots are opened, their stop moved, reduced and closed, and nothing is left open."""
    login = os.environ.get("SEATRIAL_DEMO_LOGIN", "")
    server = os.environ.get("SEATRIAL_DEMO_SERVER", "")
    if not login or not server:
        pytest.skip("SEATRIAL_DEMO_LOGIN and SEATRIAL_DEMO_SERVER name no demo account")
    settings = {
        word: value
        for word in ("path", "clock", "suffix")
        if (value := os.environ.get(f"SEATRIAL_DEMO_{word.upper()}", ""))
    }
    platform = open_metatrader5(
        login=login,
        server=server,
        environment="demo",
        secret_ref=os.environ.get("SEATRIAL_DEMO_SECRET_REF", ""),
        settings=settings,
        locks=tmp_path,
    )
    try:
        found = rehearse(platform, os.environ.get("SEATRIAL_DEMO_SYMBOL", "EURUSD"))
        assert [f for f in found if f.level == "fail"] == []
    finally:
        platform.close()
