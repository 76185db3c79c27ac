"""The queues at the message brokers, asked for on a thread: a broker that is slow or gone holds nobody up."""

from __future__ import annotations

from typing import Any, Final

import panel as pn

from panel_app.data_store import DataStore
from panel_app.data_store.review import ask
from panel_app.look import parts, theme
from panel_app.look.formatting import DASH, escape
from toolkit import clock
from toolkit.live.engine import Engine
from toolkit.live.outside.queues import QueueLength, queue_lengths
from toolkit.store.reading.queries import Reader

AGAIN_SECONDS: Final = 5.0


class Queues(pn.viewable.Viewer):
    """A table of queue lengths; read again every few seconds while it is looked at."""

    def __init__(self, store: DataStore, engine: Engine, reader: Reader | None, **params: Any) -> None:
        super().__init__(**params)
        self._engine = engine
        self._reader: Reader = reader or store.principal
        self._asked_at: float | None = None
        self._busy = False
        self._table = parts.table(
            {"state": "State", "account": "Account", "gateway": "Message broker", "carries": "Carries", "waiting": "Waiting",
             "delayed": "Delayed", "dead": "Dead letters"}, html=("state",), right=("waiting", "delayed", "dead"),
        )  # fmt: skip

    def __panel__(self) -> Any:
        return self._table

    def refresh(self) -> None:
        """Ask again when the last answer is old enough."""
        now = clock.SYSTEM.monotonic()
        if self._busy or (self._asked_at is not None and now - self._asked_at < AGAIN_SECONDS):
            return
        self._busy, self._asked_at = True, now
        ask(lambda: queue_lengths(self._engine, self._reader), self._show, self._refuse)

    def _show(self, found: list[QueueLength]) -> None:
        self._busy = False
        parts.fill(self._table, [_cells(row) for row in found])

    def _refuse(self, error: Exception) -> None:
        self._busy = False
        words = {"state": f"{parts.diamond(theme.LOSS)}cannot be read: {escape(type(error).__name__)}"}
        parts.fill(self._table, [words])


def _cells(row: QueueLength) -> dict[str, Any]:
    if row.trouble:
        state = f"{parts.diamond(theme.LOSS)}{escape(row.trouble)}"
    elif row.dead:
        state = f"{parts.diamond(theme.WARNING)}dead letters"
    else:
        state = f"{parts.dot(theme.NEUTRAL if row.waiting else theme.PROFIT)}{'waiting' if row.waiting else 'empty'}"

    def count(value: int | None) -> str:
        return DASH if value is None else f"{value:,}"

    return {
        "state": state, "account": row.account, "gateway": row.gateway, "carries": row.carries,
        "waiting": count(row.waiting), "delayed": count(row.delayed), "dead": count(row.dead),
    }  # fmt: skip
