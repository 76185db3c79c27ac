"""Rows for the page's tests, written through the models: accounts, versions, runs, and a replay that moves on bar by bar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Engine, insert
from sqlalchemy.orm import Session

from toolkit import clock
from toolkit.live.feed import FeedSpec, store_bars
from toolkit.live.stepping.sources.platform_feed import feed_name
from toolkit.market import Bars, Timeframe, find_instrument
from toolkit.store.people.accounts import read_account
from toolkit.store.sql import models as m
from toolkit.store.sql.engine import open_database

START = datetime(2017, 1, 2, tzinfo=UTC)


def made_bars(count: int = 2000, symbol: str = "EURUSD", seed: int = 7) -> Bars:
    """Return hourly bars of a seeded random walk with five-day weeks; bid and ask 8 points apart."""
    random = np.random.default_rng(seed)
    hours = np.arange(count * 2)
    weekday = (hours // 24) % 7
    hours = hours[weekday < 5][:count]
    ts = clock.to_ns(START) + hours.astype(np.int64) * 3_600_000_000_000
    close = 106_000 + np.cumsum(random.normal(0, 90, count)).astype(np.int64)
    opened = np.concatenate([[106_000], close[:-1]])
    high = np.maximum(opened, close) + random.integers(0, 70, count)
    low = np.minimum(opened, close) - random.integers(0, 70, count)
    columns = dict(open=opened, high=high, low=low, close=close)
    sides = {
        f"{side}_{name}": values + extra for side, extra in (("bid", 0), ("ask", 8)) for name, values in columns.items()
    }
    return Bars.from_arrays(symbol, "H1", ts, **sides)


def at(bars: Bars, row: int) -> datetime:
    """Return the open time of a bar."""
    return clock.from_ns(int(bars.ts[row]))


class Seed:
    """A database with a user, and helpers that add what a test wants to see."""

    def __init__(self, home: Path, *, user: str = "local", role: str = "trader") -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{home / 'seatrial.db'}"
        self.engine: Engine = open_database(self.url)
        self.user_id = self.user(user, role)

    def add(self, rows: Iterable[m.Base]) -> None:
        """Commit rows."""
        with Session(self.engine, expire_on_commit=False) as session:
            for row in rows:
                session.add(row)
                session.flush()
            session.commit()

    def user(self, name: str, role: str = "trader") -> UUID:
        """Add a user."""
        user_id = uuid4()
        self.add([m.User(user_id=user_id, name=name, role=role, created_at=clock.now())])
        return user_id

    def account(self, name: str = "paper-1", owner: UUID | None = None, **changed: Any) -> UUID:
        """Add an account of that owner."""
        account_id = uuid4()
        values: dict[str, Any] = dict(
            account_id=account_id, owner_id=owner or self.user_id, name=name, platform="simulated", currency="USD",
            created_at=clock.now(),
        )  # fmt: skip
        self.add([m.Account(**{**values, **changed})])
        return account_id

    def version(self, bot: str = "EmaCross", owner: UUID | None = None, number: int = 1) -> UUID:
        """Add a bot and one version of it."""
        owner = owner or self.user_id
        bot_id, version_id = uuid4(), uuid4()
        digest = uuid4().hex * 2
        self.add(
            [
                m.Bot(bot_id=bot_id, owner_id=owner, name=bot, created_at=clock.now()),
                m.BotVersion(
                    bot_version_id=version_id, bot_id=bot_id, owner_id=owner, number=number, version_hash=digest,
                    spec_hash=digest, spec_json=json.dumps({"name": bot}), note="plateau of the 2017 sweep",
                    created_by=owner, created_at=clock.now(),
                    instruments_json=json.dumps({"EURUSD": find_instrument("EURUSD").facts()}),
                ),
            ]
        )  # fmt: skip
        return version_id

    def live_run(self, account_id: UUID, version_id: UUID, bars: Bars, **changed: Any) -> ReplayedRun:
        """Add a LiveRun on its account's own quotes; its bars are kept as it sees them."""
        made = self.run(account_id, version_id, bars, feed_json=json.dumps(FeedSpec("platform").as_dict()), **changed)
        made.keeps_bars = True
        return made

    def run(
        self, account_id: UUID, version_id: UUID, bars: Bars, owner: UUID | None = None, **changed: Any
    ) -> ReplayedRun:
        """Add a LiveRun over stored bars; nothing of it has happened yet."""
        owner = owner or self.user_id
        run_id = uuid4()
        feed = FeedSpec("replay", store_bars(self.home, bars))
        values: dict[str, Any] = dict(
            live_run_id=run_id, account_id=account_id, bot_version_id=version_id, owner_id=owner, symbols=[bars.symbol],
            timeframe=Timeframe(bars.timeframe).value, stage="paper", status="RUNNING", capital=Decimal("10000.00"),
            feed_json=json.dumps(feed.as_dict()), created_by=owner, created_at=clock.now(), started_at=clock.now(),
            heartbeat_at=clock.now(),
        )  # fmt: skip
        self.add([m.LiveRun(**{**values, **changed})])
        return ReplayedRun(self, run_id, account_id, owner, bars)


class ReplayedRun:
    """A run that is moved on by the test: a trade every 40 bars, held for 25, with its intents, orders and events."""

    def __init__(self, seed: Seed, run_id: UUID, account_id: UUID, owner: UUID, bars: Bars) -> None:
        self.seed, self.run_id, self.account_id, self.owner, self.bars = seed, run_id, account_id, owner, bars
        self.row = 0
        self.equity = Decimal("10000.00")
        self._open: UUID | None = None
        self.keeps_bars = False

    def advance(self, count: int) -> None:
        """Let ``count`` more bars pass and commit what happened."""
        advance_together([self], count)

    def advance_in(self, session: Session, count: int) -> None:
        """Let ``count`` more bars pass; the caller commits."""
        if count > 0:
            run = session.get_one(m.LiveRun, self.run_id)
            for _ in range(min(count, len(self.bars) - self.row)):
                self._step(session, run, self.row)
                if self.keeps_bars:
                    self._keep(session, self.row)
                self.row += 1
            run.cursor = at(self.bars, self.row - 1)
            run.bars_count = self.row
            run.heartbeat_at = clock.now()
            run.version += 1

    def pass_over(self, count: int) -> None:
        """Let many bars pass at once: the same trades, without the intents, orders and events that led to them."""
        trades: list[dict[str, Any]] = []
        end = self.row + count
        for row in range(self.row - self.row % 40 + 10, end - 25, 40):
            side = "BUY" if (row // 40) % 2 == 0 else "SELL"
            buying = side == "BUY"
            entry = self.bars.instrument.price(int((self.bars.ask_open if buying else self.bars.bid_open)[row]))
            left = self.bars.instrument.price(int((self.bars.bid_open if buying else self.bars.ask_open)[row + 25]))
            profit = ((left - entry) * (1 if buying else -1) * Decimal("0.10") * 100_000).quantize(Decimal("0.01"))
            trades.append(
                dict(trade_id=uuid4(), account_id=self.account_id, live_run_id=self.run_id, symbol=self.bars.symbol, side=side,
                     position_id=f"{self.run_id}-{row}", lots=Decimal("0.10"), open_lots=Decimal(0), entry_price=entry,
                     entry_time=at(self.bars, row), exit_time=at(self.bars, row + 25), exit_price=left, exit_reason="signal",
                     status="closed", profit=profit, commission=Decimal("-0.70"), swap=Decimal(0), updated_at=clock.now())
            )  # fmt: skip
        with Session(self.seed.engine) as session:
            # One intent stands for all of them: a page reads the newest only.
            intent = self.intent(session, "OPEN_TRADE", "BUY", self.row, "FILLED", trades[0]["entry_price"])
            session.execute(insert(m.Trade), [{**trade, "intent_id": intent} for trade in trades])
            session.commit()
        self.row = end

    def _keep(self, session: Session, row: int) -> None:
        feed = feed_name(read_account(session.connection(), self.account_id))
        prices = {name: int(column[row]) for name, column in self.bars.columns.items()}
        key = dict(feed=feed, symbol=self.bars.symbol, timeframe=Timeframe(self.bars.timeframe).value, revision=0)
        session.add(m.BarSeen(**key, ts=int(self.bars.ts[row]), seen_at=clock.now(), **prices))

    def set(self, **values: Any) -> None:
        """Change columns of the run's row."""
        with Session(self.seed.engine) as session:
            run = session.get_one(m.LiveRun, self.run_id)
            for name, value in values.items():
                setattr(run, name, value)
            session.commit()

    def _step(self, session: Session, run: m.LiveRun, row: int) -> None:
        if row % 40 == 10:
            self._enter(session, run, row)
        if row % 40 == 35 and self._open is not None:
            self._exit(session, run, row)

    def _enter(self, session: Session, run: m.LiveRun, row: int) -> None:
        side = "BUY" if (row // 40) % 2 == 0 else "SELL"
        sign = 1 if side == "BUY" else -1
        points = int(self.bars.ask_open[row] if side == "BUY" else self.bars.bid_open[row])
        price = self.bars.instrument.price(points)
        intent = self.intent(session, "OPEN_TRADE", side, row, "FILLED", price)
        self._open = uuid4()
        session.add(
            m.Trade(
                trade_id=self._open, account_id=self.account_id, live_run_id=self.run_id, intent_id=intent,
                position_id=f"{self.run_id}-{row}", symbol=self.bars.symbol, side=side, lots=Decimal("0.10"),
                open_lots=Decimal("0.10"), entry_time=at(self.bars, row), entry_price=price,
                stop_loss=self.bars.instrument.price(points - sign * 400),
                take_profit=self.bars.instrument.price(points + sign * 800), updated_at=clock.now(),
            )
        )  # fmt: skip
        session.flush()
        run.signals_count += 1
        run.intents_count += 1
        run.fills_count += 1
        self.event(session, "fill", f"{side} 0.10 {self.bars.symbol} at {price}", row)
        run.last_action, run.last_action_at = f"opened {side} 0.10 {self.bars.symbol}", clock.now()

    def _exit(self, session: Session, run: m.LiveRun, row: int) -> None:
        trade = session.get_one(m.Trade, self._open)
        buying = trade.side == "BUY"
        price = self.bars.instrument.price(int(self.bars.bid_open[row] if buying else self.bars.ask_open[row]))
        moved = (price - trade.entry_price) * (1 if buying else -1)
        profit = (moved * Decimal("0.10") * 100_000).quantize(Decimal("0.01"))
        self.intent(session, "CLOSE_POSITION", trade.side, row, "FILLED", price)
        trade.status, trade.open_lots = "closed", Decimal(0)
        trade.exit_time, trade.exit_price, trade.exit_reason = at(self.bars, row), price, "signal"
        trade.profit, trade.commission, trade.updated_at = profit, Decimal("-0.70"), clock.now()
        self.equity += profit - Decimal("0.70")
        self._open = None
        run.intents_count += 1
        run.fills_count += 1
        self.event(session, "close", f"closed {trade.side} 0.10 at {price}: {profit:+} USD", row)
        run.last_action, run.last_action_at = f"closed {trade.side} {profit:+} USD", clock.now()

    def intent(
        self, session: Session, action: str, side: str, row: int, state: str, price: Decimal | None, reason: str = ""
    ) -> UUID:
        """Add an intent with the states it went through and, when it was filled, its order."""
        intent_id, now = uuid4(), clock.now()
        session.add(
            m.ExecutionIntent(
                intent_id=intent_id, account_id=self.account_id, live_run_id=self.run_id, action=action,
                symbol=self.bars.symbol, side=side, bar_time=at(self.bars, max(0, row - 1)), payload_json="{}",
                payload_hash="0" * 64, idempotency_key=uuid4().hex * 2, client_tag=uuid4().hex[:28], magic=1, version=4,
                state=state, attempt=1, filled_lots=Decimal("0.10") if price else Decimal(0), average_price=price,
                reason=reason, created_by=self.owner, created_at=now - timedelta(milliseconds=14), updated_at=now,
            )
        )  # fmt: skip
        session.flush()
        way = ["NEW", "CLAIMED", "SENDING", state]
        for seq, (old, new) in enumerate(zip(["", *way], way, strict=False), start=1):
            moment = now - timedelta(milliseconds=4 * (len(way) - seq))
            session.add(
                m.IntentEvent(
                    intent_id=intent_id, seq=seq, from_state=old, to_state=new, actor="seed", token=1, at=moment
                )
            )
        if price is not None:
            session.add(
                m.Order(
                    order_pk=uuid4(), intent_id=intent_id, account_id=self.account_id, live_run_id=self.run_id,
                    action=action, symbol=self.bars.symbol, side=side, lots=Decimal("0.10"), outcome="DONE",
                    sent_at=at(self.bars, row), latency_ms=3 + row % 9,
                )
            )  # fmt: skip
        session.flush()
        return intent_id

    def event(self, session: Session, kind: str, message: str, row: int, level: str = "info", **data: Any) -> None:
        """Add a line to the run's log."""
        session.add(
            m.RunEvent(live_run_id=self.run_id, account_id=self.account_id, kind=kind, level=level, message=message,
                       data=data, market_time=at(self.bars, row), at=clock.now())
        )  # fmt: skip


def advance_together(runs: Sequence[ReplayedRun], count: int) -> None:
    """Let ``count`` more bars pass in each of these runs, all in one commit, as a round of runs on one host does it."""
    with Session(runs[0].seed.engine) as session:
        for run in runs:
            run.advance_in(session, count)
        session.commit()
