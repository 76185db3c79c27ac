"""One suite for every store of intents: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from execution_desk import START

from toolkit.errors import LostRace, StoreError
from toolkit.execution.intents import Action, IntentState
from toolkit.execution.ledger.records import (
    EquityMarkRecord,
    IntentEventRecord,
    LeaseRecord,
    LinkRecord,
    OrderRecord,
    PlatformEventRecord,
    RunEventRecord,
    TradeRecord,
    TripRecord,
)
from toolkit.execution.principal import Principal


@pytest.fixture
def write(desk):
    """Run one committed transaction."""

    def run(action):
        with desk.store.begin(desk.principal) as work:
            result = action(work)
            work.commit()
        return result

    return run


@pytest.fixture
def read(desk):
    """Run one reading transaction."""

    def run(action):
        with desk.store.begin(desk.principal, write=False) as work:
            return action(work)

    return run


def test_what_is_not_committed_is_gone(desk, read):
    """Leaving the block undoes inserts, updates and upserts alike."""
    kept = desk.entry()
    lease = LeaseRecord(account_id=desk.account_id, owner="a", token=1, until=START)
    with desk.store.begin(desk.principal) as work:
        work.insert_intent(replace(kept, intent_id=uuid4(), idempotency_key="1" * 64, client_tag="other"))
        work.replace_intent(kept, replace(kept, state=IntentState.CLAIMED, version=1))
        work.put_lease(lease)
        work.add_realised(desk.live_run_id, Decimal(5), 1, START)
    assert read(lambda w: w.intent(kept.intent_id)) == kept
    assert read(lambda w: w.intent_by_key(desk.account_id, "1" * 64)) is None
    assert read(lambda w: w.lease(desk.account_id)) is None
    assert read(lambda w: w.run(desk.live_run_id)).realised == 0


def test_an_intent_reads_back_equal(desk, read):
    """Every field of a record survives the store, exactly."""
    intent = desk.entry(valid_until=START + timedelta(microseconds=1), lots=None)
    assert read(lambda w: w.intent(intent.intent_id)) == intent
    assert read(lambda w: w.intent_by_key(desk.account_id, intent.idempotency_key)) == intent
    assert read(lambda w: w.intents_by_tag(desk.account_id, {intent.client_tag})) == [intent]
    assert read(lambda w: w.intents_by_tag(desk.account_id, set(), {intent.magic})) == [intent]
    assert read(lambda w: w.intents_by_tag(desk.account_id, set())) == []


@pytest.mark.parametrize("field", ["intent_id", "idempotency_key", "client_tag"])
def test_an_identity_is_taken_once(desk, write, field):
    """A second row with the same id, key or tag is refused by the store itself, as a race that another look resolves."""
    intent = desk.entry()
    other = replace(intent, intent_id=uuid4(), idempotency_key="1" * 64, client_tag="other")
    with pytest.raises(LostRace):
        write(lambda w: w.insert_intent(replace(other, **{field: getattr(intent, field)})))


@pytest.mark.parametrize("stale", [{"state": IntentState.CLAIMED}, {"token": 9}, {"version": 9}])
def test_compare_and_set_compares_state_token_and_version(desk, write, read, stale):
    """A row that is not as it was read is left as it is."""
    intent = desk.entry()
    after = replace(intent, reason="changed", version=1)
    assert write(lambda w: w.replace_intent(replace(intent, **stale), after)) is False
    assert read(lambda w: w.intent(intent.intent_id)) == intent
    assert write(lambda w: w.replace_intent(intent, after)) is True
    assert read(lambda w: w.intent(intent.intent_id)) == after


def test_intents_are_found_by_state_in_order(desk, read):
    """Only the account's own, oldest first."""
    made = []
    for _ in range(3):
        desk.clock.advance(1)
        made.append(desk.entry())
    assert read(lambda w: w.intents_in(desk.account_id, {IntentState.NEW})) == made
    assert read(lambda w: w.intents_in(desk.account_id, {IntentState.FILLED})) == []
    assert read(lambda w: w.intents_in(uuid4(), {IntentState.NEW})) == []


def test_history_is_append_only(desk, write):
    """A number of history is written once."""
    intent = desk.entry()
    event = IntentEventRecord(
        intent_id=intent.intent_id, seq=0, from_state="NEW", to_state="CLAIMED", actor="x", token=1, at=START
    )
    with pytest.raises(StoreError):
        write(lambda w: w.append_event(event))


def test_a_lease_is_kept_and_replaced(desk, write, read):
    """One row per account."""
    first = LeaseRecord(account_id=desk.account_id, owner="a", token=1, until=START)
    second = replace(first, owner="b", token=2, until=None)
    write(lambda w: w.put_lease(first))
    assert read(lambda w: w.lease(desk.account_id)) == first
    write(lambda w: w.put_lease(second))
    assert read(lambda w: w.lease(desk.account_id)) == second


def test_the_outbox_is_a_queue_per_account(desk, write, read):
    """In order of writing; what was handed over is not seen again."""
    first, second = desk.entry(), desk.entry()
    rows = read(lambda w: w.unpublished(desk.account_id))
    assert [r.intent_id for r in rows] == [first.intent_id, second.intent_id]
    write(lambda w: w.mark_published(rows[0].outbox_id, START))
    assert [r.intent_id for r in read(lambda w: w.unpublished(desk.account_id))] == [second.intent_id]
    assert read(lambda w: w.unpublished(uuid4())) == []


def test_what_a_message_broker_has_is_not_relayed_again(desk, write, read):
    """Many are marked at once; each counts its publications."""
    desk.entry(), desk.entry()
    rows = read(lambda w: w.unpublished(desk.account_id))
    write(lambda w: w.mark_relayed([row.outbox_id for row in rows], START))
    assert read(lambda w: w.unpublished(desk.account_id)) == []


def test_a_pointer_can_be_put_back(desk, write, read):
    """An intent that went back to NEW is handed over again."""
    intent = desk.entry()
    (row,) = read(lambda w: w.unpublished(desk.account_id))
    write(lambda w: w.mark_published(row.outbox_id, START))
    write(lambda w: w.reopen_outbox(intent.intent_id))
    assert [r.intent_id for r in read(lambda w: w.unpublished(desk.account_id))] == [intent.intent_id]


def over_kafka(desk):
    """Let the account's results be carried."""
    if hasattr(desk.store, "accounts"):
        desk.store.accounts[desk.account_id] = replace(desk.store.accounts[desk.account_id], gateway="kafka")
        return
    with desk.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET gateway = 'kafka'")


def test_results_are_kept_for_a_kafka_account_only(desk, read):
    """Each state an intent is left in, and each booking of its trade, is a row of the outbox, apart from the pointers."""
    desk.opened()
    assert read(lambda w: w.unsent_results(desk.account_id)) == []
    over_kafka(desk)
    intent, position = desk.opened()
    desk.service.execute(desk.exit(Action.CLOSE_POSITION, position).intent_id)
    told = [json.loads(row.body) for row in read(lambda w: w.unsent_results(desk.account_id))]
    assert [(one["kind"], one["state"]) for one in told] == [
        ("trade", "open"), ("intent", "FILLED"), ("trade", "closed"), ("intent", "FILLED")
    ]  # fmt: skip
    assert (told[1]["intent_id"], told[1]["price"]) == (str(intent.intent_id), "1.10010")
    assert len({one["result_id"] for one in told}) == len(told)


def test_a_result_is_marked_apart_from_its_pointer(desk, write, read):
    """Putting a pointer back does not send the results of its intent again, and they never count as pointers."""
    over_kafka(desk)
    intent, _ = desk.opened()
    waiting = {row.intent_id for row in read(lambda w: w.unpublished(desk.account_id))}
    for row in read(lambda w: w.unsent_results(desk.account_id)):
        write(lambda w, number=row.outbox_id: w.mark_published(number, START))
    write(lambda w: w.reopen_outbox(intent.intent_id))
    assert read(lambda w: w.unsent_results(desk.account_id)) == []
    assert {row.intent_id for row in read(lambda w: w.unpublished(desk.account_id))} == waiting | {intent.intent_id}


def order(desk, intent):
    return OrderRecord(
        order_pk=uuid4(), intent_id=intent.intent_id, account_id=desk.account_id, live_run_id=desk.live_run_id, attempt=1,
        action=intent.action, order_type="MARKET", symbol="EURUSD", side=intent.side, lots=Decimal("0.50"),
        limit_price=None, stop_loss=Decimal("1.1"), take_profit=None, bid=Decimal("1.2"), ask=Decimal("1.3"),
        quote_at=START, equity=Decimal("10000.00"), projected_profit=None, projected_loss=Decimal("-99.99"),
        rr_ratio=None, sent_at=START,
    )  # fmt: skip


def test_an_order_is_recorded_once_per_attempt(desk, write, read):
    """The same attempt twice is refused; its answer is written to it."""
    intent = desk.entry()
    sent = order(desk, intent)
    write(lambda w: w.insert_order(sent))
    with pytest.raises(StoreError):
        write(lambda w: w.insert_order(replace(sent, order_pk=uuid4())))
    write(lambda w: w.update_order(intent.intent_id, 1, {"outcome": "DONE", "latency_ms": 3}))
    assert read(lambda w: w.orders(intent.intent_id)) == [replace(sent, outcome="DONE", latency_ms=3)]


def test_a_platform_event_is_new_once(desk, write, read):
    """Whoever saw it first; the second sighting reports that it is known."""
    event = PlatformEventRecord(
        account_id=desk.account_id, kind="deal", platform_id="7", intent_id=None, position_id="5", body_json="{}",
        at=START, seen_at=START,
    )  # fmt: skip
    assert write(lambda w: w.add_platform_event(event)) is True
    assert write(lambda w: w.add_platform_event(event)) is False
    assert write(lambda w: w.add_platform_event(replace(event, kind="order"))) is True
    assert read(lambda w: w.deal_bodies(desk.account_id, "5")) == ["{}"]
    assert read(lambda w: w.known_deals(desk.account_id, {"7", "8"})) == {"7"}


def trade(desk, intent, **changes):
    fields = {
        "trade_id": uuid4(), "account_id": desk.account_id, "live_run_id": desk.live_run_id,
        "intent_id": intent.intent_id, "position_id": "5", "symbol": "EURUSD", "side": intent.side, "status": "open",
        "lots": Decimal("0.50"), "open_lots": Decimal("0.50"), "entry_time": START, "entry_price": Decimal("1.10010"),
        "stop_loss": None, "take_profit": None, "updated_at": START,
    }  # fmt: skip
    return TradeRecord(**(fields | changes))


def test_a_position_has_one_trade(desk, write, read):
    """A trade is replaced by its id; a second trade of one position is refused."""
    intent = desk.entry()
    first = trade(desk, intent)
    write(lambda w: w.put_trade(first))
    closed = replace(first, status="closed", open_lots=Decimal(0), exit_time=START, exit_price=Decimal("1.2"))
    assert read(lambda w: w.open_trades(desk.account_id)) == [first]
    with pytest.raises(StoreError):
        write(lambda w: w.put_trade(trade(desk, intent)))
    write(lambda w: w.put_trade(closed))
    assert read(lambda w: w.trade_of_position(desk.account_id, "5")) == closed
    assert read(lambda w: w.trades_of_intent(intent.intent_id)) == [closed]
    assert read(lambda w: w.open_trades(desk.account_id)) == []
    assert read(lambda w: w.last_exit(desk.live_run_id, "EURUSD")) == START
    assert read(lambda w: w.last_exit(desk.live_run_id, "GBPUSD")) is None


def test_a_link_is_written_once(desk, write, read):
    """A trade belongs to one run."""
    intent = desk.entry()
    made = trade(desk, intent)
    link = LinkRecord(
        live_run_id=desk.live_run_id, symbol="EURUSD", side=intent.side, trade_id=made.trade_id, ticket="5",
        identifier="5", opened_at=START,
    )  # fmt: skip
    write(lambda w: (w.put_trade(made), w.add_link(link)))
    write(lambda w: w.add_link(link))
    assert read(lambda w: w.links(desk.live_run_id)) == [link]


def test_only_owner_and_granted_may_act(desk, read):
    """A stranger may not, the owner may, and an unknown account belongs to nobody."""
    stranger = Principal(uuid4(), "stranger")
    assert read(lambda w: w.may_act(desk.account_id, desk.principal)) is True
    assert read(lambda w: w.may_act(desk.account_id, stranger)) is False
    assert read(lambda w: w.may_act(uuid4(), desk.principal)) is False


def test_the_kill_switch_is_sticky(desk, write, read):
    """It stays set until it is lifted."""
    write(lambda w: w.set_halt(desk.account_id, START, "me", "too wild"))
    account = read(lambda w: w.account(desk.account_id))
    assert (account.halted_at, account.halt_reason) == (START, "too wild")
    write(lambda w: w.set_halt(desk.account_id, None, "", ""))
    assert read(lambda w: w.account(desk.account_id)).halted_at is None


def test_realised_profit_adds_up_exactly(desk, write, read):
    """A thousand tenths are a hundred."""
    for _ in range(10):
        write(lambda w: w.add_realised(desk.live_run_id, Decimal("0.1"), 1, START))
    assert read(lambda w: w.run(desk.live_run_id)).realised == Decimal(1)


def test_a_trip_stands_until_its_time(desk, write, read):
    """Trips survive in rows; past their time they are gone, reset ones stay visible until then."""
    trip = TripRecord(
        trip_id=uuid4(), account_id=desk.account_id, live_run_id=None, rule="daily_loss", symbol="", reason="-2 %",
        tripped_at=START, until=START + timedelta(hours=1),
    )  # fmt: skip
    write(lambda w: w.put_trip(trip))
    assert read(lambda w: w.standing_trips(desk.account_id, START)) == [trip]
    assert read(lambda w: w.standing_trips(desk.account_id, START + timedelta(hours=1))) == []
    write(lambda w: w.put_trip(replace(trip, until=None)))
    assert len(read(lambda w: w.standing_trips(desk.account_id, START + timedelta(days=9)))) == 1
    reset = replace(trip, reset_at=START, reset_by="me")
    write(lambda w: w.put_trip(reset))
    assert read(lambda w: w.standing_trips(desk.account_id, START)) == [reset]


def test_entries_sent_and_trades_closed_are_counted_from_a_moment(desk, write, read):
    """Orders that never left do not count; trades come in the order of their exits."""
    desk.opened()
    _, second = desk.opened()
    desk.platform.tick(30)
    desk.platform.close_out(second, None, "stop_loss")
    desk.service.sync_book()
    desk.platform.tick(1)
    _, third = desk.opened()
    desk.service.execute(desk.exit(Action.CLOSE_POSITION, third).intent_id)
    assert read(lambda w: w.entries_sent_since(desk.account_id, START - timedelta(seconds=1))) == 3
    assert read(lambda w: w.entries_sent_since(desk.account_id, START)) == 1
    closed = read(lambda w: w.trades_closed_since(desk.account_id, START))
    assert [t.position_id for t in closed] == [second, third]
    late = START + timedelta(seconds=31)
    assert [t.position_id for t in read(lambda w: w.trades_closed_since(desk.account_id, late))] == [third]
    write(lambda w: w.update_order(closed[1].intent_id, 1, {"outcome": "NOT_SENT"}))
    assert read(lambda w: w.entries_sent_since(desk.account_id, START - timedelta(seconds=1))) == 2


def test_the_latest_equity_mark_counts(desk, write, read):
    """One mark a day; the latest day is the base."""
    scope = str(desk.live_run_id)
    mark = EquityMarkRecord(
        account_id=desk.account_id, scope=scope, day=START, base_equity=Decimal(100), peak_equity=Decimal(100),
        updated_at=START,
    )  # fmt: skip
    write(lambda w: w.put_equity_mark(mark))
    write(lambda w: w.put_equity_mark(replace(mark, day=START + timedelta(days=1), base_equity=Decimal(90))))
    write(lambda w: w.put_equity_mark(replace(mark, peak_equity=Decimal(101))))
    assert read(lambda w: w.equity_mark(desk.account_id, scope)).base_equity == Decimal(90)
    assert read(lambda w: w.equity_mark(desk.account_id, "account")) is None


def test_events_and_audit_are_appended(desk, write):
    """What people are told and what they did take any text."""
    event = RunEventRecord(
        live_run_id=desk.live_run_id, account_id=desk.account_id, intent_id=None, kind="halted", level="warning",
        message="'; DROP TABLE users; --", market_time=None, at=START, data={"n": 1},
    )  # fmt: skip
    write(lambda w: w.add_run_event(event))
    write(lambda w: w.add_audit(START, desk.principal, "account.halt", str(desk.account_id), "for a reason"))


def test_one_writer_at_a_time_sees_the_others_work(desk):
    """Two increments of one row from two transactions both count."""
    import threading

    def add():
        for _ in range(5):
            with desk.store.begin(desk.principal) as work:
                work.add_realised(desk.live_run_id, Decimal(1), 0, START)
                work.commit()

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with desk.read() as work:
        assert work.run(desk.live_run_id).realised == Decimal(10)
