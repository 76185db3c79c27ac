"""``/healthz``: ``panel serve panel_app/app.py --plugins panel_app.health``. It tells whether the database answers, and no more.

Routes of plugins are reachable without logging in, so nothing about accounts, runs or users is said here.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from tornado.web import RequestHandler

from panel_app.context import shared_engine
from toolkit.store.unit_of_work import READ_ONLY


class HealthHandler(RequestHandler):
    """Answers 200 while the database can be read, 503 otherwise."""

    def get(self) -> None:
        """Read one row from nowhere."""
        self.set_header("Cache-Control", "no-store")
        try:
            with shared_engine().database.connect() as connection:
                connection.execution_options(**{READ_ONLY: True}).execute(text("SELECT 1")).scalar_one()
        except Exception as error:  # noqa: BLE001 - whatever the driver raised, the answer is the same: not healthy
            self.set_status(503)
            self.write({"status": "database unreachable", "error": type(error).__name__})
            return
        self.write({"status": "ok"})


ROUTES: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [("/healthz", HealthHandler, {})]
