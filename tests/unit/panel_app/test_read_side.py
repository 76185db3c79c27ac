"""The read side: exact sums, cursors that miss nothing, and nothing of an account that is not yours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from toolkit import clock
from toolkit.errors import NotFound
from toolkit.store.reading.queries import ReadSide, Totals
from toolkit.store.sql import models as m


@dataclass(frozen=True)
class Who:
    """The little that the read side knows of a principal."""

    user_id: UUID


@pytest.fixture
def two(seed: Any, seeding: Any) -> Any:
    """A run of mine and one of somebody else, both with trades, intents, events and a trip."""
    bars = seeding.made_bars(300)
    mine = seed.run(seed.account("mine"), seed.version("Mine"), bars)
    mine.advance(150)
    other = seed.user("eve")
    account = seed.account("hers", owner=other)
    hers = seed.run(account, seed.version("Hers", owner=other), bars, owner=other)
    hers.advance(150)
    for run in (mine, hers):
        seed.add(
            [m.GuardrailTrip(trip_id=uuid4(), account_id=run.account_id, live_run_id=run.run_id, rule="daily_loss",
                             reason="2 % lost today", tripped_at=clock.now())]
        )  # fmt: skip
    return seed, mine, hers, Who(seed.user_id), Who(other)


QUESTIONS: dict[str, Callable[[ReadSide, Who], list[Any]]] = {
    "fleet": lambda read, who: read.fleet(who),
    "intents": lambda read, who: read.intents(who),
    "trades": lambda read, who: read.trades(who),
    "events": lambda read, who: read.events(who),
    "trips": lambda read, who: read.trips(who),
    "accounts": lambda read, who: read.accounts(who),
    "versions": lambda read, who: read.versions(who),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_ownership_each_list_holds_only_what_the_principal_may_see(two: Any, name: str) -> None:
    """Two owners asking the same question get rows, none of them in common, and a stranger gets none."""
    seed, _, _, me, her = two
    read = ReadSide(seed.engine)
    mine, hers = QUESTIONS[name](read, me), QUESTIONS[name](read, her)
    assert mine and hers
    assert not set(map(repr, mine)) & set(map(repr, hers))
    assert QUESTIONS[name](read, Who(uuid4())) == []


def test_ownership_a_run_of_somebody_else_is_as_absent_as_one_that_never_was(two: Any) -> None:
    """Asking by id for what is not mine raises NotFound, and lists asked by its id are empty."""
    seed, mine, hers, me, _ = two
    read = ReadSide(seed.engine)
    assert read.run(me, mine.run_id).bot == "Mine"
    for run_id in (hers.run_id, uuid4()):
        with pytest.raises(NotFound, match="not there, or not visible"):
            read.run(me, run_id)
        with pytest.raises(NotFound, match="not there, or not visible"):
            read.run_detail(me, run_id)
        assert read.trades(me, run_id=run_id) == []
        assert read.intents(me, run_id=run_id) == []
        assert read.events(me, run_id=run_id) == []
        assert read.equity_points(me, run_id) == []
    with Session(seed.engine) as session:
        intent = session.query(m.ExecutionIntent).filter_by(live_run_id=hers.run_id).first()
    assert intent is not None
    with pytest.raises(NotFound):
        read.intent_steps(me, intent.intent_id)


def test_ownership_a_grant_shows_the_account_and_its_revocation_hides_it_again(two: Any) -> None:
    """A granted account's runs appear among mine, and leave as soon as the grant is revoked."""
    seed, _, hers, me, _ = two
    read = ReadSide(seed.engine)
    seed.add([m.AccountGrant(account_id=hers.account_id, user_id=me.user_id, granted_at=clock.now())])
    assert {row.bot for row in read.fleet(me)} == {"Mine", "Hers"}
    with Session(seed.engine) as session:
        grant = session.get_one(m.AccountGrant, (hers.account_id, me.user_id))
        grant.revoked_at = clock.now()
        session.commit()
    assert {row.bot for row in read.fleet(me)} == {"Mine"}


def test_realised_money_is_the_exact_sum_of_the_trades(two: Any) -> None:
    """What a run earned equals the sum over its trades, to the last cent, as Decimals."""
    seed, mine, _, me, _ = two
    read = ReadSide(seed.engine)
    row = read.run(me, mine.run_id)
    trades = read.trades(me, run_id=mine.run_id)
    assert row.realised == sum((trade.net for trade in trades), Decimal(0))
    assert row.closed_trades == sum(trade.status == "closed" for trade in trades) == 3
    assert row.open_positions == sum(trade.status == "open" for trade in trades) == 1
    assert row.realised == mine.equity - 10_000


def test_totals_brought_up_to_date_equal_totals_read_anew(two: Any) -> None:
    """Polling with the same totals while a run trades gives, each time, what a fresh read gives."""
    seed, mine, _, me, _ = two
    read, kept = ReadSide(seed.engine), Totals()
    for _ in range(6):
        mine.advance(23)
        assert read.fleet(me, totals=kept) == read.fleet(me)


def test_a_trip_counts_while_it_is_in_force(two: Any) -> None:
    """A guardrail's rule shows at its run until its end on the platform's clock, or until it is reset."""
    seed, mine, _, me, _ = two
    read = ReadSide(seed.engine)
    assert read.run(me, mine.run_id).trips == ("daily_loss",)
    cursor = read.run(me, mine.run_id).cursor
    for values, expected in (
        ({"until": cursor + timedelta(hours=1)}, ("daily_loss",)),
        ({"until": cursor - timedelta(hours=1)}, ()),
        ({"until": None, "reset_at": clock.now()}, ()),
    ):
        with Session(seed.engine) as session:
            trip = session.query(m.GuardrailTrip).filter_by(live_run_id=mine.run_id).one()
            for name, value in values.items():
                setattr(trip, name, value)
            session.commit()
        assert read.run(me, mine.run_id).trips == expected


def test_an_unknown_intent_asks_for_attention(two: Any) -> None:
    """A run with an intent in UNKNOWN is counted as one that a human should look at."""
    seed, mine, _, me, _ = two
    read = ReadSide(seed.engine)
    with Session(seed.engine) as session:
        mine.intent(session, "OPEN_TRADE", "BUY", 100, "UNKNOWN", None, "no answer within 10 s")
        session.commit()
    row = read.run(me, mine.run_id)
    assert row.unresolved_intents == 1
    assert row.needs_attention
    assert [intent.reason for intent in read.intents(me, states=("UNKNOWN",))] == ["no answer within 10 s"]


def test_intent_steps_tell_the_way_of_an_intent_in_order(two: Any) -> None:
    """The states of a filled intent come oldest first, each beginning where the one before ended."""
    seed, mine, _, me, _ = two
    read = ReadSide(seed.engine)
    (intent, *_) = read.intents(me, run_id=mine.run_id)
    steps = read.intent_steps(me, intent.intent_id)
    assert [step.to_state for step in steps] == ["NEW", "CLAIMED", "SENDING", "FILLED"]
    assert [step.from_state for step in steps[1:]] == [step.to_state for step in steps[:-1]]


def test_events_after_an_id_are_the_newer_ones_oldest_first(two: Any) -> None:
    """The cursor leaves out what was seen, and a limit keeps the newest."""
    seed, mine, _, me, _ = two
    read = ReadSide(seed.engine)
    everything = read.events(me, run_id=mine.run_id)
    middle = everything[len(everything) // 2].event_id
    assert read.events(me, run_id=mine.run_id, after=middle) == [row for row in everything if row.event_id > middle]
    assert read.events(me, run_id=mine.run_id, limit=2) == everything[-2:]


def test_system_counts_what_waits_in_the_outbox(two: Any) -> None:
    """Undelivered outbox rows of visible accounts are counted, with the oldest one's birth; delivered ones are not."""
    seed, mine, hers, me, _ = two
    read = ReadSide(seed.engine)
    born = clock.now() - timedelta(minutes=5)
    for run, published in ((mine, None), (mine, clock.now()), (hers, None)):
        with Session(seed.engine) as session:
            intent = session.query(m.ExecutionIntent).filter_by(live_run_id=run.run_id).first()
            session.add(
                m.Outbox(account_id=run.account_id, intent_id=intent.intent_id, idempotency_key="k", created_at=born,
                         published_at=published)
            )  # fmt: skip
            session.commit()
    state = read.system(me)
    assert state.outbox_depth == 1
    assert state.oldest_undelivered == born
    assert state.runs_by_status == {"RUNNING": 1}


def test_the_fleet_carries_the_drift_that_was_measured_last(seeding, seed):  # type: ignore[no-untyped-def]
    """The newest drift event of a run counts; a run without one has none, and a stranger sees neither."""
    from decimal import Decimal

    from sqlalchemy.orm import Session

    from panel_app.data_store import DataStore
    from toolkit.execution.principal import Principal

    run = seed.run(seed.account(), seed.version(), seeding.made_bars(60))
    other = seed.run(seed.account("other"), seed.version("Other"), seeding.made_bars(60))
    run.advance(20)
    with Session(seed.engine) as session:
        for gap in ("-3.00", "-4.50"):
            run.event(session, "drift", "drift", 19, profit_gap=gap)
        session.commit()
    mine = Principal(seed.user_id, "local")
    store = DataStore(seed.engine, seed.home, mine)
    found = {row.live_run_id: row.drift for row in store.fleet().runs}
    assert found == {run.run_id: Decimal("-4.50"), other.run_id: None}
    stranger = Principal(seed.user("eve"), "eve")
    assert store.operations.drifts(stranger, [run.run_id]) == {}
    store.close()


def test_the_drift_history_holds_every_measure_newest_first_and_only_for_who_may_see_it(seeding, seed):  # type: ignore[no-untyped-def]
    """Each stored measure is a row with its gap and counts; other kinds of event are not, and a stranger gets none."""
    from toolkit.store.people.operations import Operations

    run = seed.run(seed.account(), seed.version(), seeding.made_bars(60))
    with Session(seed.engine) as session:
        for gap, level in (("0", "info"), ("-4.50", "warning")):
            run.event(session, "drift", f"gap {gap}", 10, level, profit_gap=gap, matched=7, missing=["a"], extra=[])
        run.event(session, "fill", "no drift", 10)
        session.commit()
    operations = Operations(seed.engine)
    found = operations.drift_history(Who(seed.user_id), run.run_id)
    assert [(mark.profit_gap, mark.level, mark.matched, mark.missing, mark.extra) for mark in found] == [
        (Decimal("-4.50"), "warning", 7, 1, 0), (Decimal(0), "info", 7, 1, 0),
    ]  # fmt: skip
    assert operations.drift_history(Who(seed.user("eve")), run.run_id) == []


def test_the_alerts_of_a_run_are_those_that_stand_and_name_it(seeding, seed):  # type: ignore[no-untyped-def]
    """A cleared one and one of another run are left out; a stranger gets none."""
    from toolkit.store.people.operations import Operations
    from toolkit.store.upkeep.alerts import clear_others, put_alert

    account = seed.account()
    runs = [seed.run(account, seed.version(name), seeding.made_bars(60)) for name in ("A", "B")]
    with seed.engine.begin() as connection:
        for kind in ("stale", "drift"):
            for run in runs:
                put_alert(connection, clock.now(), key=f"{kind}:{run.run_id}", account_id=account, level="error",
                          title=f"{kind} of a run", body="look")  # fmt: skip
        clear_others(connection, clock.now(), still=[], looked_at=["drift:"])
    operations = Operations(seed.engine)
    assert [row.title for row in operations.alerts(Who(seed.user_id), runs[0].run_id)] == ["stale of a run"]
    assert operations.alerts(Who(seed.user("eve")), runs[0].run_id) == []
