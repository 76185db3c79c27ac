"""The page served over seeded rows, and a Chromium that lets nothing out of this machine."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000


def _missing() -> str:
    if not CHROMIUM.exists():
        return f"no browser at {CHROMIUM}: install Debian's package chromium"
    for package in ("playwright", "panel", "panel_material_ui"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    return ""


def need_browser() -> None:
    """Skip, or in CI fail, where there is no Chromium to drive."""
    missing = _missing()
    if missing:
        if os.environ.get("SEATRIAL_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


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
    need_browser()
    home = tmp_path_factory.mktemp("home")
    seed = seeding.Seed(home, role="admin")
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
    with serving(home) as url:
        yield Served(url, seed, run, [broken, stopped])
    seed.engine.dispose()


@contextmanager
def serving(home: Path, *options: str) -> Iterator[str]:
    """`panel serve` on a free loopback port over a data folder; yields the page's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--port", str(port), "--address", "127.0.0.1"]
    command = [sys.executable, "-m", "panel", "serve", "panel_app/app.py", *where, *options]
    with (home / "panel.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "SEATRIAL_HOME": str(home)}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{port}/app"
            _wait_until_up(url, server, home / "panel.log")
            yield url
        finally:
            server.terminate()
            server.wait(timeout=20)


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

    def agree(self, button: str, *, fill: dict[str, str] | None = None) -> None:
        """Press a button, fill in its dialog, and agree; each step waits until the one before it is there."""
        self.ask(button)
        for label, text in (fill or {}).items():
            self.page.get_by_role("dialog").get_by_label(label).first.fill(text)
        yes = self.page.get_by_role("dialog").get_by_role("button", name="Yes, do it")
        yes.click(timeout=WAIT_MS)
        yes.wait_for(state="hidden", timeout=WAIT_MS)

    def ask(self, button: str) -> None:
        """Press a button until its dialog stands open and still; a press may be lost while the page is still settling."""
        dialog = self.page.get_by_role("dialog")
        wanted = self.page.get_by_role("button", name=button, exact=True)
        wanted.first.wait_for(timeout=WAIT_MS)
        for _ in range(3):
            wanted.first.click(timeout=WAIT_MS)
            try:
                dialog.get_by_role("button", name="Yes, do it").wait_for(timeout=WAIT_MS / 3)
                break
            except Exception as error:
                if type(error).__name__ != "TimeoutError":
                    raise
        # Waits until the button stands still and nothing lies over it, without pressing it.
        dialog.get_by_role("button", name="Yes, do it").click(trial=True, timeout=WAIT_MS)

    def quiet(self) -> None:
        """Assert that nothing was complained about and nothing outside was asked for."""
        assert self.outside == []
        assert self.complaints == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each with cookies of its own; takes a width."""
    contexts: list[Any] = []

    def opened(width: int = 1400, height: int = 1000) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
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
        return made

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def tab(new_tab: Callable[..., Tab]) -> Tab:
    """A fresh tab."""
    return new_tab()
