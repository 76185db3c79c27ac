"""Once a platform day: does the platform's balance say what our trades say?"""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from toolkit.errors import ReadFailed, must_be
from toolkit.live.engine import Desk, Engine
from toolkit.live.watch.alerts import Alert
from toolkit.store.upkeep.balances import BalanceRow, add_check, booked_by_trades, last_check

_READS = 5


def balance_due(engine: Engine, desk: Desk) -> bool:
    """Whether the platform has begun a day since the account's last check."""
    last = newest_check(engine, desk)
    return last is None or desk.platform.now().date() > last.platform_time.date()


def newest_check(engine: Engine, desk: Desk) -> BalanceRow | None:
    """Return the account's last check, None before its first."""
    with engine.work(engine.service, write=False) as work:
        return last_check(work.connection, desk.account.account_id)


def check_balance(engine: Engine, desk: Desk) -> BalanceRow:
    """Compare the platform's balance with what our trades booked since the last check, and keep the result.

    The first check of an account only takes the balance down. To be called by the process that holds the account.

    Raises
    ------
    ReadFailed
        When the book kept changing while it was read; a difference is never concluded from such a read.
    """
    account_id = desk.account.account_id
    balance, booked = _still(engine, desk, account_id)
    with engine.work(engine.service) as work:
        db = work.connection
        last = last_check(db, account_id)
        difference = Decimal(0) if last is None else (balance - last.balance) - (booked - last.booked)
        detail = "first check: the balance as it stands" if last is None else _words(difference, desk, last)
        row = BalanceRow(account_id, engine.now(), desk.platform.now(), balance, booked, difference, detail)
        add_check(db, row)
        work.commit()
    return row


def balance_alert(desk: Desk, row: BalanceRow | None) -> Alert | None:
    """Return an alert when money moved that no trade of ours explains."""
    if row is None or not row.difference:
        return None
    day = row.platform_time.date().isoformat()
    title = f"balance of {desk.account.name} differs from our trades"
    return Alert(f"balance:{desk.account.account_id}:{day}", "warning", title, row.detail, desk.account.account_id)


def _still(engine: Engine, desk: Desk, account_id: UUID) -> tuple[Decimal, Decimal]:
    """Read balance and bookings at one moment: nothing was booked between two looks at the platform."""
    for _ in range(_READS):
        desk.service.sync_book()
        before = desk.platform.book().account.balance
        with engine.work(engine.service, write=False) as work:
            booked = booked_by_trades(work.connection, account_id)
        changed = desk.service.sync_book()
        if not changed.changes and desk.platform.book().account.balance == before:
            return before, booked
    raise ReadFailed(
        must_be(f"book of {desk.account.name}", f"still for one of {_READS} reads", "changing", "try again later")
    )


def _words(difference: Decimal, desk: Desk, last: BalanceRow) -> str:
    since = last.platform_time.isoformat()
    if not difference:
        return f"equal to our trades since {since}"
    money = f"{difference:+} {desk.account.currency}"
    return f"{money} since {since} are not of our trades: a deposit, a withdrawal, a fee, or trades made by hand"
