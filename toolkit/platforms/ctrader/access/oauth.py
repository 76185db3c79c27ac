"""The account holder's grant: a page of the vendor's, a redirect to this machine, and the first pair of tokens.

The endpoints take their parameters in the query, the application's secret among them; that is the vendor's way. No address
with a secret is ever logged or shown.
"""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from toolkit.clock import SYSTEM
from toolkit.errors import PlatformUnavailable, WrongAccount, must_be
from toolkit.platforms.ctrader.access.tokens import Credentials

AUTHORISE = "https://openapi.ctrader.com/apps/auth"
TOKEN = "https://openapi.ctrader.com/apps/token"  # noqa: S105 - an address


class Grant:
    """One grant under way: where to send the account holder, and waiting for them to come back.

    Parameters
    ----------
    client_id
        The application.
    port
        Loopback port of the redirect; the address must be among those registered with the application. 0 takes a free one.
    authorise
        The vendor's page.
    """

    def __init__(self, client_id: str, *, port: int = 8899, authorise: str = AUTHORISE) -> None:
        self._state = secrets.token_urlsafe(16)
        self._answer: dict[str, str] = {}
        grant = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                grant._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Write nothing: the line would hold the code."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self.redirect = f"http://127.0.0.1:{self._server.server_address[1]}/"
        query = {"client_id": client_id, "redirect_uri": self.redirect, "scope": "trading", "state": self._state}
        self.address = f"{authorise}?{urllib.parse.urlencode(query)}"

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        found = {k: v[0] for k, v in urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query).items()}
        # a state that came back must be ours; the vendor does not promise to bring it back
        good = ("code" in found or "error" in found) and found.get("state", self._state) == self._state
        if good:
            self._answer = found
        body = b"Seatrial has what it needs: you may close this page." if good else b"Nothing to do here."
        request.send_response(200 if good else 404)
        request.send_header("Content-Type", "text/plain; charset=utf-8")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def wait(self, seconds: float = 300.0) -> str:
        """Return the code the account holder came back with.

        Raises
        ------
        WrongAccount
            When they refused.
        PlatformUnavailable
            When they did not come back in time.
        """
        end = SYSTEM.monotonic() + seconds
        try:
            while not self._answer:
                left = end - SYSTEM.monotonic()
                if left <= 0:
                    raise PlatformUnavailable(
                        f"nobody came back from the vendor's page within {seconds:g} s: try again"
                    )
                self._server.timeout = min(left, 1.0)
                self._server.handle_request()
        finally:
            self._server.server_close()
        if "code" not in self._answer:
            raise WrongAccount("access was not granted on the vendor's page: grant the scope 'trading'")
        return self._answer["code"]


def exchange(code: str, redirect: str, client_id: str, client_secret: str, *, token: str = TOKEN) -> Credentials:
    """Return the first credentials for a code.

    Raises
    ------
    WrongAccount
        When the vendor refuses; the message holds no secret.
    PlatformUnavailable
        When it cannot be reached.
    """
    query = urllib.parse.urlencode(
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": client_id,
            "client_secret": client_secret,
        }
    )
    try:
        with urllib.request.urlopen(f"{token}?{query}", timeout=20.0) as answer:  # noqa: S310 - https, or a test's loopback
            found = json.loads(answer.read(65_536))
    except urllib.error.HTTPError as e:
        raise WrongAccount(f"the vendor refused the code (HTTP {e.code}): begin again") from None
    except (OSError, ValueError) as e:
        raise PlatformUnavailable(f"the vendor's token service could not be asked ({type(e).__name__})") from None
    access, refresh = found.get("accessToken"), found.get("refreshToken")
    if not access or not refresh:
        told = str(found.get("errorCode") or "no token in the answer")
        raise WrongAccount(
            must_be("the vendor's answer", "a pair of tokens", told, "check client_id, secret, redirect")
        )
    made = Credentials(client_id, client_secret, str(access), str(refresh))
    try:
        ends = SYSTEM.now() + timedelta(seconds=int(found.get("expiresIn", 0)))
    except (TypeError, ValueError):
        return made
    return replace(made, expires_at=ends.isoformat())
