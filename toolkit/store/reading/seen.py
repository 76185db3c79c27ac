"""The bars that a live run decided on, as they were first seen; asked for by whoever may see the run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from toolkit.store.people.accounts import AccountRecord, read_account
from toolkit.store.reading.queries import Reader, visible_accounts
from toolkit.store.sql.models import BarSeen, LiveRun
from toolkit.store.sql.unit_of_work import READ_ONLY

_SEEN: Any = BarSeen.__table__
_RUNS: Any = LiveRun.__table__
_PRICES = ("bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close")
Columns = dict[str, NDArray[Any]]


class SeenRows:
    """Reads what `toolkit.live` kept of a platform's bars.

    Parameters
    ----------
    engine
        From ``toolkit.store.sql.engine.open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def account(self, account_id: UUID) -> AccountRecord:
        """Return the account of a run that the caller may already see."""
        with self._engine.connect() as connection:
            return read_account(connection.execution_options(**{READ_ONLY: True}), account_id)

    def state(self, reader: Reader, run_id: UUID) -> bytes | None:
        """Return the run's own memory, which tells where its series begins; None when it has none or is not visible."""
        wanted = select(_RUNS.c.state).where(
            _RUNS.c.live_run_id == run_id, _RUNS.c.account_id.in_(visible_accounts(reader))
        )
        with self._engine.connect() as connection:
            found = connection.execution_options(**{READ_ONLY: True}).execute(wanted).scalar()
        return None if found is None else bytes(found)

    def bars(
        self, reader: Reader, run_id: UUID, *, feed: str, symbol: str, after_ns: int, until_ns: int, most: int
    ) -> Columns | None:
        """Return the newest ``most`` bars that opened after ``after_ns`` and not after ``until_ns``, oldest first.

        Returns
        -------
        dict or None
            Columns of whole points by name, with ``ts`` (open, epoch nanoseconds) and ``volume`` (NaN where unknown); None
            when there is no such bar, or the run is not the reader's to see.
        """
        run = select(_RUNS.c.timeframe).where(
            _RUNS.c.live_run_id == run_id, _RUNS.c.account_id.in_(visible_accounts(reader))
        )
        query = (
            select(_SEEN.c.ts, _SEEN.c.volume, *(_SEEN.c[name] for name in _PRICES))
            .where(
                _SEEN.c.feed == feed, _SEEN.c.symbol == symbol, _SEEN.c.timeframe == run.scalar_subquery(),
                _SEEN.c.revision == 0, _SEEN.c.ts > after_ns, _SEEN.c.ts <= until_ns,
            )
            .order_by(_SEEN.c.ts.desc())
            .limit(most)
        )  # fmt: skip
        with self._engine.connect() as connection:
            rows = connection.execution_options(**{READ_ONLY: True}).execute(query).all()
        if not rows:
            return None
        ts, volume, *prices = zip(*reversed(rows), strict=True)
        return {
            "ts": np.array(ts, dtype=np.int64),
            "volume": np.array([np.nan if value is None else value for value in volume], dtype=np.float64),
            **{name: np.array(values, dtype=np.int32) for name, values in zip(_PRICES, prices, strict=True)},
        }
