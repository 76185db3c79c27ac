"""The installation at a glance: who carries the runs, what waits, how it stands, which versions run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app.data_store import DataStore
from panel_app.data_store.session_feed import SessionFeed
from panel_app.look import parts, theme
from panel_app.look.export import export_button
from panel_app.look.formatting import DASH, age, escape, moment, sentence
from panel_app.views.queues import Queues
from toolkit import clock
from toolkit.live.engine import Engine as LiveEngine
from toolkit.settings import redacted_url
from toolkit.store.people.operations import Hosted
from toolkit.store.reading.pulse import read_pulse
from toolkit.store.reading.queries import UNRESOLVED, Reader
from toolkit.store.reading.records import SystemState
from toolkit.store.sql.unit_of_work import READ_ONLY

_HELD = f"{parts.dot(theme.PROFIT)}held"
_OVER = f"{parts.dot(theme.NEUTRAL)}over"
_PACKAGES = ("seatrial", "panel", "bokeh", "sqlalchemy", "numpy", "pandas", "dramatiq", "holoviews")
SILENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Now:
    """What the page shows of one moment."""

    state: SystemState
    hosted: tuple[Hosted, ...]
    pulse: dict[str, Any]


class SystemView(pn.viewable.Viewer):
    """Workers, outbox, intents by state, leases, metrics and versions, kept up to date."""

    def __init__(
        self, store: DataStore, *, reader: Reader | None = None, engine: LiveEngine | None = None, **params: Any
    ) -> None:
        super().__init__(**params)
        self._store = store
        self._topic = store.listing("system", self._read, reader)
        self._heading = parts.Heading()
        self._tiles = parts.Tiles()
        self._alarm = pmui.Alert("", severity="error", sizing_mode="stretch_width", margin=0, visible=False)
        self._hosted = parts.table(
            {"state": "Carried", "account": "Account", "gateway": "Gateway", "runs": "Runs under way",
             "workers": "For workers", "beat": "Last sign of life", "owner": "Held by"},
            html=("state",), right=("runs", "workers", "beat"),
        )  # fmt: skip
        self._leases = parts.table(
            {"account": "Account", "owner": "Platform session held by", "until": "Lease until (UTC)", "state": "State"},
            html=("state",),
        )
        self._queues = Queues(store, engine, reader) if engine is not None else None
        self._pulse = parts.Tiles()
        self._facts = parts.table({"name": "What", "value": "Value"}, page_size=20)
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            parts.heading_line(self._heading),
            self._alarm,
            self._tiles,
            _section("Who carries the runs", self._hosted),
            *([] if self._queues is None else [_section("Queues at the message brokers", self._queues)]),
            _section("Platform sessions", self._leases),
            self._pulse,
            _section("Versions", self._facts, export_button("system", self._facts_rows)),
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

    def _read(self, reader: Reader) -> _Now:
        pulse: dict[str, Any] = {}
        if self._store.operations.role(reader) == "admin":  # the numbers count everybody's rows
            with self._store.engine.connect() as connection:
                pulse = asdict(read_pulse(connection.execution_options(**{READ_ONLY: True}), clock.now()))
        return _Now(self._store.read.system(reader), tuple(self._store.operations.hosted(reader)), pulse)

    def refresh(self) -> None:
        """Show the installation as it is now."""
        found = self._topic.rows
        assert isinstance(found, _Now)
        state, now = found.state, clock.now()
        waiting = None if state.oldest_undelivered is None else (now - state.oldest_undelivered).total_seconds()
        unresolved = sum(state.intents_by_state.get(name, 0) for name in UNRESOLVED)
        held = [lease for lease in state.leases if lease[2] is not None and lease[2] > now]
        oldest = f"oldest {age(waiting)}" if waiting is not None else "all delivered"
        colour = theme.LOSS if unresolved else ""
        alone = [row for row in found.hosted if not _carried(row, now)]
        self._heading.put("System", [], self._store.failure)
        self._alarm.visible = bool(alone)
        self._alarm.object = _alarm_words(alone)
        self._tiles.put(
            [
                parts.Tile("Workers", f"{len({lease[1] for lease in held})} alive",
                           f"{len(alone)} account(s) carried by nobody" if alone else "every run is carried",
                           theme.LOSS if alone else ""),
                parts.Tile("Outbox", f"{state.outbox_depth:,} waiting", oldest),
                parts.Tile("Unresolved intents", str(unresolved), "need a look" if unresolved else "none", colour),
                parts.Tile("Intents", f"{sum(state.intents_by_state.values()):,}", _words(state.intents_by_state)),
                parts.Tile("Runs", f"{sum(state.runs_by_status.values()):,}", _words(state.runs_by_status)),
                parts.Tile("Accounts held", str(len(held)), "by live workers" if held else "no worker holds an account"),
            ]
        )  # fmt: skip
        parts.fill(self._hosted, [self._hosted_cells(row, _carried(row, now), now) for row in found.hosted])
        parts.fill(
            self._leases,
            [
                {"account": account, "owner": owner, "until": moment(until, seconds=True),
                 "state": _HELD if (account, owner, until) in held else _OVER}
                for account, owner, until in state.leases
            ],
        )  # fmt: skip
        if self._queues is not None:
            self._queues.refresh()
        self._pulse.put(_pulse_tiles(found.pulse))
        parts.fill(self._facts, self._facts_rows())

    @staticmethod
    def _hosted_cells(row: Hosted, carried: bool, now: Any) -> dict[str, Any]:
        beat = None if row.heartbeat_at is None else (now - row.heartbeat_at).total_seconds()
        return {
            "state": f"{parts.dot(theme.PROFIT)}yes" if carried else f"{parts.diamond(theme.LOSS)}no live worker",
            "account": row.account, "gateway": row.gateway, "runs": str(row.under_way), "workers": str(row.workers),
            "beat": age(beat), "owner": row.lease_owner or DASH,
        }  # fmt: skip

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


def _carried(row: Hosted, now: Any) -> bool:
    """Whether some process has shown, by lease or by heartbeat, that it carries the account's runs."""
    beat = row.heartbeat_at is not None and (now - row.heartbeat_at).total_seconds() <= SILENT_SECONDS
    return beat or (row.lease_until is not None and row.lease_until > now and bool(row.lease_owner))


def _alarm_words(alone: list[Hosted]) -> str:
    if not alone:
        return ""
    names = ", ".join(row.account for row in alone)
    return (
        f"No live worker carries {escape(names)}: a stop or a flatten there takes effect only when one does "
        "(<code>seatrial worker</code>, or <code>seatrial run</code> for a local account)."
    )


def _pulse_tiles(pulse: dict[str, Any]) -> list[parts.Tile]:
    """Return the installation's own measures, as ``/metrics`` tells them; counts by state stand in the tiles above."""
    tiles = []
    for name, value in pulse.items():
        if isinstance(value, (int, float)):
            seconds = name.endswith("_seconds")
            words = age(float(value)) if seconds else f"{value:,}"
            tiles.append(parts.Tile(sentence(name.removesuffix("_seconds")), words, "all accounts, as in /metrics"))
    return tiles


def _section(title: str, content: Any, beside: Any = None) -> Any:
    caption = pn.pane.HTML(f"<b>{escape(title)}</b>", margin=(8, 12, 2, 10))
    return parts.paper(pn.FlexBox(caption, *([beside] if beside is not None else []), align_items="center"), content)


def _words(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))
        or "none"
    )
