"""What all charts share: the axis that counts bars and shows times, and a quiet frame."""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource, CustomJSTickFormatter, Range1d

# Labels are looked up in the axis source: bar number -> open time. Between known bars the nearest earlier one counts.
_TICKS = """
if (window.innerWidth < 600 && index % 3 != 0) return "";
const n = axis.data.n, ms = axis.data.ms;
if (n.length == 0) return "";
let lo = 0, hi = n.length - 1;
if (tick < n[0] - step || tick > n[hi] + step * 1.5) return "";
while (lo < hi) { const mid = (lo + hi + 1) >> 1; if (n[mid] <= tick) lo = mid; else hi = mid - 1; }
const at = new Date(ms[lo]);
const span = range.end - range.start;
const days = ms.length > 1 ? span * (ms[ms.length - 1] - ms[0]) / Math.max(1, n[n.length - 1] - n[0]) / 86400000 : 1;
const two = (v) => String(v).padStart(2, "0");
const month = ["Jan","Feb","Mar","Apr","May","Jun","Jul","Aug","Sep","Oct","Nov","Dec"][at.getUTCMonth()];
if (days > 400) return month + " " + at.getUTCFullYear();
if (days > 15) return at.getUTCDate() + " " + month;
return at.getUTCDate() + " " + month + " " + two(at.getUTCHours()) + ":" + two(at.getUTCMinutes());
"""


def bar_ticks(axis: ColumnDataSource, x_range: Range1d) -> CustomJSTickFormatter:
    """Return a formatter that shows bar numbers as times; ``axis`` has columns n (bar number) and ms (its open)."""
    return CustomJSTickFormatter(args={"axis": axis, "range": x_range, "step": 64}, code=_TICKS)


def plain(plot: Any) -> None:
    """Give a figure the look that all charts share."""
    plot.toolbar.logo = None
    plot.outline_line_color = None
    plot.min_border_left = 8
    plot.min_border_right = 70
    plot.xgrid.grid_line_color = None
    plot.yaxis.ticker.desired_num_ticks = 6
    plot.xaxis.ticker.desired_num_ticks = 8
