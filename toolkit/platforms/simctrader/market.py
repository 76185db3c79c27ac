"""A sandbox whose market lives now: recorded prices go by as minute bars of this very day, for as long as somebody wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from toolkit.clock import SYSTEM, to_ns
from toolkit.errors import BadInput, must_be
from toolkit.market import Bars
from toolkit.platforms.ctrader.access.tokens import Credentials, FileCredentials
from toolkit.platforms.simctrader.server import Sandbox
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

_TICK_SECONDS = 0.25
_MINUTE_NS = 60_000_000_000


def as_minutes(bars: Bars, began: datetime, start: int) -> Bars:
    """Return recorded bars as minute bars, row ``start`` opening at ``began``: old prices, moments a client can believe."""
    ts = to_ns(began) + (np.arange(len(bars), dtype=np.int64) - start) * _MINUTE_NS
    return Bars.from_arrays(bars.symbol, "M1", ts, **bars.columns, volume=bars.volume, instrument=bars.instrument)


def run_sandbox(
    folder: Path,
    bars: Bars,
    *,
    port: int,
    start: int,
    seconds: float,
    ready: Callable[[int, int, Path, Path], None],
    account: PaperAccount | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve a sandbox until interrupted, or for so many seconds.

    Parameters
    ----------
    folder
        Where the venue's journal, the certificate and the tokens are kept. Served again, account and market go on from
        there.
    bars
        What the market does, a row a minute.
    port
        Loopback port; 0 takes a free one.
    start
        Row at which the market opens the first time; what lies before is its history.
    seconds
        0 serves until interrupted.
    ready
        Called with port, login, certificate and the tokens' file once it listens.
    account
        Terms of the account; 10,000 USD when left out.
    stop
        Ends the serving when set.
    """
    if not 0 <= start < len(bars) - 1:
        raise BadInput(must_be("start", f"0 to {len(bars) - 2}", start, "leave bars after it to live through"))
    folder.mkdir(parents=True, exist_ok=True)
    began, first = _origin(folder / "market.json", start)
    left = len(bars) - first - (SYSTEM.now() - began) / timedelta(minutes=1)
    if left < 1:
        what = f"the market of {folder.name}"
        raise BadInput(
            must_be(what, "not over yet", f"over since {-left:.0f} minutes", "remove the folder to begin anew")
        )
    with SimulatedPlatform(folder / "venue.sqlite", account or PaperAccount(leverage=30)) as venue:
        venue.load_replay(bars.symbol, as_minutes(bars, began, first))
        venue.advance_clock_to(SYSTEM.now())
        sandbox = Sandbox(venue, folder, port=port)
        tokens = folder / "tokens.json"
        gate = sandbox.gate
        FileCredentials(tokens).save(
            Credentials(gate.client_id, gate.client_secret, gate.access_token, gate.refresh_token)
        )
        sandbox.start()
        end = SYSTEM.monotonic() + seconds
        try:
            ready(sandbox.port, sandbox.login, sandbox.certificate, tokens)
            while (not seconds or SYSTEM.monotonic() < end) and not (stop is not None and stop.is_set()):
                SYSTEM.sleep(_TICK_SECONDS)
                with venue.guard:
                    venue.advance_clock_to(SYSTEM.now())
                sandbox.publish()
        except KeyboardInterrupt:
            pass
        finally:
            sandbox.stop()


def _origin(path: Path, start: int) -> tuple[datetime, int]:
    """Return when the market began and at which row; kept, so that it goes on after a restart."""
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return datetime.fromisoformat(kept["began"]), int(kept["start"])
    began = SYSTEM.now().replace(second=0, microsecond=0)
    path.write_text(json.dumps({"began": began.isoformat(), "start": start}), encoding="utf-8")
    return began, start
