"""Rows as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import panel_material_ui as pmui

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Sequence[Any]) -> str:
    """Return dataclass rows or mappings as CSV with a header; exact decimals, UTC in ISO 8601, empty for None.

    Text that a spreadsheet would take for a formula is prefixed with an apostrophe: it may come from a platform.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    names = _names(rows)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_text(row[name] if isinstance(row, Mapping) else getattr(row, name)) for name in names])
    return written.getvalue()


def export_button(name: str, rows: Callable[[], Sequence[Any]]) -> Any:
    """Return a button that downloads what ``rows`` returns at that moment as ``seatrial-NAME.csv``."""
    return pmui.FileDownload(
        callback=lambda: io.StringIO(as_csv(rows())), filename=f"seatrial-{name}.csv", label="Export CSV",
        size="small", color="primary", icon="download", margin=0,
    )  # fmt: skip


def _names(rows: Sequence[Any]) -> list[str]:
    if not rows:
        return []
    first = rows[0]
    return list(first) if isinstance(first, Mapping) else [f.name for f in fields(first)] if is_dataclass(first) else []


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return str(value)
