"""The page in a real browser: it shows the runs, follows a replay by itself, and asks nothing of the outside."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from toolkit.store.sql.models import Audit, LiveRun

ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000


def _open_run(tab: Any, served: Any) -> None:
    tab.page.goto(f"{served.url}?run={served.run.run_id}")
    tab.page.get_by_text("EmaCross v1").first.wait_for(timeout=WAIT_MS)
    tab.page.locator(".bk-Figure").first.wait_for(timeout=WAIT_MS)


def _bars_shown(tab: Any) -> str:
    return str(tab.page.get_by_text("bars of").first.inner_text())


def test_browser_shows_the_row_of_every_run_the_failed_one_first(tab: Any, served: Any) -> None:
    """The fleet lists all runs, what needs a human on top, without a console error or an outside request."""
    tab.page.goto(served.url)
    rows = tab.page.locator(".tabulator-row")
    rows.nth(2).wait_for(timeout=WAIT_MS)
    assert rows.count() >= 3
    assert "Error" in rows.nth(0).inner_text()
    assert "EmaCross" in rows.nth(1).inner_text()
    assert str(served.run.run_id)[:8] in rows.nth(1).inner_text()
    tab.quiet()


def test_browser_shows_what_came_from_outside_as_text_only(tab: Any, served: Any) -> None:
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


def test_browser_opens_a_run_by_a_click_and_draws_its_charts(tab: Any, served: Any) -> None:
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


def test_browser_follows_a_replay_by_itself(tab: Any, served: Any) -> None:
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


def _chart_end(tab: Any) -> float:
    return float(tab.page.evaluate(CHART_END))


def test_browser_says_so_when_a_run_is_not_there(tab: Any, served: Any) -> None:
    """An unknown run id, and one that is no id at all, get a plain sentence instead of a page of errors."""
    for wrong in ("00000000-0000-0000-0000-000000000000", "<b>nonsense"):
        tab.page.goto(f"{served.url}?run={wrong}")
        tab.page.get_by_text("There is no run").first.wait_for(timeout=WAIT_MS)
    tab.quiet()


@pytest.mark.parametrize("width", [390, 1400])
def test_browser_changes_between_light_and_dark_and_fits_a_phone(tab: Any, served: Any, width: int) -> None:
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
    "letters": ("Dead letters", "Nothing here yet"),
    "users": ("Users", "admin"),
    "audit": ("Audit trail", "Who"),
}


@pytest.mark.parametrize("name", PAGES)
def test_browser_opens_every_page_of_the_menu(tab: Any, served: Any, name: str) -> None:
    """Each page has its heading and its rows, and is clean."""
    heading, row = PAGES[name]
    tab.page.goto(f"{served.url}?page={name}")
    tab.page.locator(".title", has_text=heading).wait_for(timeout=WAIT_MS)
    tab.page.get_by_text(row).first.wait_for(timeout=WAIT_MS)
    tab.quiet()


def test_browser_shows_the_way_of_the_intent_that_is_clicked(tab: Any, served: Any) -> None:
    """A click on an intent lists its states in order, each with the time it took."""
    tab.page.goto(f"{served.url}?page=intents")
    tab.page.locator(".tabulator-row").first.locator(".tabulator-cell").nth(2).click(timeout=WAIT_MS)
    way = tab.page.get_by_text("The way of intent")
    way.wait_for(timeout=WAIT_MS)
    words = way.locator("xpath=..").inner_text()
    assert words.index("New") < words.index("Claimed") < words.index("Sending") < words.index("Filled")
    tab.quiet()


def test_browser_stops_a_run_only_after_asking(tab: Any, served: Any, seeding: ModuleType) -> None:
    """Stop asks first; declined, nothing changes; agreed to, the run is STOPPING, audited, and the page says so."""
    run = served.seed.run(
        served.seed.account(f"stop-{monotonic()}"), served.seed.version("Stoppable"), seeding.made_bars(300)
    )
    run.advance(100)
    tab.page.goto(f"{served.url}?run={run.run_id}")
    tab.ask("Stop")
    question = tab.page.get_by_role("dialog").get_by_text("No entry leaves any more")
    question.wait_for(timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Leave it").click(timeout=WAIT_MS)
    question.wait_for(state="hidden", timeout=WAIT_MS)
    assert _status(served, run) == "RUNNING"
    tab.agree("Stop")
    tab.page.locator(".chip", has_text="Stopping").wait_for(timeout=WAIT_MS)
    assert _status(served, run) == "STOPPING"
    assert ("local", "run.stop") in _audit(served, run)
    assert tab.page.get_by_role("button", name="Stop", exact=True).count() == 0
    tab.quiet()


def test_browser_halts_and_resumes_an_account(tab: Any, served: Any, seeding: ModuleType) -> None:
    """The kill switch works from a run's page, both ways, and shows at the run."""
    run = served.seed.run(
        served.seed.account(f"halt-{monotonic()}"), served.seed.version("Haltable"), seeding.made_bars(300)
    )
    run.advance(50)
    tab.page.goto(f"{served.url}?run={run.run_id}")
    tab.agree("Halt account", fill={"Reason": "a drill"})
    tab.page.locator(".chip", has_text="account halted").wait_for(timeout=WAIT_MS)
    tab.agree("Resume account")
    tab.page.locator(".chip", has_text="account halted").wait_for(state="hidden", timeout=WAIT_MS)
    tab.quiet()


def _status(served: Any, run: Any) -> str:
    with served.seed.engine.connect() as connection:
        wanted = select(LiveRun.status).where(LiveRun.live_run_id == run.run_id)
        return str(connection.execute(wanted).scalar_one())


def _audit(served: Any, run: Any) -> list[tuple[str, str]]:
    with served.seed.engine.connect() as connection:
        wanted = select(Audit.principal, Audit.action).where(Audit.subject == str(run.run_id))
        return [(row[0], row[1]) for row in connection.execute(wanted)]
