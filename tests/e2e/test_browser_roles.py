"""Roles in a real browser: a viewer only looks, a trader acts on what is his, an admin manages users; nobody sees more.

What a browser could send over the websocket beyond what its page offers is tried in tests/unit/panel_app/test_actions.py,
without the browser in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from tests.e2e.conftest import need_browser, serving
from toolkit import clock
from toolkit.store.people.passwords import PasswordFile
from toolkit.store.sql import models as m

WAIT_MS = 60_000
PASSWORD = "correct horse battery"
OPTIONS = ("--auth-module", "panel_app/auth.py", "--cookie-secret", "of this test only", "--enable-xsrf-cookies")


@dataclass
class House:
    """A page with three users: tom trades on his own account, vera looks at it, ada administers."""

    url: str
    seed: Any
    run: Any
    account_id: Any
    users: dict[str, Any] = field(default_factory=dict)

    def status(self, run: Any = None) -> str:
        """Return the status of a run, as stored."""
        wanted = select(m.LiveRun.status).where(m.LiveRun.live_run_id == (run or self.run).run_id)
        with self.seed.engine.connect() as connection:
            return str(connection.execute(wanted).scalar_one())

    def audited(self) -> list[tuple[str, str]]:
        """Return who did what, as stored."""
        with self.seed.engine.connect() as connection:
            return [(row[0], row[1]) for row in connection.execute(select(m.Audit.principal, m.Audit.action))]


@pytest.fixture(scope="module")
def house(seeding: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The page with logins."""
    need_browser()
    home = tmp_path_factory.mktemp("house")
    seed = seeding.Seed(home)
    users = {
        "tom": seed.user("tom"),
        "vera": seed.user("vera", "viewer"),
        "ada": seed.user("ada", "admin"),
        "eve": seed.user("eve"),
    }
    passwords = PasswordFile(home / "panel_users.json")
    for name in users:
        passwords.set(name, PASSWORD)
    account = seed.account("toms", owner=users["tom"])
    grant = m.AccountGrant(account_id=account, user_id=users["vera"], granted_at=clock.now())
    seed.add([grant])
    run = seed.run(account, seed.version("TomsBot", owner=users["tom"]), seeding.made_bars(400), owner=users["tom"])
    run.advance(200)
    with serving(home, *OPTIONS) as url:
        yield House(url, seed, run, account, users)
    seed.engine.dispose()


def _log_in(tab: Any, house: House, name: str) -> None:
    tab.page.goto(house.url)
    tab.page.get_by_label("Name").fill(name)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.page.get_by_role("button", name="Log in").click()
    tab.page.locator(".title", has_text="Fleet").wait_for(timeout=WAIT_MS)


def test_browser_offers_a_viewer_no_button_that_changes_anything(new_tab: Callable[..., Any], house: House) -> None:
    """Vera sees Tom's run with charts and tables, and not one action, on the run's page and on the lists."""
    tab = new_tab()
    _log_in(tab, house, "vera")
    tab.page.get_by_text("TomsBot").first.wait_for(timeout=WAIT_MS)
    assert tab.page.get_by_role("button", name="Start a run").count() == 0
    tab.page.goto(f"{house.url}?run={house.run.run_id}")
    tab.page.locator(".bk-Figure").first.wait_for(timeout=WAIT_MS)
    for name in ("Pause", "Stop", "Stop and flatten", "Halt account"):
        assert tab.page.get_by_role("button", name=name, exact=True).count() == 0, name
    tab.page.goto(f"{house.url}?page=users")
    tab.page.get_by_text("vera").first.wait_for(timeout=WAIT_MS)
    assert tab.page.get_by_text("tom", exact=True).count() == 0
    assert tab.page.get_by_role("button", name="Add a user").count() == 0
    tab.quiet()


def test_browser_shows_a_stranger_nothing_by_any_address(new_tab: Callable[..., Any], house: House) -> None:
    """Eve owns nothing and was granted nothing: fleet, lists and the run's own address show nothing of Tom's."""
    tab = new_tab()
    _log_in(tab, house, "eve")
    tab.page.goto(f"{house.url}?run={house.run.run_id}")
    tab.page.get_by_text("There is no run").first.wait_for(timeout=WAIT_MS)
    for page in ("accounts", "intents", "versions", "trips", "audit", "system"):
        tab.page.goto(f"{house.url}?page={page}")
        tab.page.locator(".title").first.wait_for(timeout=WAIT_MS)
        tab.page.wait_for_timeout(300)
        words = tab.page.locator("body").inner_text()
        assert "toms" not in words, page
        assert "TomsBot" not in words, page
    tab.quiet()


def test_browser_lets_a_trader_pause_and_resume_what_is_his(new_tab: Callable[..., Any], house: House) -> None:
    """Tom pauses and resumes his run; both are audited under his name."""
    tab = new_tab()
    _log_in(tab, house, "tom")
    tab.page.goto(f"{house.url}?run={house.run.run_id}")
    tab.agree("Pause")
    tab.page.locator(".chip", has_text="Paused").wait_for(timeout=WAIT_MS)
    assert house.status() == "PAUSED"
    tab.agree("Resume")
    tab.page.locator(".chip", has_text="Running").wait_for(timeout=WAIT_MS)
    assert {("tom", "run.pause"), ("tom", "run.resume")} <= set(house.audited())
    tab.quiet()


def test_browser_refuses_an_action_to_a_trader_made_viewer_meanwhile(
    new_tab: Callable[..., Any], house: House, seeding: ModuleType
) -> None:
    """The button is still on the page and the dialog open; by the time Sam agrees he is a viewer, and is told no."""
    seed = house.seed
    sam = seed.user(f"sam-{monotonic()}")
    name = next(row for row in _users(house) if row.startswith("sam-"))
    PasswordFile(seed.home / "panel_users.json").set(name, PASSWORD)
    run = seed.run(
        seed.account("sams", owner=sam), seed.version("SamsBot", owner=sam), seeding.made_bars(100), owner=sam
    )
    run.advance(50)
    tab = new_tab()
    _log_in(tab, house, name)
    tab.page.goto(f"{house.url}?run={run.run_id}")
    tab.ask("Pause")
    with seed.engine.begin() as connection:
        connection.execute(m.User.__table__.update().where(m.User.user_id == sam).values(role="viewer"))
    tab.page.get_by_role("dialog").get_by_role("button", name="Yes, do it").click(timeout=WAIT_MS)
    tab.page.get_by_text("may not act on account").first.wait_for(timeout=WAIT_MS)
    assert house.status(run) == "RUNNING"


def _users(house: House) -> list[str]:
    with house.seed.engine.connect() as connection:
        return [row[0] for row in connection.execute(select(m.User.name))]


def test_browser_lets_an_admin_add_a_user_and_change_a_role(new_tab: Callable[..., Any], house: House) -> None:
    """Ada adds Max as a viewer with a password, makes him a trader, and Max can log in."""
    tab = new_tab()
    _log_in(tab, house, "ada")
    tab.page.goto(f"{house.url}?page=users")
    tab.agree("Add a user", fill={"Name": "max", "Password": PASSWORD})
    row = tab.page.locator(".tabulator-row", has_text="max")
    row.wait_for(timeout=WAIT_MS)
    assert "viewer" in row.inner_text()
    row.locator(".tabulator-cell").nth(1).click(timeout=WAIT_MS)
    tab.agree("Make trader")
    tab.page.locator(".tabulator-row", has_text="max").filter(has_text="trader").wait_for(timeout=WAIT_MS)
    assert {("ada", "user.add"), ("ada", "user.role")} <= set(house.audited())
    other = new_tab()
    _log_in(other, house, "max")
    tab.quiet()
    other.quiet()


def test_browser_shows_an_admin_everything_and_lets_him_halt(new_tab: Callable[..., Any], house: House) -> None:
    """Ada sees Tom's run, may throw the kill switch of his account, and is not offered to trade on it."""
    tab = new_tab()
    _log_in(tab, house, "ada")
    tab.page.goto(f"{house.url}?run={house.run.run_id}")
    tab.page.get_by_role("button", name="Halt account", exact=True).wait_for(timeout=WAIT_MS)
    assert tab.page.get_by_role("button", name="Stop", exact=True).count() == 0
    tab.quiet()


@pytest.mark.parametrize("width", [390, 1400])
def test_browser_login_page_fits_and_sets_no_open_cookie(new_tab: Callable[..., Any], house: House, width: int) -> None:
    """The login page fits a phone; the session cookie cannot be read by scripts; a wrong password says so."""
    tab = new_tab(width)
    tab.page.goto(house.url)
    tab.page.get_by_label("Name").fill("tom")
    tab.page.get_by_label("Password").fill("wrong password")
    tab.page.get_by_role("button", name="Log in").click()
    tab.page.get_by_text("Name or password is wrong").wait_for(timeout=WAIT_MS)
    assert tab.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert "user=" not in tab.page.evaluate("() => document.cookie")
    assert tab.outside == []
