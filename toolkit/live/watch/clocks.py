"""Clocks beside each other: the database's, ours and a platform's."""

from __future__ import annotations

from sqlalchemy import text

from toolkit.live.engine import Desk, Engine
from toolkit.live.watch.alerts import Alert


def database_skew(engine: Engine) -> float:
    """Return the database's clock minus ours, seconds; half the way there and back is taken off."""
    postgres = engine.database.dialect.name == "postgresql"
    query = (
        "SELECT extract(epoch FROM clock_timestamp())"
        if postgres
        else "SELECT (julianday('now') - 2440587.5) * 86400.0"
    )
    with engine.work(engine.service, write=False) as work:
        before = engine.now().timestamp()
        there = float(work.connection.execute(text(query)).scalar_one())
        after = engine.now().timestamp()
    return there - (before + after) / 2


def platform_skew(engine: Engine, desk: Desk) -> float | None:
    """Return the platform's clock minus ours, seconds; None for a paper venue, whose clock is moved by us.

    A platform's clock is that of its last tick, so on a quiet market it only ever seems to be behind.
    """
    if hasattr(desk.platform, "advance_clock_to"):
        return None
    return desk.platform.now().timestamp() - engine.now().timestamp()


def clock_alerts(engine: Engine, desks: list[Desk], limit_seconds: float) -> list[Alert]:
    """Return an alert for each clock that is off: the database's either way, a platform's when it is ahead of ours."""
    found: list[Alert] = []
    skew = database_skew(engine)
    if abs(skew) > limit_seconds:
        words = f"the database's clock is {skew:+.1f} s from this host's: let both follow a time server"
        found.append(Alert("clock:database", "error", "clocks differ", words))
    for desk in desks:
        ahead = platform_skew(engine, desk)
        if ahead is not None and ahead > limit_seconds:
            words = f"the clock of {desk.account.name}'s platform is {ahead:+.1f} s ahead of this host's"
            key = f"clock:{desk.account.account_id}"
            found.append(Alert(key, "error", "clocks differ", words, desk.account.account_id))
    return found
