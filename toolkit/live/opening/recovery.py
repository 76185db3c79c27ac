"""What a process does with an account before it accepts anything new: take over from a dead one, resolve, read the book.

Fail-closed: a read that does not complete raises, and the desk is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast, runtime_checkable
from uuid import UUID

from toolkit.clock import from_ns
from toolkit.errors import LeaseLost, LostRace, ToolkitError
from toolkit.execution.ledger.records import LeaseRecord
from toolkit.execution.ports import ReplayVenue, TradingPlatform
from toolkit.execution.trade_service import ReconcileReport, TradeService
from toolkit.live.feed import FeedSpec, load_replay
from toolkit.live.stepping.run_state import decode
from toolkit.store.runs import RunRecord


@runtime_checkable
class ExclusiveVenue(Protocol):
    """A platform whose journal only one process can have open, and which knows every command that ever reached it.

    Holding such a venue proves that the process of this host which held the account before is dead, so its lease need not
    run out, and a command that the venue does not know has not been accepted.
    """

    def has_received(self, tag_text: str) -> bool:
        """Tell whether a command with this tag was ever carried out or still will be."""


def prepare_venue(home: Path, platform: TradingPlatform, runs: Iterable[RunRecord]) -> None:
    """Give a paper venue the prices of every run of the account that is under way, and set its clock where they stand.

    A venue prices its positions by the replays; without them not even its book can be read.
    """
    if not isinstance(platform, ExclusiveVenue):
        return
    clock_ns = 0
    for run in runs:
        feed = FeedSpec.from_dict(json.loads(run.feed_json))
        if feed.kind == "replay":
            load_replay(home, platform, feed)
            clock_ns = max(clock_ns, decode(run.state)[0].clock_ns)
    if clock_ns:
        # After a kill the clock may stand a little earlier than the runs do; what falls due on the way is the same again.
        cast("ReplayVenue", platform).advance_clock_to(from_ns(clock_ns))


def recover(service: TradeService) -> ReconcileReport:
    """Take an account over and settle what its last owner left half-way.

    Raises
    ------
    LeaseLost
        When another live process owns the account.
    PlatformError
        When the platform cannot be read completely.
    """
    if isinstance(service.platform, ExclusiveVenue):
        _end_dead_lease(service)
    return service.reconcile()


def take_back(service: TradeService) -> list[UUID]:
    """Settle what a lease that ran out in the middle left half-way, if the account is still ours; return what is NEW again.

    A process that was frozen between claim and send finds its lease over. Where nobody took the account meanwhile, nobody else
    gives the claim back.
    """
    try:
        return service.reconcile().given_back
    except (LeaseLost, LostRace):
        return []
    except ToolkitError as error:
        if not error.retryable:
            raise
        return []


def _end_dead_lease(service: TradeService) -> None:
    with service.store.begin(service.principal) as work:
        row = work.lease(service.account_id)
        # Another host's owner may live on with a journal of its own: there only the lease's end says that it is gone.
        here = row is not None and row.owner.partition(":")[0] == service.worker.partition(":")[0]
        if row is not None and here and row.owner != service.worker:
            work.put_lease(LeaseRecord(account_id=row.account_id, owner="", token=row.token, until=None))
            work.commit()
            service.context.watch.lease_stolen()
