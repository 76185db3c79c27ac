"""The rehearsal on a real MetaTrader 5 demo account, named by SEATRIAL_DEMO_* variables; skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.cli.platforms.metatrader5 import demo_account_of_environment, look_over, rehearse
from toolkit.errors import BadInput
from toolkit.settings import Settings


@pytest.mark.demo_account
def test_mt5_platform_rehearsal_on_a_demo_account(tmp_path: Path) -> None:
    """The doctor finds nothing wrong; the smallest volume is opened, changed, reduced and closed through a LiveRun."""
    try:
        account = demo_account_of_environment()
    except BadInput as missing:
        pytest.skip(str(missing))
    settings = Settings(home=tmp_path, database_url="", gateway="local")  # type: ignore[arg-type]
    symbol = os.environ.get("SEATRIAL_DEMO_SYMBOL", "EURUSD")
    found = look_over(settings, account, (symbol,))
    assert [f for f in found if f.level == "fail"] == []
    steps = rehearse(settings, account, symbol)
    assert [(f.name, f.level) for f in steps] == [(n, "ok") for n in ("open", "modify", "reduce", "close", "deals")]
