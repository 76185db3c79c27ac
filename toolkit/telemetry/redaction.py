"""Keeping secrets out of everything that is written: log lines, events, error texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretBytes, SecretStr

MASK = "***"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|api_?key|private_?key|signing_?key|credential|authorization|cookie",
    re.IGNORECASE,
)
# Fencing tokens are numbers that people need to see; only texts are masked by name.
_HARMLESS = frozenset({"idempotency_key", "secret_ref"})
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.\-]*://[^/\s:@]*:)(?P<secret>[^@\s/]+)(?=@)", re.IGNORECASE)
_BEARER = re.compile(r"(?P<head>\bBearer\s+)(?P<secret>[A-Za-z0-9._~+/\-]{8,}=*)")
_ASSIGNED = re.compile(
    r"(?P<head>\b(?:password|passwd|secret|token|api_?key|signing_?key)\s*[=:]\s*[\"']?)(?P<secret>[^\s\"',;&]{3,})",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Return the text with passwords in URLs, bearer tokens and ``password=...`` replaced by ``***``."""
    for pattern in (_URL_PASSWORD, _BEARER, _ASSIGNED):
        text = pattern.sub(lambda m: m.group("head") + MASK, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """Return a copy of a value that is safe to write: masked by its name, by its type and by what its text looks like.

    Parameters
    ----------
    name
        Key under which the value stands; a text under ``password``, ``secret``, ``token`` and the like is masked whole.
    """
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, str):
        return MASK if value and name not in _HARMLESS and _SECRET_NAME.search(name) else redact_text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {key: redact(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [redact(inner, name) for inner in value]
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    return value
