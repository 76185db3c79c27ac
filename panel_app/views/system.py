"""The installation at a glance: what waits, who holds which account, which versions run."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app import theme
from panel_app.data_store import DataStore
from panel_app.formatting import DASH, age, moment
from panel_app.session_feed import SessionFeed
from panel_app.views import parts
from toolkit import clock
from toolkit.settings import redacted_url
from toolkit.store.queries import UNRESOLVED, Reader
from toolkit.store.records import SystemState

_HELD = f"{parts.dot(theme.PROFIT)}held"
_OVER = f"{parts.dot(theme.NEUTRAL)}over"
_PACKAGES = ("seatrial", "panel", "bokeh", "sqlalchemy", "numpy", "pandas")


class SystemView(pn.viewable.Viewer):
    """Outbox, intents by state, leases and versions, kept up to date."""

    def __init__(self, store: DataStore, *, reader: Reader | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._store = store
        self._topic = store.listing("system", store.read.system, reader)
        self._heading = parts.Heading()
        self._tiles = parts.Tiles()
        self._leases = parts.table(
            {"account": "Account", "owner": "Held by", "until": "Lease until (UTC)", "state": "State"}, html=("state",)
        )
        self._facts = parts.table({"name": "What", "value": "Value"}, page_size=20)
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            self._heading,
            self._tiles,
            pmui.Paper(self._leases, elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0),
            pmui.Paper(self._facts, elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0),
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
        """Stop following the installation."""
        self.feed.close()

    def refresh(self) -> None:
        """Show the installation as it is now."""
        state = self._topic.rows
        assert isinstance(state, SystemState)
        now = clock.now()
        waiting = None if state.oldest_undelivered is None else (now - state.oldest_undelivered).total_seconds()
        unresolved = sum(state.intents_by_state.get(name, 0) for name in UNRESOLVED)
        held = [lease for lease in state.leases if lease[2] is not None and lease[2] > now]
        oldest = f"oldest {age(waiting)}" if waiting is not None else "all delivered"
        colour = theme.LOSS if unresolved else ""
        self._heading.put("System", [], self._store.failure)
        self._tiles.put(
            [
                parts.Tile("Outbox", f"{state.outbox_depth:,} waiting", oldest),
                parts.Tile("Unresolved intents", str(unresolved), "need a look" if unresolved else "none", colour),
                parts.Tile("Intents", f"{sum(state.intents_by_state.values()):,}", _words(state.intents_by_state)),
                parts.Tile("Runs", f"{sum(state.runs_by_status.values()):,}", _words(state.runs_by_status)),
                parts.Tile("Accounts held", str(len(held)), "by live workers" if held else "no worker holds an account"),
            ]
        )  # fmt: skip
        parts.fill(
            self._leases,
            [
                {"account": account, "owner": owner, "until": moment(until, seconds=True),
                 "state": _HELD if (account, owner, until) in held else _OVER}
                for account, owner, until in state.leases
            ],
        )  # fmt: skip
        parts.fill(self._facts, self._facts_rows())

    def _facts_rows(self) -> list[dict[str, Any]]:
        rows = [
            {"name": "database", "value": redacted_url(self._store.engine.url.render_as_string(hide_password=True))},
            {"name": "data folder", "value": str(self._store.home)},
            {"name": "sessions watching", "value": str(self._store.watched)},
        ]
        for package in _PACKAGES:
            try:
                version = metadata.version(package)
            except metadata.PackageNotFoundError:
                version = DASH
            rows.append({"name": package, "value": version})
        return rows


def _words(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))
        or "none"
    )
