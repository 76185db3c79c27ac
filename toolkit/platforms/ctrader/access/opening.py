"""Opening the session of a cTrader account from what its row says."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from toolkit.errors import BadInput, must_be
from toolkit.platforms.ctrader.access.tokens import store_of
from toolkit.platforms.ctrader.platform import CTraderPlatform
from toolkit.platforms.ctrader.session import PORT
from toolkit.platforms.file_lock import FileLock

_WORDS = frozenset({"port", "certificate", "symbols", "suffix", "reply_seconds"})


def check_ctrader_settings(settings: Mapping[str, Any]) -> None:
    """Refuse an account's ``ctrader`` settings that could not be used.

    Raises
    ------
    BadInput
        Naming the setting.
    """
    if unknown := sorted(set(settings) - _WORDS):
        raise BadInput(
            must_be("ctrader settings", "of " + ", ".join(sorted(_WORDS)), ", ".join(unknown), "correct the account")
        )
    for word, low in (("port", 1.0), ("reply_seconds", 0.1)):
        try:
            good = float(settings.get(word, low)) >= low
        except (TypeError, ValueError):
            good = False
        if not good:
            raise BadInput(must_be(word, f"a number of at least {low:g}", settings[word], "correct the account"))
    if not isinstance(settings.get("symbols", {}), Mapping):
        raise BadInput(must_be("symbols", "a table of our names and theirs", settings["symbols"], "use OURS=THEIRS"))
    certificate = settings.get("certificate")
    if certificate is not None and not Path(str(certificate)).is_file():
        raise BadInput(must_be("certificate", "a PEM file", certificate, "name the one the sandbox wrote"))


def open_ctrader(
    *, login: str, server: str, environment: str, secret_ref: str, settings: Mapping[str, Any], locks: Path
) -> CTraderPlatform:
    """Return a session of the account, not connected yet.

    Parameters
    ----------
    login, server, environment
        From the account's row; the server is the host, for example ``demo.ctraderapi.com``.
    secret_ref
        Where application and tokens are kept: they are renewed, so ``file:`` or ``keyring:``.
    settings
        The row's ``ctrader`` settings: ``port``; ``certificate``, a PEM file to trust instead of the system's authorities
        (the sandbox's); ``symbols`` or ``suffix``; ``reply_seconds``.
    locks
        Folder of lock files, one per account.

    Raises
    ------
    BadInput
        When a setting does not fit or the login is not a number.
    """
    check_ctrader_settings(settings)
    if not login.isdigit():
        raise BadInput(must_be("login", "the account's number", repr(login), "correct the account"))
    certificate = settings.get("certificate")
    safe = "".join(c if c.isalnum() else "-" for c in f"{login}-{server}")
    return CTraderPlatform(
        store_of(secret_ref, locks),
        login=int(login),
        environment=cast(Literal["demo", "real"], environment),
        host=server,
        port=int(settings.get("port", PORT)),
        tls=None if certificate is None else ssl.create_default_context(cafile=str(certificate)),
        symbols=settings.get("symbols"),
        suffix=str(settings.get("suffix", "")),
        reply_seconds=float(settings.get("reply_seconds", 15.0)),
        lock=FileLock(locks / f"ctrader-{safe}.lock", f"the cTrader session of {login}"),
    )
