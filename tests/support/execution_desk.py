"""A scripted platform, a ledger with one account and one run, and the intents tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from toolkit.clock import ManualClock
from toolkit.errors import ReadFailed, UnknownSymbol
from toolkit.execution.builder import build_trade_request
from toolkit.execution.idempotency import run_key, signal_fingerprint
from toolkit.execution.intents import Action
from toolkit.execution.ledger.memory import MemoryStore
from toolkit.execution.ledger.records import AccountRecord, IntentRecord, RunRecord
from toolkit.execution.ledger.submit import make_entry, make_intent, submit
from toolkit.execution.ports import (
    AccountSnapshot,
    Book,
    CancelOrder,
    ClosePosition,
    History,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    PlatformCommand,
    PlatformDeal,
    PlatformOrder,
    PlatformPosition,
)
from toolkit.execution.principal import Principal
from toolkit.execution.request import CloseRequest, ModifyRequest, ReduceRequest, RequestMetadata
from toolkit.execution.trade_service import ServicePolicy, TradeService
from toolkit.market import Instrument, Quote, Rate, Side

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
EURUSD = Instrument(
    symbol="EURUSD",
    quote_currency="USD",
    base_currency="EUR",
    pip_size="0.0001",
    contract_size="100000",
    volume_min="0.01",
    volume_max="100",
    volume_step="0.01",
)


class ScriptedPlatform:
    """A venue in memory that fills at the quote and answers as the script says."""

    name = "scripted"

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.time = START
        self.instruments = {"EURUSD": EURUSD}
        self.quotes = {"EURUSD": Quote("1.10000", "1.10010", START)}
        self.balance = Decimal(10_000)
        self.positions: dict[str, PlatformPosition] = {}
        self.orders: dict[str, PlatformOrder] = {}
        self.ended: list[PlatformOrder] = []
        self.deals: list[PlatformDeal] = []
        self.sent: list[PlatformCommand] = []
        self.script: list[Callable[[PlatformCommand], OrderResult] | OrderResult | Exception] = []
        self.fail_reads = 0
        self.hedging = True
        self.commission = Decimal("-0.35")
        self._ids = 100
        self.on_send: Callable[[PlatformCommand], None] = lambda command: None

    def connect(self) -> AccountSnapshot:
        return self._snapshot()

    def close(self) -> None: ...

    def now(self) -> datetime:
        return self.time

    def tick(self, seconds: float, bid: str | None = None, ask: str | None = None) -> None:
        self.time += timedelta(seconds=seconds)
        self.clock.advance(seconds)
        old = self.quotes["EURUSD"]
        self.quotes["EURUSD"] = Quote(bid or old.bid, ask or old.ask, self.time)

    def instrument(self, symbol: str) -> Instrument:
        if symbol not in self.instruments:
            raise UnknownSymbol(symbol)
        return self.instruments[symbol]

    def quote(self, symbol: str) -> Quote:
        self._read()
        return self.quotes[symbol]

    def closed_bars(self, symbol: str, timeframe: str, after: datetime | None, limit: int) -> Any:
        raise NotImplementedError

    def book(self) -> Book:
        self._read()
        positions = tuple(_with_profit(p, self._profit(p)) for p in self.positions.values())
        return Book(self._snapshot(), positions, tuple(self.orders.values()), self.time)

    def history(self, since: datetime, until: datetime) -> History:
        self._read()
        return History(
            tuple(o for o in self.ended if since <= o.placed_at <= until),
            tuple(d for d in self.deals if since <= d.at <= until),
        )

    def profit(self, symbol: str, side: Side, lots: Decimal, open_price: Decimal, close_price: Decimal) -> Decimal:
        return (close_price - open_price) * side.sign * lots * self.instruments[symbol].contract_size

    def margin(self, symbol: str, side: Side, lots: Decimal, price: Decimal) -> Decimal:
        return lots * price * self.instruments[symbol].contract_size / 30

    def send(self, command: PlatformCommand) -> OrderResult:
        self.on_send(command)
        self.sent.append(command)
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return step if isinstance(step, OrderResult) else step(command)
        return self.fill(command)

    def fill(self, command: PlatformCommand) -> OrderResult:
        if isinstance(command, OpenOrder):
            if command.order_type is not OrderType.MARKET:
                return self._place(command)
            return self._open(command)
        if isinstance(command, ClosePosition):
            return self.close_out(command.position_id, command.lots, command.reason, command.tag.text)
        if isinstance(command, ModifyProtection):
            p = self.positions[command.position_id]
            self.positions[p.position_id] = replace(p, stop_loss=command.stop_loss, take_profit=command.take_profit)
            return OrderResult(Outcome.DONE, order_id=self._id(), position_id=p.position_id)
        assert isinstance(command, CancelOrder)
        order = self.orders.pop(command.order_id)
        self.ended.append(replace(order, state="cancelled"))
        return OrderResult(Outcome.DONE, order_id=order.order_id)

    def close_out(self, position_id: str, lots: Decimal | None, reason: str, tag: str = "") -> OrderResult:
        p = self.positions[position_id]
        quote = self.quotes[p.symbol]
        price = quote.bid if p.side is Side.BUY else quote.ask
        gone = p.lots if lots is None else lots
        profit = self.profit(p.symbol, p.side, gone, p.open_price, price)
        deal = PlatformDeal(
            self._id(), self._id(), position_id, p.symbol, p.side.opposite, "out", gone, price, profit,
            self.commission, Decimal(0), self.time, reason, tag_text=tag,
        )  # fmt: skip
        self.deals.append(deal)
        self.balance += profit + self.commission
        if gone == p.lots:
            del self.positions[position_id]
        else:
            self.positions[position_id] = replace(p, lots=p.lots - gone)
        return OrderResult(Outcome.DONE, deal.order_id, position_id, (deal.deal_id,), gone, price)

    def _open(self, command: OpenOrder) -> OrderResult:
        price = self.quotes[command.symbol].price_for(command.side)
        order_id = self._id()
        tag = command.tag
        self.positions[order_id] = PlatformPosition(
            order_id, order_id, command.symbol, command.side, command.lots, price, self.time, command.stop_loss,
            command.take_profit, Decimal(0), Decimal(0), tag.text, tag.magic, tag.label,
        )  # fmt: skip
        deal = PlatformDeal(
            self._id(), order_id, order_id, command.symbol, command.side, "in", command.lots, price, Decimal(0),
            self.commission, Decimal(0), self.time, "", tag.text, tag.magic, tag.label, command.stop_loss,
            command.take_profit,
        )  # fmt: skip
        self.deals.append(deal)
        self.balance += self.commission
        return OrderResult(Outcome.DONE, order_id, order_id, (deal.deal_id,), command.lots, price)

    def _place(self, command: OpenOrder) -> OrderResult:
        order_id = self._id()
        self.orders[order_id] = PlatformOrder(
            order_id, command.symbol, command.side, command.order_type, command.lots, Decimal(0), "working", self.time,
            command.limit_price, command.stop_loss, command.take_profit, command.expires_at, None, command.tag.text,
            command.tag.magic, command.tag.label,
        )  # fmt: skip
        return OrderResult(Outcome.WORKING, order_id)

    def _profit(self, p: PlatformPosition) -> Decimal:
        quote = self.quotes[p.symbol]
        return self.profit(p.symbol, p.side, p.lots, p.open_price, quote.bid if p.side is Side.BUY else quote.ask)

    def _snapshot(self) -> AccountSnapshot:
        equity = self.balance + sum((self._profit(p) for p in self.positions.values()), Decimal(0))
        return AccountSnapshot(
            "1", "test", "paper", "USD", self.balance, equity, Decimal(0), self.hedging, True, True, self.time
        )

    def _read(self) -> None:
        if self.fail_reads > 0:
            self.fail_reads -= 1
            raise ReadFailed("scripted")

    def _id(self) -> str:
        self._ids += 1
        return str(self._ids)


def _with_profit(p: PlatformPosition, profit: Decimal) -> PlatformPosition:
    """Return a position with its open profit; written out, because simulations do this a million times."""
    return PlatformPosition(
        p.position_id, p.ticket, p.symbol, p.side, p.lots, p.open_price, p.opened_at, p.stop_loss, p.take_profit, p.swap,
        profit, p.tag_text, p.magic, p.label,
    )  # fmt: skip


@dataclass
class Desk:
    """One account with one running run, its platform, store and service."""

    store: Any
    clock: ManualClock
    platform: ScriptedPlatform
    principal: Principal
    account_id: UUID
    live_run_id: UUID
    service: TradeService = field(init=False)
    ordinal: int = 0

    def __post_init__(self) -> None:
        self.service = self.make_service("worker-a")

    def make_service(self, worker: str, **options: Any) -> TradeService:
        return TradeService(
            self.platform,
            self.store,
            self.clock,
            account_id=self.account_id,
            principal=self.principal,
            worker=worker,
            policy=options.pop("policy", ServicePolicy(backoff_seconds=0.01)),
            **options,
        )

    def entry(self, **changes: Any) -> IntentRecord:
        """Build and submit an entry; every call is another signal."""
        self.ordinal += 1
        quote = changes.pop("quote", None) or self.platform.quotes["EURUSD"]
        numbers: dict[str, Any] = {
            "side": Side.BUY,
            "stop_loss": Decimal("1.09810"),
            "take_profit": Decimal("1.10400"),
            "risk_percent": Decimal(1),
        } | changes
        ordinal = numbers.pop("ordinal", self.ordinal)
        fingerprint = numbers.pop("fingerprint", signal_fingerprint("v1", {"n": ordinal}))
        key = run_key(
            live_run_id=self.live_run_id, bar_time=START, symbol="EURUSD", side=numbers["side"],
            action="OPEN_TRADE", ordinal=ordinal, fingerprint=fingerprint,
        )  # fmt: skip
        built = build_trade_request(
            account_id=self.account_id,
            instrument=EURUSD,
            quote=quote,
            equity=Decimal(10_000),
            quote_to_account=Rate.ONE,
            live_run_id=self.live_run_id,
            **numbers,
        )
        intent = make_entry(built, key=key, fingerprint=fingerprint, principal=self.principal, now=self.clock.now())
        return self.put(intent)

    def exit(self, action: Action, position_id: str, **fields: Any) -> IntentRecord:
        """Submit an exit on a position."""
        self.ordinal += 1
        models: dict[Action, Any] = {
            Action.CLOSE_POSITION: CloseRequest,
            Action.REDUCE_POSITION: ReduceRequest,
            Action.MODIFY_SLTP: ModifyRequest,
        }
        request = models[action](
            account_id=self.account_id,
            symbol="EURUSD",
            direction=fields.pop("direction", Side.BUY),
            position_id=position_id,
            metadata=RequestMetadata(
                live_run_id=fields.pop("live_run_id", self.live_run_id), reason=fields.pop("reason", "signal")
            ),
            **fields,
        )
        fingerprint = signal_fingerprint("v1", {"n": self.ordinal})
        key = run_key(
            live_run_id=self.live_run_id, bar_time=START, symbol="EURUSD", side=Side.BUY, action=action.value,
            ordinal=self.ordinal, fingerprint=fingerprint,
        )  # fmt: skip
        return self.put(
            make_intent(
                request, action=action, key=key, fingerprint=fingerprint, principal=self.principal, now=self.clock.now()
            )
        )

    def put(self, intent: IntentRecord) -> IntentRecord:
        with self.store.begin(self.principal) as work:
            kept = submit(work, intent, self.principal)
            work.commit()
        return kept.intent

    def read(self) -> Any:
        return self.store.begin(self.principal, write=False)

    def opened(self, **changes: Any) -> tuple[IntentRecord, str]:
        """Open a position; return its intent and the position's id."""
        intent = self.service.execute(self.entry(**changes).intent_id)
        assert intent.position_id is not None
        return intent, intent.position_id


def memory_desk(guards_json: str = "{}", account_guards_json: str = "") -> Desk:
    """A desk on the store in memory."""
    clock = ManualClock(START)
    principal = Principal(uuid4(), "trader")
    store = MemoryStore()
    account_id, run_id = uuid4(), uuid4()
    store.add_account(
        AccountRecord(
            account_id=account_id, owner_id=principal.user_id, currency="USD", environment="paper", gateway="local",
            login="1", server="test", armed_until=None, halted_at=None, halt_reason="", book_synced_until=None,
            guards_json=account_guards_json,
        )
    )  # fmt: skip
    store.add_run(
        RunRecord(
            live_run_id=run_id, account_id=account_id, owner_id=principal.user_id, status="RUNNING", stage="paper",
            capital=Decimal(10_000), realised=Decimal(0), guards_json=guards_json,
        )
    )  # fmt: skip
    return Desk(store, clock, ScriptedPlatform(clock), principal, account_id, run_id)


def desk_on(store: Any, owner_id: UUID, account_id: UUID, run_id: UUID) -> Desk:
    """A desk on a store that holds its account and run already."""
    clock = ManualClock(START)
    return Desk(store, clock, ScriptedPlatform(clock), Principal(owner_id, "trader"), account_id, run_id)


def sql_desk(engine: Any, guards_json: str = "{}", ids: tuple[UUID, UUID, UUID] | None = None) -> Desk:
    """A desk on a database; ``ids`` are those of owner, account and run."""
    from toolkit.store.intents import SqlIntentStore
    from toolkit.store.sql import models
    from toolkit.store.sql.unit_of_work import UnitOfWork

    clock = ManualClock(START)
    owner_id, account_id, run_id = ids or (uuid4(), uuid4(), uuid4())
    principal = Principal(owner_id, "trader")
    bot_id, version_id = uuid4(), uuid4()
    with UnitOfWork(engine, principal) as work:
        add = work.session.add
        add(models.User(user_id=principal.user_id, name="trader", created_at=START))
        work.session.flush()
        add(
            models.Account(
                account_id=account_id, owner_id=principal.user_id, name="paper-1", platform="simulated", login="1",
                server="test", currency="USD", created_at=START,
            )
        )  # fmt: skip
        add(models.Bot(bot_id=bot_id, owner_id=principal.user_id, name="bot", created_at=START))
        work.session.flush()
        add(
            models.BotVersion(
                bot_version_id=version_id, bot_id=bot_id, owner_id=principal.user_id, number=1, version_hash="v1",
                spec_hash="s1", spec_json="{}", created_by=principal.user_id, created_at=START,
            )
        )  # fmt: skip
        work.session.flush()
        add(
            models.LiveRun(
                live_run_id=run_id, account_id=account_id, bot_version_id=version_id, owner_id=principal.user_id,
                symbols=["EURUSD"], timeframe="H1", stage="paper", status="RUNNING", capital=Decimal(10_000),
                guards_json=guards_json, created_by=principal.user_id, created_at=START,
            )
        )  # fmt: skip
        work.commit()
    return Desk(SqlIntentStore(engine), clock, ScriptedPlatform(clock), principal, account_id, run_id)
