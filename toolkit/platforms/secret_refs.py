"""Resolving a reference to a secret, in the process that needs it and nowhere else."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from toolkit.errors import BadInput, MissingPackage, must_be


def resolve_secret(reference: str) -> str:
    """Return the secret behind ``env:NAME``, ``file:/path`` (mode 0600) or ``keyring:service/name``.

    Raises
    ------
    BadInput
        When the reference is malformed, leads nowhere, or its file can be read by others. The secret is in no
        message.
    MissingPackage
        When the keyring package is needed and not installed.
    """
    kind, _, rest = reference.partition(":")
    if kind == "env" and rest:
        value = os.environ.get(rest, "")
        if not value:
            raise BadInput(must_be("secret", f"in the variable {rest}", "not set", "set it where the session runs"))
        return value
    if kind == "file" and rest:
        return _read_file(Path(rest))
    if kind == "keyring" and "/" in rest:
        return _read_keyring(*rest.split("/", 1))
    # what was given may be the secret itself, so it is not shown
    raise BadInput(must_be("secret_ref", "env:NAME, file:/path or keyring:service/name", "of another form", "fix it"))


def _read_file(path: Path) -> str:
    if not path.is_file():
        raise BadInput(must_be("secret file", "a file", f"missing ({path})", "create it with mode 0600"))
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & 0o077:
        raise BadInput(must_be(f"mode of {path}", "0600", f"{mode:04o}", f"chmod 600 {path}"))
    return path.read_text(encoding="utf-8").strip()


def _read_keyring(service: str, name: str) -> str:
    try:
        import keyring
    except ImportError as e:
        raise MissingPackage('package keyring must be installed, was not: pip install "seatrial[worker]"') from e
    value = keyring.get_password(service, name)
    if not value:
        raise BadInput(must_be("secret", f"in the keyring under {service}/{name}", "not there", "keyring set it"))
    return str(value)
