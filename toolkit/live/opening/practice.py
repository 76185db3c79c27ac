"""Practice accounts: MetaTrader 5 without MetaTrader, for trying the whole path on any machine."""

from __future__ import annotations

from decimal import Decimal

from toolkit.clock import from_ns
from toolkit.errors import BadInput, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.feed import bars_path, store_bars
from toolkit.live.opening.register import register_account
from toolkit.market import Bars
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord

_LOGIN, _SERVER = "5000001", "SimServer-Demo"


def open_practice_account(
    engine: Engine,
    name: str,
    bars: Bars,
    *,
    speed: float = 60.0,
    start: int = 0,
    terms: PaperAccount | None = None,
    suffix: str = "",
    clock: str = "New York + 7",
    principal: Principal | None = None,
) -> AccountRecord:
    """Register a MetaTrader 5 demo account whose terminal is the strict double, living through recorded bars.

    Everything between a run and the terminal is what trades on a real one: the session's own process, its watchdog, the
    adapter, the server's clock and names. The server's clock starts now and runs on, with or without anybody connected.

    Parameters
    ----------
    bars
        What the server's market does.
    speed
        Seconds of the server for one of the wall; 60 makes a minute bar last a second.
    start
        Row at which the server's clock begins; what lies before is its history.
    terms
        The account; 10,000 USD when left out.
    suffix, clock
        The server's symbol suffix and wall clock.
    """
    if not 0 <= start < len(bars) - 1:
        raise BadInput(must_be("start", f"0 to {len(bars) - 2}", start, "leave bars after it to live through"))
    account = terms or PaperAccount(currency="USD", balance=Decimal(10_000), leverage=30)
    fingerprint = store_bars(engine.settings.home, bars)
    folder = engine.settings.home / "practice"
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"{name}.sqlite"
    if journal.exists():
        raise BadInput(must_be("name", "new", repr(name), "a practice account of that name has traded here already"))
    return register_account(
        engine,
        name,
        platform="metatrader5",
        login=_LOGIN,
        server=_SERVER,
        currency=account.currency,
        environment="demo",
        secret_ref="",
        settings={
            "suffix": suffix,
            "clock": clock,
            "practice": {
                "path": str(journal),
                "account": account.facts(),
                "replays": [str(bars_path(engine.settings.home, fingerprint))],
                "begin": from_ns(int(bars.ts[start])).isoformat(),
                "since": engine.now().isoformat(),
                "speed": speed,
            },
        },
        principal=principal,
    )
