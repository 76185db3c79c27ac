"""The page under load: many runs that update every second, real browsers, half-open clients.

    python tests/benchmarks/panel.py --runs 100 --browsers 2 --half-open 18 --seconds 30

Prints one JSON object: seconds until the fleet is painted, milliseconds from a row's commit to its text in the browser
(p50, p95, of a run page), the server's share of one core and its memory, and the share that half-open clients cost (clients
that fetched the page and opened the websocket, but never said that they are ready).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

from tornado.websocket import websocket_connect

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
]


def _seeding() -> Any:
    path = ROOT / "tests/unit/panel_app/seeding.py"
    spec = importlib.util.spec_from_file_location("panel_seeding_bench", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Usage:
    """Processor time and memory of a process, from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._tick = os.sysconf("SC_CLK_TCK")
        self.restart()

    def _used(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / self._tick

    def restart(self) -> None:
        """Begin a new span."""
        self._from, self._at = self._used(), time.monotonic()

    @property
    def core_percent(self) -> float:
        """Share of one core since the span began, in percent."""
        return round(100 * (self._used() - self._from) / (time.monotonic() - self._at), 1)

    @property
    def resident_mb(self) -> float:
        """Memory now, in megabytes."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _serve(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "panel",
        "serve",
        "panel_app/app.py",
        "--port",
        str(port),
        "--address",
        "127.0.0.1",
        "--warm",
    ]
    log = (home / "panel.log").open("wb")
    server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SEATRIAL_HOME": str(home)}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/app"
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=60).read()
            return server, url
        except OSError:
            time.sleep(0.2)
    server.terminate()
    raise SystemExit(f"the page did not come up: {(home / 'panel.log').read_text()[-2000:]}")


def _half_open(url: str, count: int, seconds: float, usage: Usage) -> float:
    async def hold() -> float:
        sockets = []
        for _ in range(count):
            page = urllib.request.urlopen(url, timeout=60).read().decode()
            token = re.search(r'"token":"([^"]+)"', page)
            assert token is not None
            sockets.append(
                await websocket_connect(url.replace("http", "ws", 1) + "/ws", subprotocols=["bokeh", token.group(1)])
            )
        await asyncio.sleep(2)
        usage.restart()
        await asyncio.sleep(seconds)
        cost = usage.core_percent
        for held in sockets:
            held.close()
        return cost

    return asyncio.run(hold())


def measure(runs: int, browsers: int, half_open: int, seconds: float) -> dict[str, Any]:
    """Run the load and return the figures."""
    from playwright.sync_api import sync_playwright

    seeding = _seeding()
    home = Path(tempfile.mkdtemp(prefix="seatrial-bench-"))
    seed = seeding.Seed(home)
    bars = seeding.made_bars(20_000)
    account = seed.account()
    fleet = [seed.run(account, seed.version(f"Bot{number:03d}"), bars) for number in range(runs)]
    for run in fleet:
        run.advance(200)
    server, url = _serve(home)
    usage = Usage(server.pid)
    figures: dict[str, Any] = {
        "runs": runs,
        "browsers": browsers,
        "half_open": half_open,
        "load_average": os.getloadavg()[0],
    }
    stop = Event()

    def keep_updating() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            for run in fleet[1:]:
                run.advance(1)
            stop.wait(max(0.0, 1.0 - (time.monotonic() - begun)))

    try:
        usage.restart()
        time.sleep(5)
        figures["idle_core_percent"] = usage.core_percent
        figures["half_open_core_percent"] = _half_open(url, half_open, 10, usage)
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            pages = [chromium.new_page(viewport={"width": 1400, "height": 1000}) for _ in range(browsers)]
            begun = time.monotonic()
            pages[0].goto(url)
            pages[0].locator(".tabulator-row").first.wait_for(timeout=60_000)
            figures["fleet_painted_seconds"] = round(time.monotonic() - begun, 2)
            for page in pages[1:]:
                page.goto(url)
                page.locator(".tabulator-row").first.wait_for(timeout=60_000)
            watched = fleet[0]
            begun = time.monotonic()
            pages[0].goto(f"{url}?run={watched.run_id}")
            pages[0].locator(".bk-Figure").nth(2).wait_for(timeout=60_000)
            figures["run_painted_seconds"] = round(time.monotonic() - begun, 2)
            pages[0].wait_for_timeout(2000)
            writer = Thread(target=keep_updating, daemon=True)
            writer.start()
            usage.restart()
            delays: list[float] = []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                watched.advance(1)
                committed = time.monotonic()
                pages[0].get_by_text(f"{watched.row:,} bars of").first.wait_for(timeout=30_000)
                delays.append((time.monotonic() - committed) * 1000)
                pages[0].wait_for_timeout(137)  # drifts against the store's interval
            figures["loaded_core_percent"] = usage.core_percent
            figures["resident_mb"] = usage.resident_mb
            figures["updates_seen"] = len(delays)
            figures["commit_to_screen_ms_p50"] = round(median(delays))
            figures["commit_to_screen_ms_p95"] = round(quantiles(delays, n=20)[-1])
            stop.set()
            writer.join(timeout=30)
            chromium.close()
    finally:
        stop.set()
        server.terminate()
        server.wait(timeout=20)
        seed.engine.dispose()
    return figures


def main() -> None:
    """Read the options, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--browsers", type=int, default=2)
    options.add_argument("--half-open", type=int, default=18)
    options.add_argument("--seconds", type=float, default=30)
    given = options.parse_args()
    print(json.dumps(measure(given.runs, given.browsers, given.half_open, given.seconds), indent=1))


if __name__ == "__main__":
    main()
