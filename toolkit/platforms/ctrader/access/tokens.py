"""The application's name and the account's tokens: one secret, replaced as a whole when the tokens are renewed.

A refresh token works once. The new pair is therefore kept, durably, before it is used, and only one process of an
application renews at a time.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from toolkit.errors import BadInput, must_be
from toolkit.platforms.file_lock import FileLock
from toolkit.platforms.secret_refs import resolve_secret


@dataclass(frozen=True)
class Credentials:
    """What is needed to log in; its parts are in no ``repr``.

    Attributes
    ----------
    client_id, client_secret
        The application, as registered with the vendor.
    access_token, refresh_token
        The account holder's grant.
    expires_at
        When the access token ends, ISO time in UTC; empty when not known.
    """

    client_id: str
    client_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: str = ""

    @classmethod
    def from_json(cls, text: str) -> Credentials:
        """Read the secret's JSON.

        Raises
        ------
        BadInput
            When it is not an object with the four fields; nothing of it is shown.
        """
        shape = '{"client_id": ..., "client_secret": ..., "access_token": ..., "refresh_token": ...}'
        try:
            found = json.loads(text)
            return cls(**{k: str(v) for k, v in found.items()})
        except (ValueError, TypeError, AttributeError):
            raise BadInput(must_be("the cTrader secret", shape, "of another form", "write it anew")) from None


class CredentialStore(Protocol):
    """Where the credentials are kept."""

    def load(self) -> Credentials:
        """Return what is kept now."""

    def save(self, credentials: Credentials) -> None:
        """Replace it, durably, before returning."""

    def lock(self) -> FileLock | None:
        """Return a lock that the one who renews holds; None where there is one process only."""


class FileCredentials:
    """Credentials in a file of mode 0600 that belongs to us.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Credentials:
        """Return what is kept now."""
        return Credentials.from_json(resolve_secret(f"file:{self._path}"))

    def save(self, credentials: Credentials) -> None:
        """Replace the file as a whole: a crash leaves the old one or the new one."""
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(credentials), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        if os.name == "posix":
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def lock(self) -> FileLock:
        """Return the lock of whoever renews."""
        return FileLock(self._path.with_name(f"{self._path.name}.lock"), f"the tokens in {self._path.name}")


class KeyringCredentials:
    """Credentials in the system's keyring, one entry.

    Parameters
    ----------
    service, name
        The entry.
    folder
        Where the lock of whoever renews is kept.
    """

    def __init__(self, service: str, name: str, folder: Path) -> None:
        self._service, self._name, self._folder = service, name, folder

    def load(self) -> Credentials:
        """Return what is kept now."""
        return Credentials.from_json(resolve_secret(f"keyring:{self._service}/{self._name}"))

    def save(self, credentials: Credentials) -> None:
        """Replace the entry."""
        import keyring

        keyring.set_password(self._service, self._name, json.dumps(asdict(credentials)))

    def lock(self) -> FileLock:
        """Return the lock of whoever renews."""
        safe = "".join(c if c.isalnum() else "-" for c in f"{self._service}-{self._name}")
        return FileLock(self._folder / f"ctrader-{safe}.lock", "the tokens in the keyring")


def store_of(reference: str, folder: Path) -> CredentialStore:
    """Return the store behind ``file:/path`` or ``keyring:service/name``.

    Raises
    ------
    BadInput
        For another kind of reference: tokens are renewed, so they must be kept where they can be written.
    """
    kind, _, rest = reference.partition(":")
    if kind == "file" and rest:
        return FileCredentials(Path(rest))
    if kind == "keyring" and "/" in rest:
        service, _, name = rest.partition("/")
        return KeyringCredentials(service, name, folder)
    raise BadInput(
        must_be("secret_ref of a cTrader account", "file:/path or keyring:service/name", "of another form", "move it")
    )
