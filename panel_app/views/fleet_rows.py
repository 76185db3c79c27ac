"""The rows of the fleet: what needs a human first, in groups or not, and the cells that show a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from panel_app.charts.sparkline import sparkline
from panel_app.look import parts, theme
from panel_app.look.formatting import DASH, age, escape, moment, money, sentence
from toolkit.store.reading.records import FleetRow

STALE_SECONDS = 30.0
_ORDER = {"ERROR": 0, "STOPPING": 1, "RUNNING": 2, "PAUSED": 3, "CREATED": 4, "STOPPED": 5}

COLUMNS = {
    "status": "Status", "run": "Run", "account": "Account", "market": "Market", "stage": "Stage",
    "heartbeat": "Heartbeat", "equity": "Equity",
    "today": "Today", "profit": "Total", "spark": "Trades so far", "open": "Open", "trades": "Closed",
    "guards": "Guardrails", "drift": "Drift", "time": "Market time (UTC)", "action": "Last action",
}  # fmt: skip
HTML = ("status", "run", "account", "today", "profit", "spark", "guards", "drift")
RIGHT = ("equity", "today", "profit", "open", "trades", "heartbeat")

SORTS: dict[str, Callable[[FleetRow], Any]] = {
    "Attention": lambda row: (_ORDER.get(row.status, 9), -row.created_at.timestamp()),
    "Total profit": lambda row: row.capital - row.equity,
    "Today": lambda row: -(row.day_profit or Decimal(0)),
    "Name": lambda row: (row.bot.lower(), row.version_number, row.account.lower()),
    "Account": lambda row: (row.account.lower(), row.bot.lower()),
    "Heartbeat": lambda row: row.heartbeat_at.timestamp() if row.heartbeat_at else 0.0,
}


@dataclass(frozen=True, slots=True)
class Group:
    """A line above the runs of one account, with their sums."""

    name: str
    rows: tuple[FleetRow, ...]


Line = FleetRow | Group


def reasons(row: FleetRow, now: datetime) -> list[str]:
    """Return why a human should look at this run, in words; empty when all is well."""
    found = []
    if row.status == "ERROR":
        found.append("error")
    if row.unresolved_intents:
        found.append("unresolved")
    if row.trips:
        found.append("tripped")
    if row.halted:
        found.append("halted")
    beat = row.heartbeat_age_seconds(now)
    if row.status in ("RUNNING", "STOPPING") and (beat is None or beat > STALE_SECONDS):
        found.append("silent")
    return found


def lines(rows: Iterable[FleetRow], *, sort: str, grouped: bool, now: datetime) -> list[Line]:
    """Return the rows in the order in which they are shown; what needs a human comes first, in each group too."""
    key = SORTS[sort]
    ordered = sorted(rows, key=lambda row: (not reasons(row, now), key(row)))
    if not grouped:
        return list(ordered)
    found: list[Line] = []
    order = {name: place for place, name in reversed(list(enumerate(row.account for row in ordered)))}
    by_account = sorted(ordered, key=lambda row: order[row.account])
    for account, members in groupby(by_account, key=lambda row: row.account):
        mine = tuple(members)
        found.append(Group(account, mine))
        found.extend(mine)
    return found


def cells(line: Line, now: datetime) -> dict[str, Any]:
    """Return what a line shows, one text for each of `COLUMNS`."""
    return _group_cells(line) if isinstance(line, Group) else _run_cells(line, now)


def _run_cells(row: FleetRow, now: datetime) -> dict[str, Any]:
    beat = row.heartbeat_age_seconds(now)
    why = [word for word in reasons(row, now) if word != "error"]
    status = parts.status_html(row.status, theme.STATUS_COLOURS)
    if why:
        status += f' <span style="color:{theme.LOSS}">\N{WARNING SIGN} {escape(", ".join(why))}</span>'
    gained = row.equity - row.capital
    today = row.day_profit if row.status not in ("STOPPED", "CREATED") else None
    kind = f" <span style='opacity:.6'>{escape(row.environment)}</span>"
    return {
        "status": status,
        "run": f"<b>{escape(row.bot)}</b> v{row.version_number} <span style='opacity:.55'>{str(row.live_run_id)[:8]}</span>",
        "account": escape(row.account) + kind,
        "market": " ".join((*row.symbols, row.timeframe)),
        "stage": row.stage.capitalize(),
        "equity": money(row.equity, row.currency) + ("" if row.marked else " *"),
        "today": DASH if today is None else parts.coloured(money(today, signed=True), float(today)),
        "profit": parts.coloured(money(gained, signed=True), float(gained)),
        "spark": sparkline(row.spark) or DASH,
        "open": str(row.open_positions) if row.open_positions else DASH,
        "trades": f"{row.closed_trades:,}",
        "guards": guard_lights(row),
        "drift": _drift(row),
        "time": moment(row.cursor),
        "heartbeat": age(beat) if row.status in ("RUNNING", "STOPPING") else DASH,
        "action": row.last_error or row.last_action or DASH,
    }


def _drift(row: FleetRow) -> str:
    if row.drift is None:
        return "<span style='opacity:.6'>not measured</span>"
    if not row.drift:
        return f"{parts.dot(theme.PROFIT)}none"
    return f"{parts.diamond(theme.WARNING)}{escape(money(row.drift, signed=True))}"


def guard_lights(row: FleetRow) -> str:
    """Return one light for the account's kill switch and each guardrail in force, or one that says all is clear."""
    lit = ["account halted"] if row.halted else []
    lit += [sentence(rule.removeprefix("guard_")) for rule in row.trips]
    if not lit:
        return f"{parts.dot(theme.PROFIT)}<span style='opacity:.7'>clear</span>"
    return " ".join(
        f'{parts.diamond(theme.LOSS)}<span style="color:{theme.LOSS}">{escape(words)}</span>' for words in lit
    )


def _group_cells(group: Group) -> dict[str, Any]:
    rows = group.rows
    found: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    running = sum(row.status == "RUNNING" for row in rows)
    gained = sum((row.equity - row.capital for row in rows), Decimal(0))
    today = sum((row.day_profit or Decimal(0) for row in rows if row.status not in ("STOPPED", "CREATED")), Decimal(0))
    found.update(
        status=f"<b>{escape(group.name)}</b>",
        run=f"<span style='opacity:.7'>{running} of {len(rows)} running</span>",
        equity=money(sum((row.equity for row in rows), Decimal(0)), rows[0].currency),
        today=parts.coloured(money(today, signed=True), float(today)),
        profit=parts.coloured(money(gained, signed=True), float(gained)),
        open=str(sum(row.open_positions for row in rows)),
        trades=f"{sum(row.closed_trades for row in rows):,}",
    )
    return found


def attention_words(rows: Sequence[FleetRow], now: datetime) -> str:
    """Return how many runs need a human for what reason: ``1 error, 2 silent``, or that all is quiet."""
    counts: dict[str, int] = {}
    for row in rows:
        for word in reasons(row, now):
            counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "all quiet"


def matches(row: FleetRow, wanted: str, status: str, now: datetime) -> bool:
    """Whether a run passes the filters."""
    if status == "Running" and row.status != "RUNNING":
        return False
    if status == "Stopped" and row.status != "STOPPED":
        return False
    if status == "Needs attention" and not reasons(row, now):
        return False
    text = " ".join((row.bot, row.account, *row.symbols, row.timeframe, row.stage, row.status, str(row.live_run_id)))
    return wanted in text.lower()
