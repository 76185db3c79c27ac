"""Logging in: hashed passwords, a signed cookie, the user's own rows, and nothing without it."""

from __future__ import annotations

import http.cookiejar
import os
import re
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import panel as pn
import pytest

from panel_app.auth import PasswordFile
from panel_app.context import reader_of_session
from toolkit.bootstrap import build
from toolkit.errors import BadInput, Forbidden, NotFound

ROOT = Path(__file__).parents[3]
PASSWORD = "correct horse battery"


def test_a_password_is_kept_as_a_salted_hash_that_only_its_owner_may_read(tmp_path: Path) -> None:
    """The file holds no password, two equal passwords look different, and its mode is 0600."""
    file = PasswordFile(tmp_path / "users.json")
    file.set("anna", PASSWORD)
    file.set("eve", PASSWORD)
    stored = file.path.read_text()
    assert PASSWORD not in stored
    hashes = re.findall(r'"hash": "([^"]+)"', stored)
    assert len(set(hashes)) == 2
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_only_the_right_password_of_a_known_name_is_accepted(tmp_path: Path) -> None:
    """Wrong password, wrong name, empty password and a replaced password are all refused."""
    file = PasswordFile(tmp_path / "users.json")
    assert not file.verify("anna", "")
    file.set("anna", PASSWORD)
    assert file.verify("anna", PASSWORD)
    assert not file.verify("anna", PASSWORD + " ")
    assert not file.verify("eve", PASSWORD)
    file.set("anna", "another password")
    assert not file.verify("anna", PASSWORD)


def test_a_short_password_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Less than ten characters is not stored."""
    file = PasswordFile(tmp_path / "users.json")
    with pytest.raises(BadInput, match="password must be at least 10 characters, was 5"):
        file.set("anna", "short")
    assert not file.path.exists()


@dataclass
class Server:
    """A page that asks for a login."""

    url: str
    log: Path

    def browser(self) -> urllib.request.OpenerDirector:
        """Return a client with its own cookies."""
        return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def login(
        self, client: urllib.request.OpenerDirector, name: str, password: str, *, token: bool = True
    ) -> tuple[int, str]:
        """Fill in the form; return the status and where it led."""
        form = client.open(f"{self.url}/login", timeout=60).read().decode()
        found = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert found is not None
        fields = {"username": name, "password": password, **({"_xsrf": found.group(1)} if token else {})}
        try:
            answer = client.open(f"{self.url}/login", urllib.parse.urlencode(fields).encode(), timeout=60)
        except urllib.error.HTTPError as error:
            return error.code, error.url or ""
        return int(answer.status), str(answer.url)


@pytest.fixture(scope="module")
def server(seeding: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`panel serve` with the auth module, the health route and XSRF cookies."""
    home = tmp_path_factory.mktemp("auth")
    seed = seeding.Seed(home)
    seed.user("anna")
    PasswordFile(home / "panel_users.json").set("anna", PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "panel", "serve", "panel_app/app.py", "--port", str(port), "--address", "127.0.0.1",
        "--auth-module", "panel_app/auth.py", "--cookie-secret", "a secret of this test only", "--enable-xsrf-cookies",
        "--plugins", "panel_app.health",
    ]  # fmt: skip
    with (home / "panel.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "SEATRIAL_HOME": str(home)}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            made = Server(f"http://127.0.0.1:{port}", home / "panel.log")
            end = monotonic() + 90
            while True:
                try:
                    urllib.request.urlopen(f"{made.url}/healthz", timeout=60).read()
                    break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    assert process.poll() is None, (home / "panel.log").read_text()[-2000:]
                    assert monotonic() < end, (home / "panel.log").read_text()[-2000:]
                    sleep(0.2)
            yield made
        finally:
            process.terminate()
            process.wait(timeout=20)
            seed.engine.dispose()


def test_health_is_told_without_a_login_and_says_nothing_else(server: Server) -> None:
    """/healthz answers anybody with one word."""
    assert urllib.request.urlopen(f"{server.url}/healthz", timeout=60).read() == b'{"status": "ok"}'


def test_ownership_the_page_sends_a_stranger_to_the_login(server: Server) -> None:
    """Without the cookie the page is the login form, whatever address or cookie is tried."""
    client = server.browser()
    for headers in (
        {},
        {"Cookie": "user=anna"},
        {"Cookie": "is_guest=1"},
        {"Cookie": "user=2|1:0|10:1|4:user|8:YW5uYQ==|00"},
    ):
        request = urllib.request.Request(f"{server.url}/app?run=00000000-0000-0000-0000-000000000000", headers=headers)
        assert "/login" in client.open(request, timeout=60).url


def test_a_right_password_opens_the_page_and_a_wrong_one_does_not(server: Server) -> None:
    """401 for the wrong password, the page for the right one, the form again after logging out."""
    client = server.browser()
    assert server.login(client, "anna", "wrong password")[0] == 401
    status, url = server.login(client, "anna", PASSWORD)
    assert (status, url) == (200, f"{server.url}/app")
    assert "Traceback" not in server.log.read_text()  # the session was made, as anna
    assert "/login" in client.open(f"{server.url}/logout", timeout=60).url
    assert "/login" in client.open(f"{server.url}/app", timeout=60).url


class _State:
    """What Panel knows of a session, as far as the page asks."""

    def __init__(self, user: str | None) -> None:
        self.user = user


def test_ownership_a_session_acts_as_who_logged_in_and_as_nobody_else(
    seed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logged-in name decides the principal; an unknown name and a missing login are refused, not replaced."""
    monkeypatch.setenv("SEATRIAL_HOME", str(seed.home))
    anna = seed.user("anna")
    engine = build()
    try:
        for user, secret, expected in (("anna", "s", anna), (None, None, engine.principal.user_id)):
            monkeypatch.setattr(pn, "state", _State(user))
            monkeypatch.setattr(pn.config, "cookie_secret", secret)
            assert reader_of_session(engine).user_id == expected
        monkeypatch.setattr(pn.config, "cookie_secret", "s")
        for user, refusal in (("guest", NotFound), (None, Forbidden)):
            monkeypatch.setattr(pn, "state", _State(user))
            with pytest.raises(refusal):
                reader_of_session(engine)
    finally:
        engine.close()


def test_a_login_posted_without_the_form_s_token_is_refused(server: Server) -> None:
    """A post from another site lacks the XSRF token and gets 403."""
    assert server.login(server.browser(), "anna", PASSWORD, token=False)[0] == 403
