"""Many runs over a real message broker and PostgreSQL: each equals its backtest, each order is sent once, and all who tell agree.

``python tests/e2e/bus_fleet.py redis`` (or ``rabbitmq``, ``kafka``) runs 20 LiveRuns of four strategies on 5 accounts, each run
with a capital of its own, through 4 worker processes over a year of hours. Afterwards trades are compared with backtests, the
venues' journals with the intents, and the workers' log lines, run_events and metric counts with the database.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import psutil
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select
from worker_nest import WorkerNest

import toolkit as tk
from tests.plugins.live_support import Donchian, EmaCross, RsiReversal, Sea
from tests.plugins.servers import (
    KafkaServer,
    RabbitServer,
    RedisServer,
    _noida_program,
    _redis_program,
    bus_settings,
    free_port,
    make_topics,
)
from toolkit.bootstrap import build, venue_path
from toolkit.live import live_runs
from toolkit.market import Bars
from toolkit.research.comparison import first_difference, normalise_all
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.runs import RunRecord
from toolkit.store.sql.models import ExecutionIntent, RunEvent

KEY = "k1:0123456789abcdef0123456789abcdef"
STRATEGIES = (EmaCross(), RsiReversal(), Donchian(), EmaCross(fast=8, slow=34))


@dataclass
class Fleet:
    """What came of it."""

    runs: int = 0
    equal: int = 0
    trades: int = 0
    intents: int = 0
    duplicates: int = 0
    lost: int = 0
    disagreements: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    worker_rss_mb: list[int] = field(default_factory=list)

    def figures(self, bus: str) -> dict[str, Any]:
        """Return the numbers for the docs."""
        return {
            "bus": bus,
            **{name: getattr(self, name) for name in ("runs", "equal", "trades", "intents", "duplicates", "lost")},
            "disagreements": len(self.disagreements),
            "seconds": round(self.seconds),
            "intents_per_s": round(self.intents / self.seconds, 1) if self.seconds else None,
            "worker_rss_mb": self.worker_rss_mb,
            "load_average": round(os.getloadavg()[0], 1),
        }


def sail(
    bus: str, folder: Path, database_url: str, bars: Bars, *, runs: int = 20, accounts: int = 5, workers: int = 4,
    limit_seconds: float = 3000.0,
) -> Fleet:  # fmt: skip
    """Start servers and workers, let all runs trade to their end, compare."""
    (folder / "server").mkdir(parents=True)
    server = start_server(bus, folder / "server")
    named = {name.upper(): value for name, value in bus_settings(bus, server.url).items()} | {
        "HOME": str(folder / "home"), "GATEWAY": bus, "SIGNING_KEY": KEY, "DATABASE_URL": database_url
    }  # fmt: skip
    nest = WorkerNest({f"SEATRIAL_{name}": value for name, value in named.items()}, folder)
    fields: dict[str, Any] = {name.lower(): value for name, value in named.items()}
    settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
    sea = Sea(build(settings))
    fleet = Fleet(runs=runs)
    pids: list[int] = []
    try:
        records = _create(sea, bars, runs, accounts)
        names = [f"paper-{n}" for n in range(accounts)]
        ports = [free_port() for _ in range(workers)]
        begun = time.monotonic()
        # members of one Kafka group serve the same accounts and share them by partition; queues are told apart by name
        told = [[] if bus == "kafka" else names[n::workers] for n in range(workers)]
        pids = [nest.start(bus, told[n], SEATRIAL_METRICS_PORT=str(port)) for n, port in enumerate(ports)]
        for run, _ in records:
            live_runs.start_bot_live_run(sea.engine, sea.engine.principal, run.live_run_id)
        _wait_for_end(sea, [run for run, _ in records], limit_seconds)
        fleet.seconds = time.monotonic() - begun
        fleet.worker_rss_mb = [psutil.Process(pid).memory_info().rss // 1_000_000 for pid in pids]
        pages = [_page(port) for port in ports]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        _compare_trades(sea, bars, records, fleet)
        _compare_accounts(sea, settings.home, fleet)
        _compare_tellers(sea, nest.logs, pages, fleet)
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        nest.close()
        sea.engine.close()
        server.kill() if bus == "redis" else server.close()
    return fleet


def start_server(bus: str, folder: Path) -> Any:
    """Start a message broker of that kind."""
    server: Any
    if bus == "redis":
        server = RedisServer(_redis_program() or "redis-server", folder)
    elif bus == "rabbitmq":
        server = RabbitServer(Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), folder)
    else:
        server = KafkaServer(_noida_program() or "noida-db", folder)
    server.start()
    if bus == "kafka":
        make_topics(server.url, partitions=12)
    return server


def _create(sea: Sea, bars: Bars, runs: int, accounts: int) -> list[tuple[RunRecord, Any]]:
    versions = [sea.version(strategy, bars) for strategy in STRATEGIES]
    made = [sea.account(f"paper-{n}", balance=10_000_000, leverage=500) for n in range(accounts)]
    records = []
    for n in range(runs):
        which = n // accounts % len(STRATEGIES)
        run = sea.run(versions[which], made[n % accounts], bars, host="workers", capital=5_000 + 1_000 * n, start=False)
        records.append((run, STRATEGIES[which]))
    return records


def _wait_for_end(sea: Sea, runs: list[RunRecord], limit: float) -> None:
    deadline = time.monotonic() + limit
    wanted = {run.live_run_id for run in runs}
    while time.monotonic() < deadline:
        now = live_runs.list_runs(sea.engine, sea.engine.principal)
        if all(run.status in ("STOPPED", "ERROR") for run in now if run.live_run_id in wanted):
            return
        time.sleep(0.5)
    raise TimeoutError(f"runs not ended within {limit:.0f} s")


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def _compare_trades(sea: Sea, bars: Bars, records: list[tuple[RunRecord, Any]], fleet: Fleet) -> None:
    for run, strategy in records:
        ended = sea.read(run)
        if (ended.status, ended.last_error) != ("STOPPED", ""):
            fleet.wrong.append(f"run of capital {run.capital} ended {ended.status}: {ended.last_error}")
            continue
        terms = PaperAccount(currency="USD", balance=run.capital, leverage=500)
        expected = normalise_all(tk.backtest(strategy, bars, account=terms).trade_records)
        trades = sea.trades(run)
        fleet.trades += len(trades)
        difference = first_difference(expected, trades)
        if difference is None:
            fleet.equal += 1
        else:
            fleet.wrong.append(f"run of capital {run.capital}: {difference}")


def _compare_accounts(sea: Sea, home: Path, fleet: Fleet) -> None:
    """Count what a venue has twice, and intents that ended FILLED without an order of theirs in a venue's journal."""
    t = ExecutionIntent.__table__.c
    with sea.engine.work(write=False) as work:
        intents = list(work.connection.execute(select(t.account_id, t.client_tag, t.state, t.reason)))
    fleet.intents = len(intents)
    for account in {row.account_id for row in intents}:
        journal = sqlite3.connect(f"file:{venue_path(home, account)}?mode=ro", uri=True)
        found = Counter(
            journal.execute("SELECT sent_tag FROM orders WHERE state <> 'rejected' AND sent_tag <> ''").fetchall()
        )
        journal.close()
        fleet.duplicates += sum(count - 1 for count in found.values())
        mine = [row for row in intents if row.account_id == account]
        fleet.lost += sum(row.state == "FILLED" and (row.client_tag,) not in found and not row.reason for row in mine)
        fleet.lost += sum(row.state in ("NEW", "CLAIMED", "SENDING", "UNKNOWN", "ABANDONED") for row in mine)


def _compare_tellers(sea: Sea, logs: list[Path], pages: list[str], fleet: Fleet) -> None:
    """For every intent: its log line, its run events and the metric counts say what its row says."""
    t, e = ExecutionIntent.__table__.c, RunEvent.__table__.c
    with sea.engine.work(write=False) as work:
        rows = list(work.connection.execute(select(t.intent_id, t.action, t.state)))
        events = list(work.connection.execute(select(e.intent_id, e.kind).where(e.intent_id.is_not(None))))
    told: dict[str, list[tuple[str, str]]] = {}
    for log in logs:
        for line in log.read_text().splitlines():
            if '"intent_carried_out"' in line:
                said = json.loads(line)
                told.setdefault(said["intent_id"], []).append((said["action"], said["state"]))
    kinds: dict[str, list[str]] = {}
    for event in events:
        kinds.setdefault(str(event.intent_id), []).append(event.kind)
    for row in rows:
        if told.get(str(row.intent_id)) != [(row.action, row.state)]:
            fleet.disagreements.append(
                f"log of {row.intent_id} {row.action} {row.state}: {told.get(str(row.intent_id))}"
            )
        wanted = _kinds_of(row.action, row.state)
        if wanted and not wanted & set(kinds.get(str(row.intent_id), [])):
            fleet.disagreements.append(
                f"events of {row.intent_id} {row.action} {row.state}: {kinds.get(str(row.intent_id))}"
            )
    in_rows = Counter((row.action, row.state) for row in rows)
    counted: Counter[tuple[str, str]] = Counter()
    sent = 0
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == "seatrial_intents_total":
                    counted[sample.labels["action"], sample.labels["state"]] += int(sample.value)
                if sample.name == "seatrial_sends_total":
                    sent += int(sample.value)
    if counted != in_rows:
        fleet.disagreements.append(f"metrics {dict(counted)}, rows {dict(in_rows)}")
    filled = sum(count for (_, state), count in in_rows.items() if state in ("FILLED", "PARTIAL", "REJECTED"))
    if not filled - in_rows["CLOSE_POSITION", "FILLED"] <= sent <= filled:  # an exit that is "already so" is not sent
        fleet.disagreements.append(f"{sent} sends counted for {filled} intents that were answered")


def _kinds_of(action: str, state: str) -> set[str]:
    if state == "FILLED":
        return {"trade_opened"} if action == "OPEN_TRADE" else {"trade_closed", "exit_already_so"}
    return {"DENIED": {"entry_refused"}, "EXPIRED": {"entry_refused", "order_expired"}}.get(state, set())


def main() -> int:
    """Run it at full size."""
    from postgres_process import PostgresServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bus", choices=["redis", "rabbitmq", "kafka"])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--accounts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--bars", type=int, default=0, help="first bars of the packaged year; 0: all")
    arguments = parser.parse_args()
    bars = tk.sample_bars("EURUSD", "H1")
    database = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as name:
            fleet = sail(
                arguments.bus, Path(name), database.url, bars[: arguments.bars] if arguments.bars else bars,
                runs=arguments.runs, accounts=arguments.accounts, workers=arguments.workers,
            )  # fmt: skip
    finally:
        database.close()
    for line in (*fleet.wrong, *fleet.disagreements[:20]):
        print(line, file=sys.stderr)
    print(json.dumps(fleet.figures(arguments.bus)))
    return 1 if fleet.wrong or fleet.disagreements or fleet.duplicates or fleet.lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
