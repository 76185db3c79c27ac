"""The page: ``panel serve panel_app/app.py``. Importing this module starts nothing; a session is made only when it is served."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import panel as pn
import panel_material_ui as pmui

from panel_app.actions.asking import ActionBar
from panel_app.actions.runs import run_actions, silence_warning, start_actions
from panel_app.context import reader_of_session, shared_engine, store_of
from panel_app.data_store import RunTopic
from panel_app.data_store.review import Review
from panel_app.look import theme
from panel_app.views.fleet import FleetView
from panel_app.views.lists.letters import LettersView
from panel_app.views.lists.listing import ListView
from panel_app.views.lists.listings import LISTINGS
from panel_app.views.run import RunView
from panel_app.views.system import SystemView
from toolkit.errors import NotFound

pn.extension("tabulator", notifications=True)

PAGES = {
    "fleet": ("Fleet", "dashboard"),
    "intents": ("Intents", "receipt_long"),
    "accounts": ("Accounts", "account_balance"),
    "versions": ("Bots and versions", "inventory_2"),
    "trips": ("Guardrail trips", "gpp_maybe"),
    "alerts": ("Alerts", "notifications"),
    "letters": ("Dead letters", "mark_email_unread"),
    "users": ("Users", "group"),
    "audit": ("Audit trail", "history"),
    "system": ("System", "memory"),
}


class Monitor:
    """One session of the page: a menu, and the view that its address names (``?run=ID`` or ``?page=NAME``)."""

    def __init__(self) -> None:
        self.engine = shared_engine()
        self.store = store_of(self.engine)
        self.reader = reader_of_session(self.engine)
        self._view: Any = None
        self._place = pn.Column(sizing_mode="stretch_width", margin=(16, 16, 24, 16), max_width=1680)
        self._menu = pmui.MenuList(
            items=[{"label": label, "icon": icon} for label, icon in PAGES.values()],
            on_click=self._chosen, margin=0,
        )  # fmt: skip
        self.page = pmui.Page(
            title="Seatrial",
            sidebar=[self._menu],
            sidebar_open=False,
            sidebar_width=230,
            main=[self._place],
            theme_config=theme.THEME,
            theme_toggle=True,
        )
        self._go(*self._address())

    def _address(self) -> tuple[str, str]:
        arguments = pn.state.session_args or {}
        run = arguments.get("run", [b""])[0].decode(errors="replace")
        page = arguments.get("page", [b"fleet"])[0].decode(errors="replace")
        return ("run", run) if run else (page, "")

    def _chosen(self, item: dict[str, Any]) -> None:
        names = {label: name for name, (label, _) in PAGES.items()}
        self._go(names.get(item.get("label", ""), "fleet"), "")

    def _go(self, page: str, run: str) -> None:
        if self._view is not None:
            self._view.close()
        if pn.state.location is not None:
            pn.state.location.search = f"?run={run}" if run else ("" if page == "fleet" else f"?page={page}")
        if page == "run":
            self._view = self._run_view(run)
        elif page == "system":
            self._view = SystemView(self.store, reader=self.reader, engine=self.engine)
        elif page in LISTINGS:
            self._view = ListView(self.store, LISTINGS[page](self.store, self.reader, self.engine), reader=self.reader)
        elif page == "letters":
            self._view = LettersView(self.store, self.engine, self.reader)
        else:
            self._view = FleetView(
                self.store,
                reader=self.reader,
                on_open=lambda run_id: self._go("run", str(run_id)),
                actions=ActionBar(lambda: start_actions(self.engine, self.reader, self.store.read)),
            )
        self._place[:] = [self._view]

    def _run_view(self, run: str) -> Any:
        try:
            return RunView(
                self.store,
                UUID(run),
                reader=self.reader,
                actions=self._actions,
                review=Review(self.engine, self.reader),
            )
        except (NotFound, ValueError):
            return NothingHere(f"There is no run {run[:60]} that you may see.")

    def _actions(self, topic: RunTopic) -> ActionBar:
        return ActionBar(
            lambda: run_actions(self.engine, self.reader, topic.row), warning=lambda: silence_warning(topic.row)
        )


class NothingHere(pn.viewable.Viewer):
    """Said instead of a view that does not exist or is not this principal's to see."""

    def __init__(self, words: str, **params: Any) -> None:
        super().__init__(**params)
        self._pane = pmui.Alert(words, severity="warning", sizing_mode="stretch_width")

    def __panel__(self) -> Any:
        return self._pane

    def close(self) -> None:
        """Nothing is followed."""


if pn.state.served:
    Monitor().page.servable(title="Seatrial")
