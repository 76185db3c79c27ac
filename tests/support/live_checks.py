"""What tests of a run compare it with: its backtest, and the events it left."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import Sea
from toolkit.market import Bars
from toolkit.research.comparison import normalise_all
from toolkit.store.sql.models import RunEvent


def backtest_trades(strategy: Any, bars: Bars, **given: Any) -> list[dict[str, Any]]:
    """Return the closed trades of a backtest on the tests' account."""
    given.setdefault("account", tk.PaperAccount(currency="USD", balance=10_000, leverage=30))
    return normalise_all(tk.backtest(strategy, bars, **given).trade_records)


def events(sea: Sea, kind: str) -> list[str]:
    """Return the messages of one kind of event."""
    with sea.engine.work(write=False) as work:
        return list(work.connection.execute(select(RunEvent.message).where(RunEvent.kind == kind)).scalars())
