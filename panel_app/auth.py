"""Logging in to the page: ``panel serve panel_app/app.py --auth-module panel_app/auth.py --cookie-secret ...``.

Passwords are kept as scrypt hashes in ``HOME/panel_users.json`` (mode 0600), written by ``seatrial user add NAME`` or
``python -m panel_app.auth NAME``. Whoever logs in is the toolkit's user of that name, and sees and may do what that user may;
a name that the toolkit does not know sees nothing. The login page is our own: Panel's fetches its style from elsewhere.
"""

from __future__ import annotations

import asyncio
import sys
from getpass import getpass
from typing import Final

from tornado.web import RequestHandler

from toolkit.store.people.passwords import PasswordFile, password_file

__all__ = ["LoginHandler", "LogoutHandler", "PasswordFile", "get_user", "login_url", "logout_url", "password_file"]

WRONG_SECONDS: Final = 0.5

#: Names that bokeh looks for in an auth module.
login_url: Final = "/login"
logout_url: Final = "/logout"

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Seatrial</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root{{color-scheme:light dark}}body{{font:15px system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0}}
form{{width:min(320px,86vw);display:grid;gap:12px}}h1{{font-size:22px;margin:0 0 6px}}label{{display:grid;gap:4px}}
input{{font:inherit;padding:9px 10px;border:1px solid #7d8898;border-radius:8px}}
button{{font:inherit;padding:10px;border:0;border-radius:8px;background:#0e7c86;color:#fff}}p{{color:#d9730d;margin:0}}
</style></head><body><form method="post">{xsrf}<h1>Seatrial</h1>{words}
<label>Name<input name="username" autocomplete="username" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></body></html>"""


def get_user(handler: RequestHandler) -> str | None:
    """Return the name in the signed cookie, or None: bokeh then sends the browser to the login page."""
    cookie = handler.get_secure_cookie("user")
    return cookie.decode() if cookie else None


class LoginHandler(RequestHandler):
    """The login page."""

    def get(self) -> None:
        """Show the form."""
        self._show("")

    async def post(self) -> None:
        """Check name and password; on success set the signed cookie and go to the page."""
        name = self.get_body_argument("username", "")
        password = self.get_body_argument("password", "", strip=False)
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(None, password_file().verify, name, password):
            # Lax keeps the cookie from posts of other sites; it is signed with the server's secret.
            self.set_secure_cookie("user", name, expires_days=1, httponly=True, samesite="Lax")
            self.redirect("/app")
            return
        await asyncio.sleep(WRONG_SECONDS)
        self.set_status(401)
        self._show("<p role='alert'>Name or password is wrong.</p>")

    def _show(self, words: str) -> None:
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
        self.write(_PAGE.format(xsrf=self.xsrf_form_html(), words=words))


class LogoutHandler(RequestHandler):
    """Forgets who is logged in."""

    def get(self) -> None:
        """Clear the cookies and go to the login page."""
        self.clear_cookie("user")
        self.redirect(login_url)


def main(arguments: list[str] | None = None) -> int:
    """Ask for a password and store its hash: ``python -m panel_app.auth NAME``."""
    (name,) = arguments if arguments is not None else sys.argv[1:]
    password_file().set(name, getpass(f"password for {name}: "))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
