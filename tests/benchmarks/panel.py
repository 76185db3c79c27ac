"""The page under load: many runs that update every second, websocket clients, real browsers, half-open clients, long runs.

    python tests/benchmarks/panel.py [--json] [--runs 100] [--clients 18] [--browsers 2] [--seconds 30] [--bars 100000]

One warm ``panel serve`` process. Measured: seconds until the fleet and a run are painted; milliseconds from a row's commit to
its text in the browser (p50, p95, of a run page) while everything is under way; the server's share of one core and its memory;
what half-open clients cost (they opened the websocket and never said that they are ready); how long pushes lag when the
server is overloaded; how long a run page with many bars takes to open and how many frames a second it pans at.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

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


@contextmanager
def _clients(url: str, count: int, seconds: float, *, half_open: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Hold websocket clients in a process of their own; entered once all of them are open."""
    command = [sys.executable, str(Path(__file__).with_name("panel_clients.py")), url, "--count", str(count)]
    more = ["--seconds", str(seconds), *(["--half-open"] if half_open else [])]
    holder = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        if holder.stdout.readline().strip() != "open":
            raise SystemExit("the websocket clients could not connect")
        yield holder
    finally:
        if holder.poll() is None:
            holder.terminate()
        holder.wait(timeout=30)


def _report_of(holder: subprocess.Popen[str]) -> dict[str, Any]:
    assert holder.stdout is not None
    return dict(json.loads(holder.stdout.readline()))


class Writer:
    """Lets runs move on by one bar every second, ten to a commit, until it is told to stop."""

    def __init__(self, seeding: Any, runs: list[Any]) -> None:
        self._seeding, self._runs = seeding, runs
        self._stop = Event()
        self.rounds: list[float] = []
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            for first in range(0, len(self._runs), 10):
                self._seeding.advance_together(self._runs[first : first + 10], 1)
            self.rounds.append(time.monotonic() - begun)
            self._stop.wait(max(0.0, 1.0 - self.rounds[-1]))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the load and return the figures."""
    from playwright.sync_api import sync_playwright

    seeding = _seeding()
    home = Path(tempfile.mkdtemp(prefix="seatrial-bench-"))
    seed = seeding.Seed(home)
    bars = seeding.made_bars(20_000)
    account = seed.account()
    fleet = [seed.run(account, seed.version(f"Bot{number:03d}"), bars) for number in range(given.runs)]
    seeding.advance_together(fleet, 200)
    long = seed.run(account, seed.version("Long"), seeding.made_bars(given.bars + 100, seed=11))
    long.pass_over(given.bars - 1000)
    long.advance(1000)
    server, url = _serve(home)
    usage = Usage(server.pid)
    figures: dict[str, Any] = {
        "runs": given.runs, "clients": given.clients, "browsers": given.browsers, "half_open": given.half_open,
        "bars": given.bars, "load_average_before": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    try:
        usage.restart()
        time.sleep(5)
        figures["idle_core_percent"] = usage.core_percent
        if given.half_open:
            with _clients(url, given.half_open, 15, half_open=True):
                time.sleep(3)
                usage.restart()
                time.sleep(10)
                figures["half_open_core_percent_each"] = round(
                    max(0.0, usage.core_percent - figures["idle_core_percent"]) / given.half_open, 3
                )
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            try:
                _under_load(given, seeding, fleet, url, usage, chromium, figures)
                _long_run(long, url, chromium, figures)
            finally:
                chromium.close()
        figures["resident_mb"] = usage.resident_mb
    finally:
        server.terminate()
        server.wait(timeout=20)
        seed.engine.dispose()
    return figures


def _under_load(
    given: argparse.Namespace,
    seeding: Any,
    fleet: list[Any],
    url: str,
    usage: Usage,
    chromium: Any,
    figures: dict[str, Any],
) -> None:
    pages = [chromium.new_page(viewport={"width": 1400, "height": 1000}) for _ in range(given.browsers)]
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
    with _clients(url, given.clients, given.seconds + 4) as holder, Writer(seeding, fleet[1:]) as writer:
        pages[0].wait_for_timeout(2000)
        usage.restart()
        delays: list[float] = []
        end = time.monotonic() + given.seconds
        while time.monotonic() < end:
            watched.advance(1)
            committed = time.monotonic()
            pages[0].get_by_text(f"{watched.row:,} bars of").first.wait_for(timeout=30_000)
            delays.append((time.monotonic() - committed) * 1000)
            pages[0].wait_for_timeout(637)  # drifts against the store's interval
        figures["loaded_core_percent"] = usage.core_percent
        figures["updates_seen"] = len(delays)
        figures["commit_to_screen_ms_p50"] = round(median(delays))
        figures["commit_to_screen_ms_p95"] = round(quantiles(delays, n=20)[-1])
        figures["writer_round_seconds"] = round(median(writer.rounds), 2)
        figures["websocket_clients"] = _report_of(holder)
    for page in pages:
        page.close()


#: Counts how often the price chart is really painted, from now on.
_COUNT_PAINTS = """() => {
  const views = []; const walk = (view) => { views.push(view); for (const child of view.child_views ?? []) walk(child); };
  for (const root of Object.values(Bokeh.index.roots ?? Bokeh.index)) walk(root);
  const plot = views.find((view) => view.model.type == "Figure" && view.model.name == "price");
  window.paints = 0; window.frames_seen = 0;
  const paint = plot.paint.bind(plot); plot.paint = () => { window.paints += 1; paint(); };
  const count = () => { window.frames_seen += 1; requestAnimationFrame(count); }; requestAnimationFrame(count);
}"""


def _long_run(long: Any, url: str, chromium: Any, figures: dict[str, Any]) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    begun = time.monotonic()
    page.goto(f"{url}?run={long.run_id}")
    page.locator(".bk-Figure canvas").nth(2).wait_for(timeout=60_000)
    figures["long_run_opened_seconds"] = round(time.monotonic() - begun, 2)
    page.wait_for_timeout(1500)
    for name, before in (("pan", None), ("pan_all_bars", "All")):
        if before is not None:
            page.get_by_role("button", name=before, exact=True).click()
            page.wait_for_timeout(1500)
        page.evaluate(_COUNT_PAINTS)
        box = page.locator(".bk-Figure").first.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 200, middle)
        page.mouse.down()
        page.evaluate("() => { window.paints = 0; window.frames_seen = 0; }")
        begun, place = time.monotonic(), 0
        while time.monotonic() - begun < 4:
            place += 1
            page.mouse.move(box["x"] + 200 + 400 * abs((place % 120) / 60 - 1), middle)
        seconds = time.monotonic() - begun
        figures[f"{name}_frames_each_second"] = round(page.evaluate("() => window.paints") / seconds, 1)
        figures[f"{name}_mouse_moves_each_second"] = round(place / seconds, 1)
        page.mouse.up()
    page.close()


#: Figure, what it says, its limit, and whether it must be below (or above) that.
LIMITS = (
    ("fleet_painted_seconds", "fleet painted, s", 2.0, "<"),
    ("run_painted_seconds", "run page painted, s", 2.0, "<"),
    ("commit_to_screen_ms_p95", "commit to screen, p95, ms", 1000.0, "<"),
    ("loaded_core_percent", "server, % of one core", 100.0, "<"),
    ("resident_mb", "server, MB", 600.0, "<"),
    ("half_open_core_percent_each", "a half-open client, % of one core", 1.0, "<"),
    ("long_run_opened_seconds", "run page with many bars opened, s", 4.0, "<"),
    ("pan_frames_each_second", "panning it, frames/s", 20.0, ">"),
    ("pan_all_bars_frames_each_second", "panning it with all bars in view, frames/s", 20.0, ">"),
)


def table(figures: dict[str, Any]) -> str:
    """Return the figures that have a limit as a table for people, and the others below it."""
    lines = [f"{'':46}{'measured':>10}{'limit':>10}"]
    for name, words, limit, sense in LIMITS:
        if name not in figures:
            continue
        value = figures[name]
        good = value < limit if sense == "<" else value >= limit
        lines.append(f"{words:46}{value:>10,}{sense + ' ' + format(limit, ',g'):>10}  {'ok' if good else 'MISSED'}")
    known = {name for name, *_ in LIMITS}
    rest = {name: value for name, value in figures.items() if name not in known}
    return "\n".join([*lines, "", *(f"{name.replace('_', ' ')}: {value}" for name, value in rest.items())])


def main() -> None:
    """Read the options, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--clients", type=int, default=18, help="websocket clients that answer as a browser would")
    options.add_argument("--browsers", type=int, default=2)
    options.add_argument("--half-open", type=int, default=18)
    options.add_argument("--bars", type=int, default=100_000, help="of the long run's page")
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = options.parse_args()
    figures = measure(given)
    print(json.dumps(figures, indent=1) if given.json else table(figures))


if __name__ == "__main__":
    main()
