"""What a worker tells over HTTP: ``/metrics``, ``/healthz`` (am I alive) and ``/readyz`` (can I trade)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from toolkit.errors import BadInput, must_be
from toolkit.live.engine import Engine
from toolkit.live.outside.scrape import CONTENT_TYPE, database_trouble, exposition, is_loopback, may_scrape
from toolkit.settings import Settings
from toolkit.telemetry.logging import get_logger

_LOG = get_logger("worker")
Answer = tuple[int, str, str]


class WorkerPage:
    """Serves a worker's pages on a thread of its own until it is closed.

    Parameters
    ----------
    engine
        Whose metrics and database it tells about.
    stuck
        Names of the scheduler's loops that do not come round any more.
    broker_trouble
        What keeps the message broker from answering; empty while it answers.
    """

    def __init__(self, engine: Engine, stuck: Callable[[], list[str]], broker_trouble: Callable[[], str]) -> None:
        settings = engine.settings
        refuse_open_page(settings)
        self._engine = engine
        self._stuck = stuck
        self._broker_trouble = broker_trouble
        self._server = _Server((settings.metrics_address, settings.metrics_port), _Handler)
        self._server.token = settings.metrics_token.get_secret_value()
        self._server.answers = self.answer
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="worker-page", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        _LOG.info("worker_page", port=self.port)

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, path: str) -> Answer:
        """Return status, content type and body of a path."""
        if path == "/metrics":
            trouble = database_trouble(self._engine)
            if trouble:  # the counters of this process are told all the same
                return 200, CONTENT_TYPE, self._engine.metrics.exposition()
            return 200, CONTENT_TYPE, exposition(self._engine)
        if path == "/healthz":
            stuck = self._stuck()
            return _said(not stuck, {"status": "stuck" if stuck else "ok", "loops": stuck})
        if path == "/readyz":
            database, broker = database_trouble(self._engine), self._broker_trouble()
            said = {
                "status": "not ready" if database or broker else "ok",
                "database": database,
                "message_broker": broker,
            }
            return _said(not database and not broker, said)
        return _said(False, {"status": "not found"}, 404)


def refuse_open_page(settings: Settings) -> None:
    """Refuse an address that others can reach while no token is asked for.

    Raises
    ------
    BadInput
        With the remedy.
    """
    if not is_loopback(settings.metrics_address) and not settings.metrics_token.get_secret_value():
        raise BadInput(
            must_be(
                "SEATRIAL_METRICS_ADDRESS",
                "a loopback address while SEATRIAL_METRICS_TOKEN is empty",
                settings.metrics_address,
                "set the token, and give it to the scraper",
            )
        )


def _said(well: bool, words: Mapping[str, object], otherwise: int = 503) -> Answer:
    return 200 if well else otherwise, "application/json", json.dumps(words)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    token: str = ""
    answers: Callable[[str], Answer]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        allowed = may_scrape(
            str(self.client_address[0]),
            self.headers.get("Authorization", ""),
            self.server.token,
            forwarded="X-Forwarded-For" in self.headers or "Forwarded" in self.headers,
        )
        status, kind, body = self.server.answers(self.path) if allowed else _said(False, {"status": "forbidden"}, 403)
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is not news."""
