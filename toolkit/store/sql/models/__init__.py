"""Every table of the database, as SQLAlchemy models; hot paths use Core on ``Model.__table__``.

Rules kept by all tables: moments are UTC to the microsecond, amounts are Decimals, identities are UUIDs made by us, and a
secret is only ever a reference to where the secret lives.
"""

from __future__ import annotations

from toolkit.store.sql.models.base import Base
from toolkit.store.sql.models.bots import Bot, BotVersion, LiveRun
from toolkit.store.sql.models.execution import (
    AccountLease,
    ExecutionIntent,
    IntentEvent,
    LiveRunTradeLink,
    Order,
    Outbox,
    PlatformEvent,
    Trade,
)
from toolkit.store.sql.models.people import Account, AccountGrant, User
from toolkit.store.sql.models.watching import (
    AlertState,
    Audit,
    BalanceCheck,
    BarSeen,
    EquityMark,
    GuardrailTrip,
    RunEvent,
)

__all__ = [
    "Account",
    "AccountGrant",
    "AccountLease",
    "AlertState",
    "Audit",
    "BalanceCheck",
    "BarSeen",
    "Base",
    "Bot",
    "BotVersion",
    "EquityMark",
    "ExecutionIntent",
    "GuardrailTrip",
    "IntentEvent",
    "LiveRun",
    "LiveRunTradeLink",
    "Order",
    "Outbox",
    "PlatformEvent",
    "RunEvent",
    "Trade",
    "User",
]
