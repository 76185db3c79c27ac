"""Opening the session of a MetaTrader 5 account from what its row says: in a child here, or at an agent elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import BadInput, must_be
from toolkit.market.platform_clock import find_clock
from toolkit.platforms.isolation import AgentPlatform, IsolatedPlatform, RemotePlatform
from toolkit.platforms.secret_refs import resolve_secret

_WORDS = frozenset(
    {"path", "portable", "clock", "symbols", "suffix", "agent", "practice", "read_seconds", "send_seconds", "stops"}
)


def check_metatrader5_settings(settings: Mapping[str, Any]) -> None:
    """Refuse an account's ``mt5`` settings that could not be used.

    Raises
    ------
    BadInput
        Naming the setting: an unknown word, a clock that does not exist, a deadline that is none, half an agent.
    """
    if unknown := sorted(set(settings) - _WORDS):
        raise BadInput(
            must_be("mt5 settings", "of " + ", ".join(sorted(_WORDS)), ", ".join(unknown), "correct the account")
        )
    if settings.get("clock"):
        find_clock(str(settings["clock"]))
    for word in ("read_seconds", "send_seconds"):
        try:
            good = float(settings.get(word, 1.0)) > 0
        except (TypeError, ValueError):
            good = False
        if not good:
            raise BadInput(must_be(word, "a number of seconds above 0", settings[word], "correct the account"))
    if settings.get("stops", "with") not in ("with", "after"):
        raise BadInput(
            must_be("stops", "'with' the entry or 'after' it", repr(settings["stops"]), "correct the account")
        )
    if not isinstance(settings.get("symbols", {}), Mapping):
        raise BadInput(must_be("symbols", "a table of our names and theirs", settings["symbols"], "use OURS=THEIRS"))
    agent = settings.get("agent")
    if agent is not None and not {"port", "key_ref"} <= set(agent):
        raise BadInput(must_be("agent", "a port and a key_ref", sorted(agent), "give both"))


def open_metatrader5(
    *,
    login: str,
    server: str,
    environment: str,
    secret_ref: str,
    settings: Mapping[str, Any],
    locks: Path,
) -> RemotePlatform:
    """Return a session of the account, not connected yet.

    Parameters
    ----------
    login, server, environment, secret_ref
        From the account's row. The secret is resolved in the session's own process.
    settings
        The row's ``mt5`` settings: ``path`` of the portable terminal, ``clock``, ``symbols`` or ``suffix``; with
        ``agent = {"port": 8765, "key_ref": "env:..."}`` the session of an agent at the end of a tunnel is used instead,
        with ``practice`` a `SimMT5` whose clock runs (see `toolkit.live.opening.practice`).
    locks
        Folder of lock files, one per account.

    Raises
    ------
    BadInput
        When a setting is unknown or the login is not a number.
    """
    check_metatrader5_settings(settings)
    if not login.isdigit():
        raise BadInput(must_be("login", "the account's number", repr(login), "correct the account"))
    read, send = float(settings.get("read_seconds", 20.0)), float(settings.get("send_seconds", 30.0))
    agent = settings.get("agent")
    if agent is not None:
        key = bytes.fromhex(resolve_secret(str(agent["key_ref"])))
        return AgentPlatform(
            int(agent["port"]), key, host=str(agent.get("host", "127.0.0.1")), read_seconds=read, send_seconds=send
        )
    session = {k: v for k, v in settings.items() if k not in ("agent", "practice", "read_seconds", "send_seconds")}
    if settings.get("practice") is not None:
        if environment != "demo":
            raise BadInput(must_be("environment of a practice terminal", "demo", environment, "correct the account"))
        session |= {**settings["practice"], "kind": "simmt5", "login": int(login), "server": server}
    else:
        session |= {
            "kind": "metatrader5",
            "login": int(login),
            "server": server,
            "environment": environment,
            "secret_ref": secret_ref,
        }
    safe = "".join(c if c.isalnum() else "-" for c in f"{login}-{server}")
    return IsolatedPlatform(session, lock=locks / f"mt5-{safe}.lock", read_seconds=read, send_seconds=send)
