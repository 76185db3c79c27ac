"""All runs at a glance: what needs a human first, then what is running, then the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from panel_app.data_store import DataStore
from panel_app.data_store.session_feed import SessionFeed
from panel_app.look import parts, theme
from panel_app.look.export import export_button
from panel_app.look.formatting import money
from panel_app.views import fleet_rows
from toolkit import clock
from toolkit.store.reading.queries import Reader
from toolkit.store.reading.records import FleetRow


class FleetView(pn.viewable.Viewer):
    """The list of runs, kept up to date.

    Parameters
    ----------
    store
        The process's data store.
    reader
        Who looks; the store's own principal when left out.
    on_open
        Called with a run's id when its row is clicked.
    actions
        Shown beside the heading, e.g. the button that starts a run.
    """

    def __init__(
        self,
        store: DataStore,
        *,
        reader: Reader | None = None,
        on_open: Callable[[UUID], None] | None = None,
        actions: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._store = store
        self._topic = store.fleet(reader)
        self._on_open = on_open
        self._shown: list[fleet_rows.Line] = []
        self._tiles = parts.Tiles()
        self._problem = parts.Heading()
        self._search = pmui.TextInput(
            label="Filter", placeholder="bot, account, symbol", size="small", width=220, margin=0
        )
        self._status = pmui.RadioButtonGroup(
            options=["All", "Running", "Needs attention", "Stopped"], value="All", size="small", margin=0
        )
        self._sort = pmui.Select(
            label="Sort by", options=list(fleet_rows.SORTS), value="Attention", size="small", width=150, margin=0
        )
        self._group = pmui.Switch(label="Group by account", value=False, margin=0)
        self._table = parts.table(fleet_rows.COLUMNS, html=fleet_rows.HTML, right=fleet_rows.RIGHT, page_size=25)
        self._table.on_click(self._clicked)
        self._search.param.watch(lambda _event: self._show_rows(), "value_input")
        for choice in (self._status, self._sort, self._group):
            choice.param.watch(lambda _event: self._show_rows(), "value")
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            parts.heading_line(self._problem, actions),
            self._tiles,
            pn.FlexBox(
                self._search, self._status, self._sort, self._group, export_button("runs", self._exported),
                align_items="center", gap="14px", margin=0, sizing_mode="stretch_width",
            ),
            parts.paper(self._table),
            self.feed.heartbeat,
            sizing_mode="stretch_width",
            styles={"gap": "14px"},
            margin=0,
        )  # fmt: skip
        self.refresh()
        self.feed.start()

    def __panel__(self) -> Any:
        return self._layout

    def close(self) -> None:
        """Stop following the fleet."""
        self.feed.close()

    def refresh(self) -> None:
        """Bring everything that is shown up to date."""
        self._tiles.put(self._topic.once("tiles", lambda: _tiles(list(self._topic.runs), clock.now())))
        self._problem.put("Fleet", [], self._store.failure)
        self._show_rows()

    def _show_rows(self) -> None:
        wanted = (self._search.value_input or "").strip().lower()
        choices = (wanted, str(self._status.value), str(self._sort.value), bool(self._group.value))
        self._shown, frame = self._topic.once(("rows", *choices), lambda: self._rows(*choices))
        parts.show(self._table, frame)

    def _rows(self, wanted: str, status: str, sort: str, grouped: bool) -> tuple[list[fleet_rows.Line], pd.DataFrame]:
        now = clock.now()
        rows = [row for row in self._topic.runs if fleet_rows.matches(row, wanted, status, now)]
        lines = fleet_rows.lines(rows, sort=sort, grouped=grouped, now=now)
        return lines, parts.frame_of(self._table, [fleet_rows.cells(line, now) for line in lines])

    def _exported(self) -> list[FleetRow]:
        return [line for line in self._shown if isinstance(line, FleetRow)]

    def _clicked(self, event: Any) -> None:
        if self._on_open is None or not 0 <= event.row < len(self._shown):
            return
        line = self._shown[event.row]
        if isinstance(line, FleetRow):
            self._on_open(line.live_run_id)


def _tiles(rows: list[FleetRow], now: datetime) -> list[parts.Tile]:
    running = [row for row in rows if row.status == "RUNNING"]
    attention = [row for row in rows if fleet_rows.reasons(row, now)]
    tiles = [
        parts.Tile("Runs", f"{len(running)} running", f"{len(rows)} in all"),
        parts.Tile("Needs attention", str(len(attention)), fleet_rows.attention_words(rows, now),
                   theme.LOSS if attention else ""),
        parts.Tile("Open positions", str(sum(row.open_positions for row in rows)), "over all runs"),
    ]  # fmt: skip
    for currency in sorted({row.currency for row in rows}):
        mine = [row for row in rows if row.currency == currency]
        total = sum((row.realised for row in mine), Decimal(0))
        today = sum((row.day_profit or Decimal(0) for row in mine if row.status == "RUNNING"), Decimal(0))
        tiles.append(
            parts.Tile(f"Realised {currency}", money(total, signed=True), f"{len(mine)} runs",
                       theme.money_colour(float(total)))
        )  # fmt: skip
        tiles.append(
            parts.Tile(f"Today {currency}", money(today, signed=True), "running ones", theme.money_colour(float(today)))
        )
    return tiles
