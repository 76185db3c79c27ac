"""A list that keeps itself up to date: a title, a filter, a table, and details of the row that is clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app.actions.asking import Action, ActionBar
from panel_app.data_store import DataStore
from panel_app.data_store.session_feed import SessionFeed
from panel_app.look import parts
from panel_app.look.export import export_button
from toolkit.store.reading.queries import Reader


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list page shows.

    Attributes
    ----------
    name, title
        Key of the page and its heading.
    query
        Reads the rows that a principal may see.
    columns, html, right
        As for `parts.table`.
    cells
        Turns a row into the table's fields.
    choices
        Names of filters and the rows they let through; the first is preset.
    detail
        HTML shown below the table for the row that is clicked; escaped by its maker.
    actions
        What may be done with the row that is clicked.
    top
        What may be done on this page without choosing a row.
    """

    name: str
    title: str
    query: Callable[[Reader], Sequence[Any]]
    columns: dict[str, str]
    cells: Callable[[Any], dict[str, Any]]
    html: Sequence[str] = ()
    right: Sequence[str] = ()
    choices: dict[str, Callable[[Any], bool]] = field(default_factory=dict)
    detail: Callable[[Any], str] | None = None
    actions: Callable[[Any], list[Action]] | None = None
    top: Callable[[], list[Action]] | None = None


class ListView(pn.viewable.Viewer):
    """A page made from a `Listing`."""

    def __init__(self, store: DataStore, listing: Listing, *, reader: Reader | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._store = store
        self._listing = listing
        self._topic = store.listing(listing.name, listing.query, reader)
        self._heading = parts.Heading()
        self._search = pmui.TextInput(label="Filter", size="small", width=260, margin=0)
        self._choice = pmui.RadioButtonGroup(
            options=list(listing.choices) or ["All"], value=next(iter(listing.choices), "All"), size="small", margin=0
        )
        self._choice.visible = bool(listing.choices)
        self._table = parts.table(listing.columns, html=listing.html, right=listing.right, page_size=20)
        self._detail = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, visible=False)
        self._shown: list[Any] = []
        self._clicked_row: Any = None
        self._row_actions = ActionBar(self._row_choices)
        self._top_actions = ActionBar(listing.top) if listing.top is not None else None
        self._search.param.watch(lambda _event: self.refresh(), "value_input")
        self._choice.param.watch(lambda _event: self.refresh(), "value")
        self._table.on_click(self._clicked)
        self.feed = SessionFeed(lambda wake: store.watch(self._topic, wake), self.refresh)
        self._layout = pn.Column(
            parts.heading_line(self._heading, self._top_actions),
            pn.FlexBox(
                self._search,
                self._choice,
                export_button(listing.name, lambda: list(self._shown)),
                align_items="center",
                gap="14px",
                margin=0,
                sizing_mode="stretch_width",
            ),
            parts.paper(self._table),
            self._row_actions,
            self._detail,
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
        """Stop following the list."""
        self.feed.close()

    def refresh(self) -> None:
        """Show the rows as they are now, filtered."""
        wanted = (self._search.value_input or "").strip().lower()
        allowed = self._listing.choices.get(str(self._choice.value), lambda _row: True)
        pairs = [(row, self._listing.cells(row)) for row in list(self._topic.rows) if allowed(row)]  # type: ignore[call-overload]
        if wanted:
            pairs = [(row, cells) for row, cells in pairs if wanted in " ".join(map(str, cells.values())).lower()]
        self._shown = [row for row, _ in pairs]
        self._heading.put(self._listing.title, [(f"{len(pairs):,} shown", "")], self._store.failure)
        parts.fill(self._table, [cells for _, cells in pairs])
        self._follow_clicked(list(self._topic.rows))  # type: ignore[call-overload]

    def _follow_clicked(self, rows: list[Any]) -> None:
        # The row that was clicked is looked at as it is now; its first field names it.
        if self._clicked_row is not None:
            name = self._name(self._clicked_row)
            self._clicked_row = next((row for row in rows if self._name(row) == name), None)
            self._row_actions.refresh()

    @staticmethod
    def _name(row: Any) -> Any:
        return getattr(row, fields(row)[0].name)

    def _row_choices(self) -> list[Action]:
        if self._listing.actions is None or self._clicked_row is None:
            return []
        return self._listing.actions(self._clicked_row)

    def _clicked(self, event: Any) -> None:
        if not 0 <= event.row < len(self._shown):
            return
        self._clicked_row = self._shown[event.row]
        self._row_actions.refresh()
        if self._listing.detail is not None:
            self._detail.object = self._listing.detail(self._clicked_row)
            self._detail.visible = True
