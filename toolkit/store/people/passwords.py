"""Passwords to the page: scrypt hashes in one file of the data folder, never in the database or a log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from toolkit.errors import BadInput, must_be
from toolkit.settings import Settings

SHORTEST: Final = 10
_N, _R, _P = 2**14, 8, 1  # scrypt: 16 MB and some 50 ms a try


class PasswordFile:
    """Names and scrypt hashes in one file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, name: str, password: str) -> None:
        """Store a password for a name, replacing an older one.

        Raises
        ------
        BadInput
            When the password is too short or the name empty.
        """
        if not name:
            raise BadInput(must_be("name", "not empty", repr(name), "give the name of a user"))
        if len(password) < SHORTEST:
            raise BadInput(must_be("password", f"at least {SHORTEST} characters", len(password), "choose a longer one"))
        salt = secrets.token_bytes(16)
        stored = self._read()
        stored[name] = {"salt": _text(salt), "hash": _text(_scrypt(password, salt))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent)  # mkstemp makes the file 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(stored, file, indent=1, sort_keys=True)
        Path(temporary).replace(self.path)

    def verify(self, name: str, password: str) -> bool:
        """Tell whether the password is the one stored; an unknown name takes as long as a known one."""
        entry = self._read().get(name)
        salt = base64.b64decode(entry["salt"]) if entry else b"\0" * 16
        expected = base64.b64decode(entry["hash"]) if entry else b"\0" * 64
        same = hmac.compare_digest(_scrypt(password, salt), expected)
        return same and entry is not None

    def _read(self) -> dict[str, dict[str, str]]:
        if not self.path.exists():
            return {}
        stored: dict[str, dict[str, str]] = json.loads(self.path.read_text(encoding="utf-8"))
        return stored


def password_file(settings: Settings | None = None) -> PasswordFile:
    """Return the password file of the settings' data folder."""
    return PasswordFile((settings or Settings()).home / "panel_users.json")


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=64)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
