"""The grant: the redirect comes back to this machine, the code is exchanged, and no secret is shown on the way."""

from __future__ import annotations

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from toolkit.errors import PlatformUnavailable, WrongAccount
from toolkit.platforms.ctrader.access.oauth import Grant, exchange


class TokenService:
    """The vendor's token service on loopback."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        asked: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                asked.append({k: v[0] for k, v in query.items()})
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.asked = asked
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/apps/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[TokenService]:
    """Answer with what the test says."""
    made = TokenService(*request.param)
    yield made
    made.server.shutdown()
    made.server.server_close()


_PAIR = b'{"accessToken": "acc", "refreshToken": "ref", "expiresIn": 2628000, "tokenType": "bearer"}'


def visit(grant: Grant, query: str, status: list[int]) -> threading.Thread:
    """Come back from the vendor's page."""

    def go() -> None:
        try:
            with urllib.request.urlopen(f"{grant.redirect}?{query}", timeout=5) as answer:
                status.append(answer.status)
        except urllib.error.HTTPError as e:
            status.append(e.code)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread


def test_ctrader_grant_returns_the_code_of_the_redirect() -> None:
    """The address asks for trading and names our loopback redirect; the code that comes back is returned."""
    grant = Grant("app-1", port=0)
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(grant.address).query)
    assert (asked["scope"], asked["client_id"], asked["redirect_uri"]) == (["trading"], ["app-1"], [grant.redirect])
    seen: list[int] = []
    visitor = visit(grant, f"code=c-1&state={asked['state'][0]}", seen)
    assert grant.wait(10.0) == "c-1"
    visitor.join(5.0)
    assert seen == [200]


def test_ctrader_grant_ignores_a_redirect_with_a_foreign_state() -> None:
    """A page of somebody else cannot bring us its code."""
    grant = Grant("app-1", port=0)
    seen: list[int] = []
    visit(grant, "code=theirs&state=forged", seen)
    with pytest.raises(PlatformUnavailable, match="nobody came back"):
        grant.wait(2.0)
    assert seen == [404]


def test_ctrader_refused_grant_says_so() -> None:
    """The account holder said no."""
    grant = Grant("app-1", port=0)
    visit(grant, "error=access_denied", [])
    with pytest.raises(WrongAccount, match="not granted"):
        grant.wait(10.0)


@pytest.mark.parametrize("service", [(_PAIR,)], indirect=True)
def test_ctrader_code_becomes_credentials(service: TokenService) -> None:
    """The pair of tokens is kept with the application and the moment it ends."""
    made = exchange("c-1", "http://127.0.0.1:8899/", "app-1", "s-1", token=service.address)
    assert (made.client_id, made.access_token, made.refresh_token) == ("app-1", "acc", "ref")
    assert made.expires_at.endswith("+00:00")
    assert service.asked == [
        {
            "grant_type": "authorization_code",
            "code": "c-1",
            "redirect_uri": "http://127.0.0.1:8899/",
            "client_id": "app-1",
            "client_secret": "s-1",
        }
    ]


@pytest.mark.parametrize(
    "service", [(b'{"errorCode": "INVALID_REQUEST"}',), (b"{}",), (b"nonsense",), (b"{}", 401)], indirect=True
)
def test_ctrader_refused_code_shows_no_secret(service: TokenService) -> None:
    """Whatever the vendor answers, neither code nor secret is in the error."""
    with pytest.raises((WrongAccount, PlatformUnavailable)) as refused:
        exchange("canary-code", "http://127.0.0.1:1/", "app-1", "canary-secret", token=service.address)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None
