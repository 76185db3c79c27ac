"""What may be done with a run, and how one is started."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import panel_material_ui as pmui

from panel_app.actions.asking import Action, Values, say
from panel_app.data_store.review import Review, ask
from panel_app.look.formatting import age
from toolkit import clock
from toolkit.errors import BadInput, must_be
from toolkit.execution.principal import Principal
from toolkit.execution.recovery.kill_switch import FlattenReport
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.live.feed import FeedSpec, bars_path
from toolkit.live.operate.rights import rights_on
from toolkit.live.promoting import stages
from toolkit.live.promoting.tested import tested_fingerprints, tested_symbols
from toolkit.live.safety.flatten import halt_and_flatten
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.reading.queries import ReadSide
from toolkit.store.reading.records import FleetRow, VersionRow

SILENT_SECONDS = 30.0
HALTED = "halted on the page"
OWN_QUOTES = "the account's own quotes"
TRIAL_BARS = "a replay of the sea trial's bars"


def run_actions(engine: Engine, principal: Principal, row: FleetRow) -> list[Action]:
    """Return what the principal may do with a run in its present state; nothing for a viewer."""
    rights = rights_on(engine, principal, row.account_id)
    run_id: UUID = row.live_run_id
    name = f"{row.bot} v{row.version_number} on {row.account}"
    found: list[Action] = []
    if rights.act and row.status == "CREATED":
        found.append(Action("Start", f"Start {name}?", lambda _: _begin(engine, principal, run_id, row.account_id)))
    if rights.act and row.status == "RUNNING":
        found.append(Action("Pause", f"Pause {name}? It makes no decision until it is resumed; its stops stay at the platform.",
                            lambda _: _quiet(live_runs.pause_live_run(engine, principal, run_id))))  # fmt: skip
    if rights.act and row.status == "PAUSED":
        found.append(Action("Resume", f"Let {name} go on?",
                            lambda _: _quiet(live_runs.resume_live_run(engine, principal, run_id))))  # fmt: skip
    if rights.act and row.status in ("CREATED", "RUNNING", "PAUSED", "ERROR"):
        found.append(Action("Stop", f"Stop {name}? No entry leaves any more; open positions keep their stops and targets.",
                            lambda _: _quiet(live_runs.stop_live_run(engine, principal, run_id))))  # fmt: skip
        found.append(Action("Stop and flatten", f"Stop {name} and close its {row.open_positions} open position(s) at the market?",
                            lambda _: _quiet(live_runs.stop_live_run(engine, principal, run_id, flatten=True)),
                            danger=True))  # fmt: skip
    if rights.act and row.stage != "real" and row.status in ("RUNNING", "PAUSED", "STOPPED"):
        found.append(_advance(engine, principal, row))
    return found + halt_actions(engine, principal, row.account_id, row.account, halted=row.halted)


def halt_actions(engine: Engine, principal: Principal, account_id: UUID, name: str, *, halted: bool) -> list[Action]:
    """Return the kill switch of an account, as far as the principal may use it."""
    rights = rights_on(engine, principal, account_id)
    if halted:
        release = Action("Resume account", f"Let entries on {name} leave again, for all its runs?",
                         lambda _: live_runs.resume_account(engine, principal, account_id))  # fmt: skip
        return [release] if rights.own else []
    halt = Action("Halt account", f"Halt {name}? No entry of any run leaves until it is resumed; exits do.",
                  lambda given: live_runs.halt_account(engine, principal, account_id, reason=str(given["reason"] or HALTED)),
                  form=lambda: {"reason": pmui.TextInput(label="Reason", value=HALTED, size="small")},
                  danger=True)  # fmt: skip
    flatten = Action("Halt and flatten", f"Halt {name}, close all our positions there and cancel our orders? Foreign ones stay.",
                     lambda given: _flatten(engine, principal, account_id, str(given["reason"] or HALTED)),
                     form=lambda: {"reason": pmui.TextInput(label="Reason", value=HALTED, size="small")},
                     danger=True)  # fmt: skip
    return [*([halt] if rights.halt else []), *([flatten] if rights.act else [])]


def _flatten(engine: Engine, principal: Principal, account_id: UUID, reason: str) -> str:
    live_runs.halt_account(engine, principal, account_id, reason=reason)  # at once; closing may take a minute

    def close() -> FlattenReport:
        try:
            return halt_and_flatten(engine, principal, account_id, reason=reason)
        finally:
            engine.leave(account_id)

    ask(close, lambda report: say("success" if report.flat else "error", _flat_words(report)),
        lambda error: say("error", f"Halt and flatten: {error}"))  # fmt: skip
    return "no entry leaves; closing"


def _flat_words(report: FlattenReport) -> str:
    gone = f"{len(report.closed)} closed, {len(report.cancelled)} cancelled"
    left = "; ".join(report.remaining)
    return (
        f"Flat: {gone}."
        if report.flat
        else f"Not flat yet: {gone}. Left: {left}. No live worker may be carrying the account."
    )


def silence_warning(row: FleetRow) -> str:
    """Return what a person should know when nobody carries a run; empty while somebody does."""
    beat = row.heartbeat_age_seconds(clock.now())
    if row.status not in ("RUNNING", "STOPPING") or (beat is not None and beat <= SILENT_SECONDS):
        return ""
    since = f"last sign of life {age(beat)} ago" if beat is not None else "none was ever seen"
    who = "No live worker carries" if row.host == "workers" else "No process carries"
    takes_up = "A stop or a flatten takes effect when one takes it up: `seatrial run` or a worker."
    return f"{who} this run at the moment ({since}). {takes_up}"


def start_actions(
    engine: Engine, principal: Principal, read: ReadSide, *, chosen: VersionRow | None = None
) -> list[Action]:
    """Return the button that starts a run; nothing where the principal may trade on no account or has no version."""
    accounts = _accounts(engine, principal)
    versions = [chosen] if chosen is not None else read.versions(principal)
    if not accounts or not versions:
        return []

    def form() -> dict[str, Any]:
        return {
            "version": pmui.Select(
                label="Version", options={_name(v): v.bot_version_id for v in versions}, size="small"
            ),
            "account": pmui.Select(label="Account", options={a.name: a.account_id for a in accounts}, size="small"),
            "stage": pmui.Select(label="Stage", options=["shadow", "paper"], value="paper", size="small"),
            "feed": pmui.Select(label="Bars", options=[OWN_QUOTES, TRIAL_BARS], value=OWN_QUOTES, size="small"),
            "capital": pmui.TextInput(label="Capital", value="10000", size="small"),
        }

    def start(given: Values) -> str:
        version = next((v for v in versions if v.bot_version_id == given["version"]), versions[0])
        return _start(engine, principal, version, given)

    question = (
        "Start a run? Symbol, timeframe and guardrails are those of the version's sea trial. A worker, or `seatrial run`, "
        "carries it."
    )
    return [Action("Start a run", question, start, form=form)]


def _start(engine: Engine, principal: Principal, version: VersionRow, given: Values) -> str:
    with engine.work(principal, write=False) as work:
        account = Accounts(work.connection, principal).get(given["account"])
        from toolkit.store.runs import Versions

        trial = Versions(work.connection, principal).get(version.bot_version_id).evidence["trial"]
    run = live_runs.create_live_run(
        engine, principal, version.bot_version_id, account.account_id, symbols=tested_symbols(trial),
        timeframe=trial["timeframe"], stage=str(given["stage"]), feed=_feed(engine, str(given["feed"]), trial),
        capital=str(given["capital"]), host="workers" if account.gateway != "local" else "none",
    )  # fmt: skip
    _begin(engine, principal, run.live_run_id, account.account_id)
    return f"run {str(run.live_run_id)[:8]} is started on {account.name}"


def _begin(engine: Engine, principal: Principal, run_id: UUID, account_id: UUID) -> None:
    try:
        live_runs.start_bot_live_run(engine, principal, run_id)
    finally:
        engine.leave(account_id)  # the page compared facts and carries nothing: whoever does may have the account


def _feed(engine: Engine, chosen: str, trial: dict[str, Any]) -> FeedSpec | None:
    if chosen != TRIAL_BARS:
        return None
    first, *others = tested_fingerprints(trial)
    if not all(bars_path(engine.settings.home, each).exists() for each in (first, *others)):
        raise BadInput(
            must_be(
                "the sea trial's bars", "kept on this machine", "not there", "start the replay from a notebook once"
            )
        )
    return FeedSpec("replay", first, others=tuple(others))


def _advance(engine: Engine, principal: Principal, row: FleetRow) -> Action:
    above = stages.next_stage(row.stage)
    wanted = "paper" if above == "paper" else above

    def form() -> dict[str, Any]:
        fitting = [a for a in _accounts(engine, principal) if a.environment == wanted]
        fields: dict[str, Any] = {
            "account": pmui.Select(label=f"Account for {above}", options=[a.name for a in fitting], size="small"),
            "capital": pmui.TextInput(label="Capital", value=f"{row.capital:f}", size="small"),
        }
        if above == "real":
            fields["confirm"] = pmui.TextInput(label="Type the account's name", size="small")
        return fields

    def advance(given: Values) -> str:
        if not given.get("account"):
            raise BadInput(must_be("account", f"one of yours for stage {above}", "none", "register one first"))
        with engine.work(principal, write=False) as work:
            from toolkit.store.runs import Runs

            feed = FeedSpec.from_dict(json.loads(Runs(work.connection, principal).get(row.live_run_id).feed_json))
        fresh = stages.advance_stage(
            engine, principal, row.live_run_id, account=str(given["account"]), capital=str(given["capital"]),
            confirm=str(given.get("confirm") or ""), feed=feed if above == "paper" and feed.kind == "replay" else None,
            drift=lambda: Review(engine, principal).drift(row.live_run_id),
        )  # fmt: skip
        return f"run {str(fresh.live_run_id)[:8]} of stage {above} is created; start it on its page"

    bot = f"{row.bot} v{row.version_number}"
    question = f"Create a run of {bot} one stage up, at {above}? What it must have shown is checked now."
    return Action(f"Advance to {above}", question, advance, form=form, danger=above == "real")


def _accounts(engine: Engine, principal: Principal) -> list[AccountRecord]:
    with engine.work(principal, write=False) as work:
        found = Accounts(work.connection, principal).all()
    return [account for account in found if rights_on(engine, principal, account.account_id).act]


def _name(version: VersionRow) -> str:
    return f"{version.bot} v{version.number}"


def _quiet(_result: object) -> None:
    return None
