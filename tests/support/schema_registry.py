"""A small schema registry over HTTP, written from Confluent's API description: what the real client talks to in tests."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class SchemaRegistry:
    """Serves on a free loopback port until it is closed.

    Attributes
    ----------
    frozen
        Refuse every new schema with 409, as a registry whose compatibility rule is broken does.
    """

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.frozen = False
        self.requests = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(registry.read([unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
                self._answer(registry.write(parts, body["schema"]))

            def _answer(self, answer: tuple[int, Any]) -> None:
                registry.requests += 1
                content = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def register(self, subject: str, schema: str) -> int:
        """Put a schema in and return its id, whatever it is."""
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def read(self, parts: list[str]) -> tuple[int, Any]:
        """Answer a GET."""
        if parts[:2] == ["schemas", "ids"]:
            number = int(parts[2])
            if 0 < number <= len(self.schemas):
                return 200, {"schema": self.schemas[number - 1]}
            return 404, {"error_code": 40403, "message": "Schema not found"}
        versions = self.subjects.get(parts[1])
        if versions is None:
            return 404, {"error_code": 40401, "message": "Subject not found"}
        if len(parts) == 3:
            return 200, list(range(1, len(versions) + 1))
        return 200, self._described(parts[1], versions[int(parts[3]) - 1])

    def write(self, parts: list[str], schema: str) -> tuple[int, Any]:
        """Answer a POST: a look-up, or a registration."""
        if len(parts) == 2:
            known = self.schemas.index(schema) + 1 if schema in self.schemas else 0
            if known in self.subjects.get(parts[1], []):
                return 200, self._described(parts[1], known)
            return 404, {"error_code": 40403, "message": "Schema not found"}
        if self.frozen:
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible with an earlier schema"}
        return 200, {"id": self.register(parts[1], schema)}

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def _described(self, subject: str, number: int) -> dict[str, Any]:
        version = self.subjects[subject].index(number) + 1
        return {"subject": subject, "version": version, "id": number, "schema": self.schemas[number - 1]}
