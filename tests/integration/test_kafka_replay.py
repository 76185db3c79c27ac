"""``seatrial kafka setup`` and ``replay`` as an operator uses them, and cutover between all gateways, on a real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from tests.plugins.servers import bus_settings, wait_until
from toolkit.bootstrap import build, venue_path
from toolkit.cli.app import app
from toolkit.clock import now
from toolkit.live.advance import advance
from toolkit.live.cutover import set_gateway
from toolkit.market import Bars
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.research.comparison import normalise_all
from toolkit.settings import Settings
from toolkit.simulation.account import PaperAccount
from toolkit.store.sql.models import ExecutionIntent, Order, RunEvent, Trade
from workers.process import WorkerProcess

KEY = "k1:0123456789abcdef0123456789abcdef"


@pytest.fixture
def environment(kafka_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation whose accounts trade over Kafka, in the environment too."""
    named = {"home": str(tmp_path / "home"), "gateway": "kafka", "signing_key": KEY, "quote_interval_seconds": "0.2"}
    named |= bus_settings("kafka", kafka_url)
    for name, value in named.items():
        monkeypatch.setenv(f"SEATRIAL_{name.upper()}", value)
    return Settings(_env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def sea(environment: Settings) -> Iterator[Sea]:
    """The notebook's side of it."""
    engine = build(environment)
    yield Sea(engine)
    engine.close()


def seatrial(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def trade_over_kafka(sea: Sea, settings: Settings, bars: Bars) -> Any:
    run = sea.run(sea.version(EmaCross(), bars), sea.account(), bars, host="workers", capital=10_000)
    worker = WorkerProcess(settings, (), "kafka")
    worker.start()
    try:
        wait_until(lambda: sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
    finally:
        worker.stop()
    assert sea.read(run).last_error == ""
    return run


def count(sea: Sea, table: Any) -> int:
    with sea.engine.work(write=False) as work:
        return int(work.connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_kafka_replay_rebuilds_telemetry_and_drives_a_shadow_without_executing(
    sea: Sea, environment: Settings, some_bars: Bars, tmp_path: Path
) -> None:
    """Counts, trades and signals out of the topics are those of the database; no order, no intent and no trade is made."""
    began = now() - timedelta(seconds=1)
    assert "trade.intents" in seatrial("kafka", "setup", "--partitions", "6", "--replication", "1")
    run = trade_over_kafka(sea, environment, some_bars)
    kept = [count(sea, model.__table__) for model in (ExecutionIntent, Order, Trade)]
    t = ExecutionIntent.__table__.c
    with sea.engine.work(write=False) as work:
        query = select(t.state, func.count()).where(t.live_run_id == run.live_run_id).group_by(t.state)
        states = {row[0]: row[1] for row in work.connection.execute(query)}
    metrics = tmp_path / "metrics.txt"
    said = seatrial("kafka", "replay", "--from", began.isoformat(), "--metrics", str(metrics), "--json")
    told = json.loads(said.splitlines()[-1])
    trades = sea.trades(run)
    net = sum(trade["profit"] + trade["commission"] + trade["swap"] for trade in trades)
    mine = told["runs"][str(run.live_run_id)]
    assert {name: mine[name] for name in states} == states
    assert (mine["trades"], Decimal(mine["net"])) == (len(trades), net)
    assert (told["intents"], told["refused"]) == (sum(states.values()), 0)
    assert 'seatrial_intents_total{action="OPEN_TRADE",state="FILLED"}' in metrics.read_text()

    told = json.loads(
        seatrial("kafka", "replay", "--from", began.isoformat(), "--as", "shadow", "--json").splitlines()[-1]
    )
    (shadow,) = told["shadows"]
    e = RunEvent.__table__.c
    with sea.engine.work(write=False) as work:
        signals = work.connection.execute(
            select(e.data, e.market_time).where(e.kind == "shadow_signal").order_by(e.event_id)
        ).all()
        rows = work.connection.execute(
            select(t.payload_json, t.bar_time, t.state).where(t.live_run_id == run.live_run_id).order_by(t.created_at)
        ).all()
    assert [(one.data["payload"], one.market_time, one.data["state"]) for one in signals] == [
        tuple(row) for row in rows
    ]
    found = next(one for one in tk_runs(sea) if str(one.live_run_id) == shadow)
    assert (found.stage, found.status, found.signals_count) == ("shadow", "STOPPED", len(rows))
    assert [count(sea, model.__table__) for model in (ExecutionIntent, Order, Trade)] == kept
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "0 intents, 0 results" in seatrial("kafka", "replay", "--from", late)
    assert "0 intents, 0 results" in seatrial(
        "kafka", "replay", "--from", (began - timedelta(hours=1)).isoformat(), "--to", began.isoformat()
    )


def tk_runs(sea: Sea) -> list[Any]:
    from toolkit.live.live_runs import list_runs

    return list_runs(sea.engine, sea.engine.principal)


@pytest.mark.parametrize("words", [("--from", "yesterday"), ("--from", "2026-01-01T00:00")])
def test_a_kafka_replay_without_a_clear_moment_is_refused(words: tuple[str, ...], environment: Settings) -> None:
    """A moment needs its zone."""
    from toolkit.errors import BadInput

    with pytest.raises(BadInput, match="--from must be a moment"):
        CliRunner().invoke(app, ["kafka", "replay", *words], catch_exceptions=False)


@pytest.mark.timeout(300)
def test_a_cutover_through_all_four_gateways_and_back_to_kafka_changes_no_trade(
    environment: Settings, redis_url: str, rabbitmq_url: str, some_bars: Bars
) -> None:
    """With intents under way the account goes local, redis, rabbitmq and kafka, forth and back; trades stay the backtest's."""
    from pydantic import SecretStr

    settings = environment.model_copy(
        update={"redis_url": SecretStr(redis_url), "rabbitmq_url": SecretStr(rabbitmq_url)}
    )
    sea = Sea(build(settings))
    workers = [WorkerProcess(settings, (), kind) for kind in ("redis", "rabbitmq", "kafka")]
    try:
        account = sea.account()
        run = sea.run(sea.version(EmaCross(), some_bars), account, some_bars, host="workers", capital=10_000)
        for worker in workers:
            worker.start()
        owner = sea.engine.principal
        way = ["kafka", "redis", "rabbitmq", "kafka", "local", "kafka", "rabbitmq", "redis", "kafka"]
        for before, after in pairwise(way):
            seen = sea.read(run).intents_count
            deadline = time.monotonic() + 60
            while sea.read(run).intents_count < seen + 3 and sea.read(run).status == "RUNNING":
                assert time.monotonic() < deadline, f"{before} moves nothing"
                if before != "local" or advance(sea.engine, run.live_run_id, account.account_id).waiting:
                    time.sleep(0.01)
            set_gateway(sea.engine, owner, account.account_id, after)
        wait_until(lambda: sea.read(run).status in ("STOPPED", "ERROR"), "the end of the run", 120)
        assert sea.read(run).last_error == ""
        terms = PaperAccount(currency="USD", balance=10_000, leverage=30)
        assert sea.trades(run) == normalise_all(tk.backtest(EmaCross(), some_bars, account=terms).trade_records)
    finally:
        for worker in workers:
            worker.stop()
        sea.engine.close()
    venue = SimulatedPlatform(venue_path(settings.home, account.account_id), terms)
    assert venue.duplicate_orders() == 0
    venue.close()
