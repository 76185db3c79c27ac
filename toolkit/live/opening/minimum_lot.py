"""The smallest trade there is, through everything a run's trades go through: a rehearsal on a demo account.

A throw-away data folder holds the run. Its intents are opened, changed, reduced and closed by the same service that trades
for real runs, so what the account's platform answers is classed, booked and linked as it will be later.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from toolkit.errors import Forbidden, RequestError, ToolkitError, must_be
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import IntentRecord
from toolkit.execution.ledger.submit import make_entry, make_intent, submit
from toolkit.execution.request import AnyRequest, ModifyRequest, ReduceRequest, RequestMetadata
from toolkit.execution.symbol_info import conversion_rate
from toolkit.live import live_runs
from toolkit.live.advance import advance
from toolkit.live.engine import Desk, Engine
from toolkit.live.feed import PLATFORM_FEED
from toolkit.live.opening.rehearsal import rehearsal_version
from toolkit.live.opening.run_checks import check_identity
from toolkit.market import Side
from toolkit.platforms.findings import Finding
from toolkit.risk.guardrails import Guards
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import AccountRecord, Accounts
from toolkit.store.runs import RunRecord, Runs, trades_of
from toolkit.strategy.spec import StrategySpec

_STOP_PIPS = 50
_NEARER_PIPS = 10
_SETTLE_SECONDS = 30.0
_GOOD = (IntentState.FILLED, IntentState.PARTIAL)

#: Builds the engine of a throw-away data folder in which the account's own platform session is opened.
BuildEngine = Callable[[Path], Engine]


def trade_minimum_lot(build: BuildEngine, account: AccountRecord, spec: StrategySpec, symbol: str) -> list[Finding]:
    """Open twice the smallest volume, move its stop, reduce it to the smallest, and stop the run with flatten.

    Parameters
    ----------
    build
        Makes an engine on a data folder below the system's temporary one.
    account
        The account's row; it is not changed, and must be a demo account.
    spec
        Any strategy: a run has one. It decides nothing here.
    symbol
        Our name of the symbol.

    Raises
    ------
    Forbidden
        When row or platform say that this is no demo account; nothing was sent.
    """
    _must_be_demo(account.environment)
    with tempfile.TemporaryDirectory(prefix="seatrial-rehearsal-", ignore_cleanup_errors=True) as folder:
        engine = build(Path(folder))
        try:
            return _Rehearsal(engine, account, spec, symbol).run()
        finally:
            engine.close()


def _must_be_demo(environment: str) -> None:
    if environment != "demo":
        remedy = "rehearse on a demo account of the same company"
        raise Forbidden(must_be("account", "a demo account", environment, remedy))


@dataclass(frozen=True, slots=True)
class _Place:
    desk: Desk
    run: RunRecord


class _Rehearsal:
    def __init__(self, engine: Engine, account: AccountRecord, spec: StrategySpec, symbol: str) -> None:
        self._engine = engine
        self._spec = spec
        self._symbol = symbol
        self._account = replace(account, account_id=uuid4(), owner_id=engine.principal.user_id, gateway="local")
        self._ordinal = 0
        self.found: list[Finding] = []

    def run(self) -> list[Finding]:
        engine, account = self._engine, self._account
        with engine.work() as work:
            Accounts(work.connection, engine.principal).add(account, engine.now())
            work.commit()
        desk = engine.desk(account.account_id)
        snapshot = desk.platform.connect()
        _must_be_demo(snapshot.environment)
        check_identity(account, snapshot)
        place = _Place(desk, self._start(desk, snapshot.balance))
        try:
            self._trade(place)
        finally:
            self._end(place)
        return self.found

    def _start(self, desk: Desk, balance: Decimal) -> RunRecord:
        engine, principal = self._engine, self._engine.principal
        bars = desk.platform.closed_bars(self._symbol, self._timeframe(desk), None, 3)
        version = rehearsal_version(engine, self._spec, bars, Guards())
        with engine.work() as work:
            # not through create_live_run: its stages are earned by trading, and this is no run of anybody's version
            run = Runs(work.connection, principal).add(
                engine.now(), account_id=desk.account.account_id, bot_version_id=version.bot_version_id,
                symbols=[self._symbol], timeframe=str(bars.timeframe), stage="demo", host="notebook", capital=balance,
                feed_json=_json(PLATFORM_FEED.as_dict()), guards_json=_json(Guards().facts()),
                options_json=_json({"warm_up": False}),
            )  # fmt: skip
            work.commit()
        return live_runs.start_bot_live_run(engine, principal, run.live_run_id)

    def _timeframe(self, desk: Desk) -> str:
        """Return a timeframe the platform has bars of: the smallest, but for a double that knows only its own."""
        for timeframe in ("M1", "H1"):
            try:
                desk.platform.closed_bars(self._symbol, timeframe, None, 1)
            except ToolkitError:
                continue
            return timeframe
        return "M5"

    def _trade(self, place: _Place) -> None:
        desk, run = place.desk, place.run
        facts, quote = desk.service.instrument(self._symbol), desk.platform.quote(self._symbol)
        stop = facts.price(facts.to_points(quote.bid - _STOP_PIPS * facts.pip_size))
        lots = facts.volume_min * 2
        built = build_trade_request(
            account_id=desk.account.account_id, instrument=facts, quote=quote, side=Side.BUY, equity=run.capital,
            quote_to_account=conversion_rate(desk.platform, facts.quote_currency, desk.account.currency),
            stop_loss=stop, lots=lots, live_run_id=run.live_run_id, reason="rehearsal",
            valid_until=desk.platform.now() + timedelta(seconds=60),
        )  # fmt: skip
        key, fingerprint = self._key(place, Action.OPEN_TRADE)
        entry = make_entry(
            built, key=key, fingerprint=fingerprint, principal=self._engine.service, now=self._engine.now()
        )
        opened = self._carry_out(place, "open", entry)
        if opened.state not in _GOOD or opened.position_id is None:
            return
        at: dict[str, Any] = {
            "account_id": desk.account.account_id, "symbol": self._symbol, "direction": Side.BUY,
            "position_id": opened.position_id, "metadata": RequestMetadata(live_run_id=run.live_run_id, reason="signal"),
        }  # fmt: skip
        held = next((p for p in desk.platform.book().positions if p.position_id == opened.position_id), None)
        placed = held.stop_loss if held is not None and held.stop_loss is not None else stop
        nearer = facts.price(facts.to_points(placed + _NEARER_PIPS * facts.pip_size))
        self._exit(place, "modify", Action.MODIFY_SLTP, ModifyRequest(**at, stop_loss=nearer))
        self._exit(place, "reduce", Action.REDUCE_POSITION, ReduceRequest(**at, remaining_lots=facts.volume_min))

    def _exit(self, place: _Place, name: str, action: Action, request: AnyRequest) -> None:
        key, fingerprint = self._key(place, action)
        intent = make_intent(
            request, action=action, key=key, fingerprint=fingerprint, principal=self._engine.service,
            now=self._engine.now(),
        )  # fmt: skip
        self._carry_out(place, name, intent)

    def _key(self, place: _Place, action: Action) -> tuple[str, str]:
        self._ordinal += 1
        fingerprint = signal_fingerprint("rehearsal", {"step": self._ordinal})
        key = run_key(
            live_run_id=place.run.live_run_id, bar_time=self._engine.now(), symbol=self._symbol, side=Side.BUY,
            action=action.value, ordinal=self._ordinal, fingerprint=fingerprint,
        )  # fmt: skip
        return key, fingerprint

    def _carry_out(self, place: _Place, name: str, intent: IntentRecord) -> IntentRecord:
        """Write, deliver, and wait until the outcome is known; an UNKNOWN one is looked up, never repeated."""
        engine, desk = self._engine, place.desk
        with engine.work(engine.service) as work:
            submit(SqlTransaction(work), intent, engine.service)
            work.commit()
        desk.gateway.deliver(desk.account.account_id)
        unknown = False
        deadline = engine.clock.monotonic() + _SETTLE_SECONDS
        while (after := self._read(intent)).state in (IntentState.UNKNOWN, IntentState.NEW, IntentState.SENDING):
            unknown = unknown or after.state is IntentState.UNKNOWN
            if engine.clock.monotonic() > deadline:
                break
            engine.clock.sleep(0.5)
            try:
                desk.service.reconcile()
                desk.gateway.deliver(desk.account.account_id)
            except ToolkitError as error:
                if not error.retryable:
                    raise
        self.found.append(_step(name, after, unknown, self._last_words(after)))
        return after

    def _last_words(self, intent: IntentRecord) -> str:
        with self._engine.store.begin(self._engine.service, write=False) as reading:
            return next((e.detail for e in reversed(reading.events(intent.intent_id)) if e.detail), "")

    def _read(self, intent: IntentRecord) -> IntentRecord:
        with self._engine.store.begin(self._engine.service, write=False) as reading:
            found = reading.intent(intent.intent_id)
        if found is None:
            raise RequestError(f"intent {intent.intent_id} is not in the store any more")
        return found

    def _end(self, place: _Place) -> None:
        """Stop the run with flatten, whatever happened before, and say what is left."""
        engine, desk, run = self._engine, place.desk, place.run
        live_runs.stop_live_run(engine, engine.principal, run.live_run_id, flatten=True, reason="end of the rehearsal")
        deadline = engine.clock.monotonic() + _SETTLE_SECONDS
        while not advance(engine, run.live_run_id, run.account_id).ended:
            if engine.clock.monotonic() > deadline:
                break
            engine.clock.sleep(0.1)
        ended = live_runs.get_run(engine, engine.principal, run.live_run_id)
        with engine.work(write=False) as work:
            trades = trades_of(work.connection, run.live_run_id)
        if not trades:
            return
        ids = {t.position_id for t in trades}
        left = [p for p in desk.platform.book().positions if p.position_id in ids]
        closed = ended.status == "STOPPED" and not left
        said = f"run {ended.status}, {len(left)} positions left" + (f": {ended.last_error}" if ended.last_error else "")
        self.found.append(
            Finding("close", *(("ok", said) if closed else ("fail", said, "close it in the terminal now")))
        )
        money = sum((t.profit + t.commission + t.swap for t in trades), Decimal(0))
        booked = all(t.status == "closed" and t.exit_price is not None for t in trades)
        said = f"{len(trades)} trade booked, {money} {desk.account.currency}"
        self.found.append(
            Finding("deals", "ok" if booked else "fail", said, "" if booked else "look at the run's history")
        )


def _step(name: str, intent: IntentRecord, unknown: bool, last_words: str) -> Finding:
    said = intent.state.value + (" (was UNKNOWN, found by its tag)" if unknown and intent.state in _GOOD else "")
    if intent.state in _GOOD:
        return Finding(name, "ok", said)
    why = ": ".join(dict.fromkeys(word for word in (said, intent.reason, last_words) if word))
    return Finding(name, "fail", why, "the run's history and docs/guides/metatrader5.md, What every answer means")


def _json(value: Any) -> str:
    import json

    return json.dumps(value, sort_keys=True, separators=(",", ":"))
