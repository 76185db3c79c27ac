"""Small pieces that the views share: tiles, chips, tables. Every string that came from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from panel_app.look import theme
from panel_app.look.formatting import escape

_TILES_CSS = """
:host { width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px; }
.tile { border: 1px solid rgba(125,136,152,.28); border-radius: 8px; padding: 9px 12px 10px; min-width: 0; }
.name { font-size: 11px; letter-spacing: .04em; text-transform: uppercase; opacity: .62; white-space: nowrap; }
.value { font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; line-height: 1.45; }
.note { font-size: 12px; opacity: .75; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  font-variant-numeric: tabular-nums; }
.note.coloured { opacity: 1; }
"""

_TABLE_CSS = """
.tabulator { font-size: 13px; border: none; }
.tabulator .tabulator-header { font-size: 12px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 6px 10px; }
.tabulator .tabulator-row .tabulator-cell { font-size: 13px; height: 30px; padding: 5px 10px;
  font-variant-numeric: tabular-nums; }
.tabulator .tabulator-footer { padding: 2px 6px; border-top: 1px solid rgba(125,136,152,.28); }
"""

_CHIP_CSS = """
.line { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
.title { font-size: 21px; font-weight: 650; margin-right: 4px; }
.chip { border: 1px solid rgba(125,136,152,.45); border-radius: 999px; padding: 2px 10px; font-size: 12px;
  white-space: nowrap; }
.dot { display: inline-block; width: 8px; height: 8px; border-radius: 50%; margin-right: 6px; vertical-align: 1px; }
.error { border-left: 3px solid #d9730d; padding: 6px 12px; margin-top: 8px; font-size: 13px; width: 100%;
  white-space: pre-wrap; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with its name, an optional remark, and the colour of the remark."""

    name: str
    value: str
    note: str = ""
    colour: str = ""


class Tiles(pn.viewable.Viewer):
    """A row of figures that wraps on a narrow screen; sent to the browser only when one of them changed."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._pane = pn.pane.HTML("", stylesheets=[_TILES_CSS], sizing_mode="stretch_width", margin=0)

    def put(self, tiles: Sequence[Tile]) -> None:
        """Show these tiles."""
        cells = []
        for tile in tiles:
            style = f' style="color:{tile.colour}"' if tile.colour else ""
            coloured = " coloured" if tile.colour else ""
            cells.append(
                f'<div class="tile"><div class="name">{escape(tile.name)}</div>'
                f'<div class="value" title="{escape(tile.value)}">{escape(tile.value)}</div>'
                f'<div class="note{coloured}"{style} title="{escape(tile.note)}">{escape(tile.note) or "&nbsp;"}</div></div>'
            )
        html = f'<div class="tiles">{"".join(cells)}</div>'
        if self._pane.object != html:
            self._pane.object = html

    def __panel__(self) -> Any:
        return self._pane


class Heading(pn.viewable.Viewer):
    """A title with chips, and an error below it when there is one."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        flexible = {"flex": "1 1 360px", "min-width": "0"}
        self._pane = pn.pane.HTML("", stylesheets=[_CHIP_CSS], styles=flexible, margin=0)

    def put(self, title: str, chips: Sequence[tuple[str, str]], error: str = "") -> None:
        """Show a title, chips as (words, colour of the dot or empty), and an error."""
        made = "".join(f'<span class="chip">{dot(colour)}{escape(words)}</span>' for words, colour in chips if words)
        problem = f'<div class="error" role="alert">{escape(error)}</div>' if error else ""
        html = f'<div class="line"><span class="title">{escape(title)}</span>{made}{problem}</div>'
        if self._pane.object != html:
            self._pane.object = html

    def __panel__(self) -> Any:
        return self._pane


def dot(colour: str) -> str:
    """Return a coloured dot as HTML, or nothing."""
    if not colour:
        return ""
    return (
        f'<span class="dot" style="display:inline-block;width:8px;height:8px;border-radius:50%;margin-right:6px;'
        f'background:{colour}"></span>'
    )


def status_html(status: str, colours: dict[str, str]) -> str:
    """Return a state as a dot and its word, escaped."""
    return f"{dot(colours.get(status, theme.NEUTRAL))}{escape(status.replace('_', ' ').capitalize())}"


def coloured(text: str, amount: float) -> str:
    """Return an amount in its colour, as HTML."""
    return f'<span style="color:{theme.money_colour(amount)}">{escape(text)}</span>'


def table(
    columns: dict[str, str], *, html: Sequence[str] = (), right: Sequence[str] = (), page_size: int = 12,
    widths: dict[str, Any] | None = None, **options: Any,
) -> pn.widgets.Tabulator:  # fmt: skip
    """Return an empty read-only table.

    Parameters
    ----------
    columns
        Field name to title, in order.
    html
        Fields whose text is HTML made by this package; all other fields are shown as plain text, never as markup.
    right
        Fields aligned to the right.
    """
    return pn.widgets.Tabulator(
        pd.DataFrame({name: pd.Series(dtype=object) for name in columns}),
        titles=columns,
        formatters={name: {"type": "html" if name in html else "plaintext"} for name in columns},
        editors=dict.fromkeys(columns),
        text_align=dict.fromkeys(right, "right"),
        widths=widths or {},
        show_index=False,
        selectable=False,
        disabled=True,
        pagination="remote",
        page_size=page_size,
        layout="fit_data_stretch",
        sizing_mode="stretch_width",
        header_filters=None,
        margin=0,
        stylesheets=[_TABLE_CSS],
        configuration={"columnDefaults": {"headerSort": False}, "placeholder": "Nothing here yet"},
        **options,
    )


def fill(target: pn.widgets.Tabulator, rows: Sequence[dict[str, Any]]) -> None:
    """Show these rows; nothing is sent when they are what is shown already."""
    show(target, frame_of(target, rows))


def frame_of(target: pn.widgets.Tabulator, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows in the form in which a table takes them; several tables of the same columns may show one."""
    return pd.DataFrame(rows, columns=list(target.titles), dtype=object)


def show(target: pn.widgets.Tabulator, frame: pd.DataFrame) -> None:
    """Show what `frame_of` made; nothing is sent when it is what is shown already."""
    if frame is not target.value and not frame.equals(target.value):
        target.value = frame


def diamond(colour: str) -> str:
    """Return a coloured diamond as HTML: told from a dot without seeing its colour."""
    return f'<span style="color:{colour};margin-right:5px">\N{BLACK DIAMOND}</span>'


def paper(*content: Any) -> Any:
    """Return content in a frame."""
    return pmui.Paper(*content, elevation=0, variant="outlined", sizing_mode="stretch_width", margin=0)


def heading_line(heading: Any, actions: Any = None) -> Any:
    """Return a heading with its buttons beside it; they wrap below on a narrow screen."""
    return pn.FlexBox(
        heading, *([actions] if actions is not None else []), align_items="center", gap="10px", margin=0,
        sizing_mode="stretch_width",
    )  # fmt: skip


def legend(html: str) -> Any:
    """Return the key of a chart, at the right of its caption; ``html`` is made by this package."""
    return pn.pane.HTML(
        html, margin=(2, 8),
        styles={"margin-left": "auto", "opacity": ".85", "font-size": "12px", "max-width": "100%"},
    )  # fmt: skip
