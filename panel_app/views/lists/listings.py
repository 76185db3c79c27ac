"""The lists of the page: intents, accounts, versions, guardrail trips, users, audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panel_app.actions import lists
from panel_app.actions.runs import start_actions
from panel_app.data_store import DataStore
from panel_app.look import parts, tables, theme
from panel_app.look.describe import spec_in_words
from panel_app.look.formatting import DASH, age, escape, latency, moment, sentence
from panel_app.views.lists.listing import Listing
from toolkit import clock
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store.people.operations import AuditRow, UserRow
from toolkit.store.people.users import ROLES
from toolkit.store.reading.queries import UNRESOLVED, Reader
from toolkit.store.reading.records import AccountRow, IntentRow, TripRow, VersionRow
from toolkit.store.sql.unit_of_work import READ_ONLY
from toolkit.store.upkeep.alerts import AlertRow, list_alerts

_CARD = "border:1px solid rgba(125,136,152,.28);border-radius:8px;padding:10px 16px"
_BAD = ("REJECTED", "DENIED", "EXPIRED", "CANCELLED")


def intents(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of the newest intents over all runs, with the way of the one that is clicked."""

    def cells(row: IntentRow) -> dict[str, Any]:
        (made,) = tables.intent_rows([row])
        return {"at": moment(row.created_at, seconds=True), "account": row.account, **made}

    def detail(row: IntentRow) -> str:
        steps = store.read.intent_steps(reader, row.intent_id)
        lines = []
        before = steps[0].at
        for step in steps:
            waited = latency((step.at - before).total_seconds() * 1000)
            before = step.at
            lines.append(
                f"<tr><td style='padding:2px 14px 2px 0'>{parts.status_html(step.to_state, theme.INTENT_COLOURS)}</td>"
                f"<td style='padding-right:14px'>{moment(step.at, seconds=True)}</td>"
                f"<td style='padding-right:14px'>+{waited}</td>"
                f"<td style='padding-right:14px'>{escape(step.actor)}</td><td>{escape(step.detail)}</td></tr>"
            )
        return (
            f"<div style='{_CARD}'><b>The way of intent {row.intent_id}</b><table style='margin:8px 0'>{''.join(lines)}</table>"
            f"<code style='overflow-wrap:anywhere'>{escape(row.payload_json)}</code></div>"
        )

    return Listing(
        name="intents", title="Intents", query=lambda who: store.read.intents(who, limit=500),
        columns={"state": "State", "at": "Made (UTC)", "account": "Account", "action": "Action", "side": "Side",
                 "symbol": "Symbol", "filled": "Filled", "price": "Price", "latency": "Send to answer",
                 "total": "Decision to result", "attempt": "Attempt", "reason": "Reason"},
        cells=cells, html=("state",), right=("filled", "price", "latency", "total", "attempt"),
        choices={"All": lambda _: True, "Unresolved": lambda row: row.state in UNRESOLVED,
                 "Refused": lambda row: row.state in _BAD, "Filled": lambda row: row.state in ("FILLED", "PARTIAL")},
        detail=detail, actions=lambda row: lists.intent_actions(engine, reader, row),
    )  # fmt: skip


def accounts(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of accounts; nothing secret is on it."""

    def cells(row: AccountRow) -> dict[str, Any]:
        now = clock.now()
        held = row.lease_until is not None and row.lease_until > now
        armed = row.armed_until is not None and row.armed_until > now
        state = f"halted: {row.halt_reason}" if row.halted_at else "trading"
        return {
            "name": row.name, "state": f"{parts.dot(theme.LOSS if row.halted_at else theme.PROFIT)}{escape(state)}",
            "platform": row.platform, "environment": row.environment, "login": row.login or DASH,
            "server": row.server or DASH, "currency": row.currency, "gateway": row.gateway, "owner": row.owner,
            "running": str(row.running), "open": str(row.open_positions),
            "armed": f"until {moment(row.armed_until)}" if armed else ("not armed" if row.environment == "real" else DASH),
            "worker": row.lease_owner if held else "nobody",
        }  # fmt: skip

    return Listing(
        name="accounts", title="Accounts", query=store.read.accounts, cells=cells, html=("state",),
        right=("running", "open"),
        columns={"name": "Account", "state": "State", "platform": "Platform", "environment": "Environment", "login": "Login",
                 "server": "Server", "currency": "Currency", "gateway": "Gateway", "owner": "Owner", "running": "Running",
                 "open": "Open", "armed": "Armed", "worker": "Held by"},
        choices={"All": lambda _: True, "Halted": lambda row: row.halted_at is not None,
                 "Real": lambda row: row.environment == "real"},
        actions=lambda row: lists.account_actions(engine, reader, row),
    )  # fmt: skip


def versions(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of bot versions, with the rules of the one that is clicked in words."""

    def cells(row: VersionRow) -> dict[str, Any]:
        return {
            "bot": row.bot, "number": f"v{row.number}", "hash": row.version_hash[:12], "runs": str(row.runs),
            "made": moment(row.created_at), "note": row.note,
        }  # fmt: skip

    def detail(row: VersionRow) -> str:
        lines = "".join(f"<li>{escape(line)}</li>" for line in spec_in_words(row.spec_json))
        return (
            f"<div style='{_CARD}'><b>{escape(row.bot)} v{row.number}</b><ul>{lines}</ul>"
            f"<p>guards <code>{escape(row.guards_json)}</code></p><p>version <code>{escape(row.version_hash)}</code></p></div>"
        )

    return Listing(
        name="versions", title="Bots and versions", query=store.read.versions, cells=cells, right=("runs",), detail=detail,
        actions=lambda row: start_actions(engine, reader, store.read, chosen=row),
        columns={"bot": "Bot", "number": "Version", "hash": "Hash", "runs": "Runs", "made": "Promoted (UTC)", "note": "Note"},
    )  # fmt: skip


def trips(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of guardrail trips."""

    def cells(row: TripRow) -> dict[str, Any]:
        state = "reset" if row.reset_at else ("until " + moment(row.until) if row.until else "until it is reset")
        return {
            "state": f"{parts.dot(theme.NEUTRAL if row.reset_at else theme.WARNING)}{escape(state)}",
            "rule": sentence(row.rule), "account": row.account, "run": str(row.live_run_id or "")[:8] or "whole account",
            "symbol": row.symbol or "all", "denied": str(row.denied_count), "at": moment(row.tripped_at),
            "ago": age((clock.now() - row.tripped_at).total_seconds()), "reason": row.reason,
        }  # fmt: skip

    return Listing(
        name="trips", title="Guardrail trips", query=store.read.trips, cells=cells, html=("state",), right=("denied", "ago"),
        columns={"state": "In force", "rule": "Rule", "account": "Account", "run": "Run", "symbol": "Symbol",
                 "denied": "Denied", "at": "Tripped (UTC)", "ago": "Ago", "reason": "Reason"},
        choices={"All": lambda _: True, "Not reset": lambda row: row.reset_at is None},
        actions=lambda row: lists.trip_actions(engine, reader, row),
    )  # fmt: skip


def users(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of users: all of them for an admin, only oneself for anybody else."""

    def cells(row: UserRow) -> dict[str, Any]:
        return {
            "name": row.name, "kind": row.kind, "role": row.role, "accounts": str(row.accounts), "granted": str(row.granted),
            "made": moment(row.created_at),
        }  # fmt: skip

    return Listing(
        name="users", title="Users", query=store.operations.users, cells=cells, right=("accounts", "granted"),
        columns={"name": "Name", "kind": "Kind", "role": "Role", "accounts": "Accounts owned", "granted": "Accounts granted",
                 "made": "Since (UTC)"},
        choices={"All": lambda _: True, **{role.capitalize() + "s": _has_role(role) for role in ROLES}},
        actions=lambda row: lists.user_actions(engine, reader, row), top=lambda: lists.new_user_actions(engine, reader),
    )  # fmt: skip


def audit(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of the audit trail: who did what to whom."""

    def cells(row: AuditRow) -> dict[str, Any]:
        return {
            "at": moment(row.at, seconds=True), "principal": row.principal, "action": row.action, "subject": row.subject,
            "detail": row.detail,
        }  # fmt: skip

    return Listing(
        name="audit", title="Audit trail", query=store.operations.audit, cells=cells,
        columns={"at": "At (UTC)", "principal": "Who", "action": "Did", "subject": "To", "detail": "Detail"},
        choices={"All": lambda _: True, "Refused": lambda row: "refused" in row.action},
    )  # fmt: skip


def alerts(store: DataStore, reader: Principal, engine: Engine) -> Listing:
    """Return the page of alerts: what the watchdog found, whom it told, and what is over."""

    def read(who: Reader) -> list[AlertRow]:
        with store.engine.connect() as connection:
            return list_alerts(connection.execution_options(**{READ_ONLY: True}), who, active=False)

    names: dict[Any, str] = {}

    def account(row: AlertRow) -> str:
        if row.account_id is None:
            return "installation"
        if row.account_id not in names:
            names.update((found.account_id, found.name) for found in store.read.accounts(reader))
        return names.get(row.account_id, str(row.account_id)[:8])

    def cells(row: AlertRow) -> dict[str, Any]:
        over = row.cleared_at is not None
        colour = theme.NEUTRAL if over else theme.LOSS if row.level == "error" else theme.WARNING
        light = parts.dot(colour) if over else parts.diamond(colour)
        told = f"{row.told_count} time{'' if row.told_count == 1 else 's'}" if row.told_count else "nobody yet"
        return {
            "state": f"{light}{'over' if over else escape(row.level)}", "title": row.title, "body": row.body,
            "account": account(row), "first": moment(row.first_at), "last": moment(row.last_at), "told": told,
        }  # fmt: skip

    return Listing(
        name="alerts", title="Alerts", query=read, cells=cells, html=("state",),
        columns={"state": "State", "title": "What", "account": "Account", "first": "Since (UTC)", "last": "Last seen (UTC)",
                 "told": "Told", "body": "Detail"},
        choices={"Standing": lambda row: row.cleared_at is None, "All": lambda _: True},
    )  # fmt: skip


def _has_role(role: str) -> Callable[[Any], bool]:
    return lambda row: bool(row.role == role)


LISTINGS: dict[str, Callable[[DataStore, Principal, Engine], Listing]] = {
    "intents": intents,
    "accounts": accounts,
    "versions": versions,
    "trips": trips,
    "alerts": alerts,
    "users": users,
    "audit": audit,
}
