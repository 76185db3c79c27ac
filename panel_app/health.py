"""``/healthz`` and ``/metrics``: ``panel serve panel_app/app.py --plugins panel_app.health``.

Routes of plugins are reachable without logging in, so nothing here names an account, a run or a user, and only this host
may read, or whoever sends SEATRIAL_METRICS_TOKEN when that is set.
"""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from panel_app.context import shared_engine
from toolkit.live.outside.scrape import CONTENT_TYPE, database_trouble, exposition, may_scrape


class _Guarded(RequestHandler):
    """Refuses callers that may not read."""

    def prepare(self) -> None:
        """Answer 403 to everybody else."""
        self.set_header("Cache-Control", "no-store")
        headers = self.request.headers
        allowed = may_scrape(
            str(self.request.remote_ip),
            headers.get("Authorization", ""),
            shared_engine().settings.metrics_token.get_secret_value(),
            forwarded="X-Forwarded-For" in headers or "Forwarded" in headers,
        )
        if not allowed:
            self.set_status(403)
            self.finish({"status": "forbidden"})


class HealthHandler(_Guarded):
    """Answers 200 while the database can be read, 503 otherwise."""

    def get(self) -> None:
        """Read one row from nowhere."""
        trouble = database_trouble(shared_engine())
        if trouble:
            self.set_status(503)
            self.write({"status": "database unreachable", "error": trouble})
            return
        self.write({"status": "ok"})


class MetricsHandler(_Guarded):
    """Answers with how the installation stands, in Prometheus' text format."""

    def get(self) -> None:
        """Read the database's numbers."""
        engine = shared_engine()
        if database_trouble(engine):
            self.set_status(503)
            return
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(exposition(engine))


ROUTES: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
    ("/healthz", HealthHandler, {}),
    ("/metrics", MetricsHandler, {}),
]
