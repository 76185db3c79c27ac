"""The page in a real browser: it shows the runs, follows a replay by itself, and asks nothing of the outside."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from toolkit.store.models import Audit, LiveRun

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROOT = Path(__file__).parents[2]
WAIT_MS = 30_000


def _missing() -> str:
    if not CHROMIUM.exists():
        return f"no browser at {CHROMIUM}: install Debian's package chromium"
    for package in ("playwright", "panel", "panel_material_ui"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    return ""


@pytest.fixture(scope="module")
def seeding() -> ModuleType:
    """The helper that writes rows through the models."""
    path = ROOT / "tests/unit/panel_app/seeding.py"
    spec = importlib.util.spec_from_file_location("panel_seeding_for_browser", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Served:
    """A running page and the rows behind it."""

    url: str
    seed: Any
    run: Any
    others: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def served(seeding: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`panel serve` on a free loopback port, over a database with three runs."""
    missing = _missing()
    if missing:
        if os.environ.get("SEATRIAL_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    home = tmp_path_factory.mktemp("home")
    seed = seeding.Seed(home)
    account = seed.account()
    bars = seeding.made_bars(2000)
    run = seed.run(account, seed.version("EmaCross"), bars)
    run.advance(600)
    broken = seed.run(account, seed.version("<img src=x onerror=alert(1)>"), bars)
    broken.advance(60)
    broken.set(status="ERROR", last_error="<script>document.title='owned'</script>")
    stopped = seed.run(account, seed.version("DonchianBreakout"), bars)
    stopped.advance(300)
    stopped.set(status="STOPPED")
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
    ]
    with (home / "panel.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "SEATRIAL_HOME": str(home)}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{port}/app"
            _wait_until_up(url, server, home / "panel.log")
            yield Served(url, seed, run, [broken, stopped])
        finally:
            server.terminate()
            server.wait(timeout=20)
            seed.engine.dispose()


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = monotonic() + 60
    while monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"panel serve ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            sleep(0.2)
    pytest.fail(f"panel serve did not answer within 60 s: {log.read_text()[-2000:]}")


@dataclass
class Tab:
    """A browser tab and what it complained about or tried to reach."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def quiet(self) -> None:
        """Assert that nothing was complained about and nothing outside was asked for."""
        assert self.outside == []
        assert self.complaints == []


@pytest.fixture(scope="module")
def browser(served: Served) -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A fresh tab that lets nothing out of this machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    made = Tab(context.new_page())

    def guard(route: Any) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            route.continue_()
        else:
            made.outside.append(url)
            route.abort()

    made.page.route("**/*", guard)
    made.page.on("console", lambda said: said.type == "error" and made.complaints.append(said.text))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    yield made
    context.close()


def _open_run(tab: Tab, served: Served) -> None:
    tab.page.goto(f"{served.url}?run={served.run.run_id}")
    tab.page.get_by_text("EmaCross v1").first.wait_for(timeout=WAIT_MS)
    tab.page.locator(".bk-Figure").first.wait_for(timeout=WAIT_MS)


def _bars_shown(tab: Tab) -> str:
    return str(tab.page.get_by_text("bars of").first.inner_text())


def test_browser_shows_the_row_of_every_run_the_failed_one_first(tab: Tab, served: Served) -> None:
    """The fleet lists all runs, what needs a human on top, without a console error or an outside request."""
    tab.page.goto(served.url)
    rows = tab.page.locator(".tabulator-row")
    rows.nth(2).wait_for(timeout=WAIT_MS)
    assert rows.count() >= 3
    assert "Error" in rows.nth(0).inner_text()
    assert "EmaCross" in rows.nth(1).inner_text()
    assert str(served.run.run_id)[:8] in rows.nth(1).inner_text()
    tab.quiet()


def test_browser_shows_what_came_from_outside_as_text_only(tab: Tab, served: Served) -> None:
    """A bot name and an error text that hold markup are shown as they are written, and nothing in them runs."""
    dialogs: list[str] = []
    tab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    tab.page.goto(served.url)
    tab.page.get_by_text("<img src=x onerror=alert(1)>").first.wait_for(timeout=WAIT_MS)
    tab.page.goto(f"{served.url}?run={served.others[0].run_id}")
    tab.page.get_by_text("<script>document.title='owned'</script>").first.wait_for(timeout=WAIT_MS)
    assert dialogs == []
    assert tab.page.title() == "Seatrial"
    tab.quiet()


def test_browser_opens_a_run_by_a_click_and_draws_its_charts(tab: Tab, served: Served) -> None:
    """Clicking a run's row opens its page: a price chart, an equity chart with drawdown, and its trades."""
    tab.page.goto(served.url)
    tab.page.locator(".tabulator-row", has_text="EmaCross").locator(".tabulator-cell").nth(1).click(timeout=WAIT_MS)
    tab.page.locator(".bk-Figure").nth(2).wait_for(timeout=WAIT_MS)
    assert str(served.run.run_id) in tab.page.url
    assert tab.page.locator(".bk-Figure canvas").first.is_visible()
    tab.page.get_by_role("tab", name="Trades").click(timeout=WAIT_MS)
    tab.page.locator(".tabulator-row", has_text="Sell").first.wait_for(timeout=WAIT_MS)
    assert "Sell" in tab.page.locator(".tabulator").inner_text()
    tab.quiet()


def test_browser_follows_a_replay_by_itself(tab: Tab, served: Served) -> None:
    """Bars that are committed while the page is open arrive without a reload, in the figures and in the chart."""
    _open_run(tab, served)
    before = _bars_shown(tab)
    drawn = _chart_end(tab)
    for _ in range(5):
        served.run.advance(40)
        tab.page.wait_for_timeout(200)
    expected = f"{served.run.row:,} bars of 2,000"
    assert before != expected
    tab.page.get_by_text(expected).first.wait_for(timeout=WAIT_MS)
    tab.page.wait_for_function(f"(end) => Math.abs(({CHART_END})() - end) < 0.01", arg=drawn + 200, timeout=WAIT_MS)
    tab.quiet()


CHART_END = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
    if (m.type == 'Figure' && m.name == 'price') return m.x_range.end; return -1; }"""


def _chart_end(tab: Tab) -> float:
    return float(tab.page.evaluate(CHART_END))


def test_browser_says_so_when_a_run_is_not_there(tab: Tab, served: Served) -> None:
    """An unknown run id, and one that is no id at all, get a plain sentence instead of a page of errors."""
    for wrong in ("00000000-0000-0000-0000-000000000000", "<b>nonsense"):
        tab.page.goto(f"{served.url}?run={wrong}")
        tab.page.get_by_text("There is no run").first.wait_for(timeout=WAIT_MS)
    tab.quiet()


def test_browser_hides_a_run_on_an_account_of_somebody_else(tab: Tab, served: Served, seeding: ModuleType) -> None:
    """The run of another user is neither in the list nor reachable by its address."""
    other = served.seed.user(f"eve-{monotonic()}")
    account = served.seed.account("hers", owner=other)
    hers = served.seed.run(account, served.seed.version("Secret", owner=other), seeding.made_bars(100), owner=other)
    tab.page.goto(served.url)
    tab.page.locator(".tabulator-row").nth(2).wait_for(timeout=WAIT_MS)
    assert tab.page.get_by_text("Secret").count() == 0
    tab.page.goto(f"{served.url}?run={hers.run_id}")
    tab.page.get_by_text("There is no run").first.wait_for(timeout=WAIT_MS)
    tab.quiet()


@pytest.mark.parametrize("width", [390, 1400])
def test_browser_changes_between_light_and_dark_and_fits_a_phone(tab: Tab, served: Served, width: int) -> None:
    """The toggle turns the page dark, and at phone width nothing makes it scroll sideways."""
    tab.page.set_viewport_size({"width": width, "height": 844})
    _open_run(tab, served)
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(background)
    tab.page.get_by_role("button", name="Toggle theme").click(timeout=WAIT_MS)
    tab.page.wait_for_function(f"(light) => ({background})() !== light", arg=light, timeout=WAIT_MS)
    assert tab.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    tab.quiet()


PAGES = {
    "intents": ("Intents", "Filled"),
    "accounts": ("Accounts", "paper-1"),
    "versions": ("Bots and versions", "DonchianBreakout"),
    "trips": ("Guardrail trips", "Nothing here yet"),
    "system": ("System", "sqlite"),
}


@pytest.mark.parametrize("name", PAGES)
def test_browser_opens_every_page_of_the_menu(tab: Tab, served: Served, name: str) -> None:
    """Each page has its heading and its rows, and is clean."""
    heading, row = PAGES[name]
    tab.page.goto(f"{served.url}?page={name}")
    tab.page.locator(".title", has_text=heading).wait_for(timeout=WAIT_MS)
    tab.page.get_by_text(row).first.wait_for(timeout=WAIT_MS)
    tab.quiet()


def test_browser_shows_the_way_of_the_intent_that_is_clicked(tab: Tab, served: Served) -> None:
    """A click on an intent lists its states in order, each with the time it took."""
    tab.page.goto(f"{served.url}?page=intents")
    tab.page.locator(".tabulator-row").first.locator(".tabulator-cell").nth(2).click(timeout=WAIT_MS)
    way = tab.page.get_by_text("The way of intent")
    way.wait_for(timeout=WAIT_MS)
    words = way.locator("xpath=..").inner_text()
    assert words.index("New") < words.index("Claimed") < words.index("Sending") < words.index("Filled")
    tab.quiet()


def test_browser_stops_a_run_only_after_asking(tab: Tab, served: Served, seeding: ModuleType) -> None:
    """Stop asks first; declined, nothing changes; agreed to, the run is STOPPING, audited, and the page says so."""
    run = served.seed.run(
        served.seed.account(f"stop-{monotonic()}"), served.seed.version("Stoppable"), seeding.made_bars(300)
    )
    run.advance(100)
    tab.page.goto(f"{served.url}?run={run.run_id}")
    stop = tab.page.get_by_role("button", name="Stop", exact=True)
    stop.click(timeout=WAIT_MS)
    tab.page.get_by_text("No entry leaves any more").wait_for(timeout=WAIT_MS)
    tab.page.wait_for_timeout(500)  # the dialog slides in; a click on its way may hit nothing
    tab.page.get_by_role("button", name="Leave it").click(timeout=WAIT_MS)
    tab.page.get_by_text("No entry leaves any more").wait_for(state="hidden", timeout=WAIT_MS)
    assert _status(served, run) == "RUNNING"
    stop.click(timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Yes, do it").click(timeout=WAIT_MS)
    tab.page.locator(".chip", has_text="Stopping").wait_for(timeout=WAIT_MS)
    assert _status(served, run) == "STOPPING"
    assert ("local", "run.stop") in _audit(served, run)
    assert stop.count() == 0
    tab.quiet()


def test_browser_halts_and_resumes_an_account(tab: Tab, served: Served, seeding: ModuleType) -> None:
    """The kill switch works from a run's page, both ways, and shows at the run."""
    run = served.seed.run(
        served.seed.account(f"halt-{monotonic()}"), served.seed.version("Haltable"), seeding.made_bars(300)
    )
    run.advance(50)
    tab.page.goto(f"{served.url}?run={run.run_id}")
    tab.page.get_by_role("button", name="Halt account").click(timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Yes, do it").click(timeout=WAIT_MS)
    tab.page.locator(".chip", has_text="account halted").wait_for(timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Resume account").click(timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Yes, do it").click(timeout=WAIT_MS)
    tab.page.locator(".chip", has_text="account halted").wait_for(state="hidden", timeout=WAIT_MS)
    tab.quiet()


def _status(served: Served, run: Any) -> str:
    with served.seed.engine.connect() as connection:
        wanted = select(LiveRun.status).where(LiveRun.live_run_id == run.run_id)
        return str(connection.execute(wanted).scalar_one())


def _audit(served: Served, run: Any) -> list[tuple[str, str]]:
    with served.seed.engine.connect() as connection:
        wanted = select(Audit.principal, Audit.action).where(Audit.subject == str(run.run_id))
        return [(row[0], row[1]) for row in connection.execute(wanted)]
