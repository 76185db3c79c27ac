"""How fast an intent is carried out: signal to recorded fill, sizing, and a request built, keyed and encoded.

Run ``python tests/benchmarks/execution.py [--signals N] [--json]``. The fill goes through the local gateway on the paper
platform (its own journal), the store is SQLite in WAL with synchronous=FULL in a folder beside this repository's temporary
files; `one_commit` is a unit of work that inserts one row through the same stack in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from execution_desk import EURUSD, START, Desk, sql_desk
from sqlalchemy import event, insert

from toolkit.clock import SystemClock
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import client_tag, run_key, signal_fingerprint
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.submit import make_entry, make_intent, submit
from toolkit.execution.request import CloseRequest, RequestMetadata
from toolkit.execution.trade_service import TradeService
from toolkit.gateways.local import ExecutionGatewayLocal
from toolkit.market import Quote, Rate, Side
from toolkit.platforms.simulated.platform import SimulatedPlatform
from toolkit.risk.management import calculate_position_size
from toolkit.simulation.account import PaperAccount
from toolkit.store.sql.engine import open_database
from toolkit.store.sql.models import User
from toolkit.store.sql.unit_of_work import UnitOfWork


def quoted(venue: SimulatedPlatform, moment: Any) -> Quote:
    """Move the venue to a moment with a fresh quote."""
    quote = Quote("1.10000", "1.10010", moment)
    venue.push_quote("EURUSD", quote.bid, quote.ask, moment)
    return quote


def signal(desk: Desk, quote: Quote, n: int) -> Any:
    """Build an entry and write it, as a run does."""
    fingerprint = signal_fingerprint("v1", {"n": n})
    key = run_key(
        live_run_id=desk.live_run_id, bar_time=START, symbol="EURUSD", side=Side.BUY, action="OPEN_TRADE", ordinal=n,
        fingerprint=fingerprint,
    )  # fmt: skip
    built = build_trade_request(
        account_id=desk.account_id, instrument=EURUSD, quote=quote, side=Side.BUY, equity=Decimal(10_000),
        quote_to_account=Rate.ONE, stop_loss=Decimal("1.09810"), take_profit=Decimal("1.10400"),
        risk_percent=Decimal("0.1"), live_run_id=desk.live_run_id, idempotency_key=key,
    )  # fmt: skip
    return make_entry(built, key=key, fingerprint=fingerprint, principal=desk.principal, now=SystemClock().now())


def close_all(desk: Desk, gateway: ExecutionGatewayLocal, n: int) -> None:
    """Close what is open, so that every measured entry meets the same book."""
    with desk.read() as work:
        trades = work.open_trades(desk.account_id)
    for trade in trades:
        fingerprint = signal_fingerprint("v1", {"close": n, "position": trade.position_id})
        request = CloseRequest(
            account_id=desk.account_id, symbol="EURUSD", direction=trade.side, position_id=trade.position_id,
            metadata=RequestMetadata(live_run_id=desk.live_run_id, reason="signal"),
        )  # fmt: skip
        intent = make_intent(
            request, action=Action.CLOSE_POSITION, key=fingerprint, fingerprint=fingerprint, principal=desk.principal,
            now=SystemClock().now(),
        )  # fmt: skip
        desk.put(intent)
        gateway.deliver(desk.account_id)


def signal_to_fill(folder: Path, signals: int) -> dict[str, Any]:
    """Measure from the built signal to the recorded fill, and one commit of one row beside it."""
    engine = open_database(f"sqlite:///{folder / 'bench.db'}")
    desk = sql_desk(engine)
    venue = SimulatedPlatform(folder / "venue.db", PaperAccount(currency="USD", balance=1_000_000), {"EURUSD": EURUSD})
    venue.connect()
    moment = START
    quoted(venue, moment)
    service = TradeService(
        venue, desk.store, SystemClock(), account_id=desk.account_id, principal=desk.principal, worker="bench"
    )
    gateway = ExecutionGatewayLocal(desk.store, desk.principal, service)
    commits = 0

    @event.listens_for(engine, "commit")
    def _count(_connection: Any) -> None:
        nonlocal commits
        commits += 1

    fills: list[float] = []
    rows: list[float] = []
    per_fill: list[int] = []
    for n in range(signals + 20):
        moment += timedelta(seconds=1)
        quote = quoted(venue, moment)
        before = commits
        started = perf_counter()
        intent = signal(desk, quote, n)
        with desk.store.begin(desk.principal) as work:
            submit(work, intent, desk.principal)
            work.commit()
        gateway.deliver(desk.account_id)
        spent = perf_counter() - started
        with desk.read() as work:
            after = work.intent(intent.intent_id)
        if after is None or after.state is not IntentState.FILLED:
            raise SystemExit(f"signal {n} was not filled: {after and (after.state, after.reason)}")
        used = commits - before
        started = perf_counter()
        with UnitOfWork(engine, desk.principal) as one:
            row = {"user_id": uuid4(), "name": str(n), "kind": "human", "created_at": START}
            one.connection.execute(insert(User), row)
            one.commit()
        row_spent = perf_counter() - started
        close_all(desk, gateway, n)
        if n >= 20:
            fills.append(spent * 1000)
            rows.append(row_spent * 1000)
            per_fill.append(used)
    venue.close()
    engine.dispose()
    return {
        "signals": signals,
        "signal_to_fill_p50_ms": round(median(fills), 3),
        "signal_to_fill_p99_ms": round(quantiles(fills, n=100)[98], 3),
        "commits_per_fill": max(per_fill),
        "one_commit_p50_ms": round(median(rows), 3),
        "times_one_commit": round(median(fills) / median(rows), 2),
    }


def microseconds(repeat: int, action: Any) -> float:
    """Return the median time of one call, in microseconds."""
    times = []
    for _ in range(repeat):
        started = perf_counter()
        action()
        times.append((perf_counter() - started) * 1e6)
    return round(median(times), 2)


def in_memory() -> dict[str, Any]:
    """Measure sizing and the making of a request, without any store."""
    quote = Quote("1.10000", "1.10010", START)
    run, account = uuid4(), uuid4()
    sizing = {
        "side": Side.BUY, "quote": quote, "stop_loss": Decimal("1.09810"), "take_profit": Decimal("1.10400"),
        "equity": Decimal(10_000), "risk_percent": Decimal(1), "instrument": EURUSD, "quote_to_account": Rate.ONE,
    }  # fmt: skip

    def build() -> Any:
        return build_trade_request(
            account_id=account, instrument=EURUSD, quote=quote, side=Side.BUY, equity=Decimal(10_000),
            quote_to_account=Rate.ONE, stop_loss=Decimal("1.09810"), take_profit=Decimal("1.10400"),
            risk_percent=Decimal(1), live_run_id=run,
        )  # fmt: skip

    request = build().request
    fields = dict(request)

    def request_only() -> None:
        made = type(request)(**fields)
        fingerprint = signal_fingerprint("v1", {"stop_points": 200, "risk_percent": Decimal(1)})
        key = run_key(
            live_run_id=run, bar_time=START, symbol="EURUSD", side=Side.BUY, action="OPEN_TRADE", ordinal=0,
            fingerprint=fingerprint,
        )  # fmt: skip
        client_tag(key)
        made.to_json()

    return {
        "calculate_position_size_us": microseconds(3000, lambda: calculate_position_size(**sizing)),
        "request_validated_keyed_encoded_us": microseconds(3000, request_only),
        "build_trade_request_with_sizing_us": microseconds(3000, build),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument(
        "--folder", type=Path, default=None, help="Where the databases lie; a real disk, not a memory one."
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = signal_to_fill(Path(folder), arguments.signals) | in_memory()
    figures["load_average"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:40} {value}")


if __name__ == "__main__":
    main()
