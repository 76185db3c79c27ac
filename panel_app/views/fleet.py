"""All runs at a glance: what needs a human first, then what is running, then the rest."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import panel as pn
import panel_material_ui as pmui

from panel_app import theme
from panel_app.data_store import DataStore
from panel_app.formatting import DASH, age, escape, moment, money
from panel_app.session_feed import SessionFeed
from panel_app.views import parts
from toolkit import clock
from toolkit.store.queries import Reader
from toolkit.store.records import FleetRow

STALE_SECONDS = 30.0
_ORDER = {"ERROR": 0, "STOPPING": 1, "RUNNING": 2, "PAUSED": 3, "CREATED": 4, "STOPPED": 5}


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
    """

    def __init__(
        self,
        store: DataStore,
        *,
        reader: Reader | None = None,
        on_open: Callable[[UUID], None] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._store = store
        self._topic = store.fleet(reader)
        self._on_open = on_open
        self._shown: list[FleetRow] = []
        self._tiles = parts.Tiles()
        self._problem = parts.Heading()
        self._search = pmui.TextInput(
            label="Filter", placeholder="bot, account, symbol", size="small", width=260, margin=0
        )
        self._status = pmui.RadioButtonGroup(
            options=["All", "Running", "Needs attention", "Stopped"], value="All", size="small", margin=0
        )
        self._table = parts.table(
            {"status": "Status", "run": "Run", "account": "Account", "market": "Market", "stage": "Stage",
             "equity": "Equity", "profit": "Profit", "open": "Open", "trades": "Trades", "time": "Market time (UTC)",
             "heartbeat": "Heartbeat", "action": "Last action"},
            html=("status", "profit", "run"), right=("equity", "profit", "open", "trades", "heartbeat"), page_size=25,
        )  # fmt: skip
        self._table.on_click(self._clicked)
        self._search.param.watch(lambda _event: self._show_rows(), "value_input")
        self._status.param.watch(lambda _event: self._show_rows(), "value")
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            self._problem,
            self._tiles,
            pn.FlexBox(
                self._search, self._status, align_items="center", gap="14px", margin=0, sizing_mode="stretch_width"
            ),
            pmui.Paper(self._table, elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0),
            self.feed.heartbeat,
            sizing_mode="stretch_width",
            styles={"gap": "14px"},
            margin=0,
        )
        self.refresh()
        self.feed.start()

    def __panel__(self) -> Any:
        return self._layout

    def close(self) -> None:
        """Stop following the fleet."""
        self.feed.close()

    def refresh(self) -> None:
        """Bring everything that is shown up to date."""
        rows = list(self._topic.runs)
        running = [row for row in rows if row.status == "RUNNING"]
        attention = [row for row in rows if needs_attention(row)]
        currencies = sorted({row.currency for row in rows})
        tiles = [
            parts.Tile("Runs", f"{len(running)} running", f"{len(rows)} in all"),
            parts.Tile("Needs attention", str(len(attention)), _reasons(attention), theme.LOSS if attention else ""),
            parts.Tile("Open positions", str(sum(row.open_positions for row in rows)), "over all runs"),
        ]
        for currency in currencies:
            mine = [row for row in rows if row.currency == currency]
            total = sum((row.realised for row in mine), Decimal(0))
            tiles.append(
                parts.Tile(
                    f"Realised {currency}",
                    money(total, signed=True),
                    f"{len(mine)} runs",
                    theme.money_colour(float(total)),
                )
            )
        self._tiles.put(tiles)
        self._problem.put("Fleet", [], self._store.failure)
        self._show_rows()

    def _show_rows(self) -> None:
        wanted = (self._search.value_input or "").strip().lower()
        rows = [row for row in self._topic.runs if _matches(row, wanted, str(self._status.value))]
        rows.sort(key=lambda row: (not needs_attention(row), _ORDER.get(row.status, 9), -row.created_at.timestamp()))
        self._shown = rows
        parts.fill(self._table, [_cells(row) for row in rows])

    def _clicked(self, event: Any) -> None:
        if self._on_open is not None and 0 <= event.row < len(self._shown):
            self._on_open(self._shown[event.row].live_run_id)


def needs_attention(row: FleetRow) -> bool:
    """Whether a human should look at this run before the others, a silent one included."""
    return row.needs_attention or _silent(row)


def _silent(row: FleetRow) -> bool:
    beat = row.heartbeat_age_seconds(clock.now())
    return row.status in ("RUNNING", "STOPPING") and (beat is None or beat > STALE_SECONDS)


def _reasons(rows: list[FleetRow]) -> str:
    words = []
    for name, count in (
        ("error", sum(row.status == "ERROR" for row in rows)),
        ("unresolved", sum(row.unresolved_intents > 0 for row in rows)),
        ("tripped", sum(bool(row.trips) for row in rows)),
        ("halted", sum(row.halted for row in rows)),
        ("silent", sum(_silent(row) for row in rows)),
    ):
        if count:
            words.append(f"{count} {name}")
    return ", ".join(words) or "all quiet"


def _matches(row: FleetRow, wanted: str, status: str) -> bool:
    if status == "Running" and row.status != "RUNNING":
        return False
    if status == "Stopped" and row.status != "STOPPED":
        return False
    if status == "Needs attention" and not needs_attention(row):
        return False
    text = " ".join((row.bot, row.account, *row.symbols, row.timeframe, row.stage, row.status, str(row.live_run_id)))
    return wanted in text.lower()


def _cells(row: FleetRow) -> dict[str, Any]:
    beat = row.heartbeat_age_seconds(clock.now())
    status = parts.status_html(row.status, theme.STATUS_COLOURS)
    if needs_attention(row) and row.status != "ERROR":
        status += f' <span title="needs attention" style="color:{theme.LOSS}">\N{WARNING SIGN}</span>'
    return {
        "status": status,
        "run": f"<b>{escape(row.bot)}</b> v{row.version_number} <span style='opacity:.55'>{str(row.live_run_id)[:8]}</span>",
        "account": f"{row.account} ({row.environment})",
        "market": " ".join((*row.symbols, row.timeframe)),
        "stage": row.stage.capitalize(),
        "equity": money(row.equity, row.currency) + ("" if row.marked else " *"),
        "profit": parts.coloured(money(row.equity - row.capital, signed=True), float(row.equity - row.capital)),
        "open": str(row.open_positions) if row.open_positions else DASH,
        "trades": f"{row.closed_trades:,}",
        "time": moment(row.cursor),
        "heartbeat": age(beat) if row.status in ("RUNNING", "STOPPING") else DASH,
        "action": row.last_error or row.last_action or DASH,
    }
