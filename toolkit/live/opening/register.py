"""Registering accounts at trading platforms: what the account is, and where its secret lives; never the secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from toolkit.errors import BadInput, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.market import money_digits
from toolkit.platforms.opening import check_metatrader5_settings
from toolkit.store.people.accounts import AccountRecord, Accounts

PLATFORMS = ("metatrader5", "ctrader")
ALIASES = {"mt5": "metatrader5"}
_REFERENCE = re.compile(r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/\S+|file:[A-Za-z]:\\\S+|keyring:[^\s/]+/\S+)$")
_SECRET_WORDS = ("password", "passwd", "secret", "token", "api_key", "apikey")


def register_account(
    engine: Engine,
    name: str,
    *,
    platform: str,
    login: str,
    server: str,
    currency: str,
    environment: Literal["demo", "real"],
    secret_ref: str,
    settings: Mapping[str, Any] | None = None,
    principal: Principal | None = None,
) -> AccountRecord:
    """Register an account at a platform; nothing connects to it.

    Parameters
    ----------
    secret_ref
        ``keyring:service/name``, ``env:NAME`` or ``file:/path`` (mode 0600); resolved in the session's process only. Empty
        for a MetaTrader terminal that keeps its login.
    settings
        The platform's own options, e.g. the terminal's path; none of them may be a secret.

    Raises
    ------
    BadInput
        When a field does not fit. What was given as a secret reference is never repeated: it may be the secret.
    """
    who = principal or engine.principal
    platform = ALIASES.get(platform, platform)
    if platform not in PLATFORMS:
        raise BadInput(
            must_be(
                "platform", f"one of {', '.join(PLATFORMS)}", repr(platform), "paper accounts: tk.open_paper_account"
            )
        )
    if environment not in ("demo", "real"):
        raise BadInput(must_be("environment", "'demo' or 'real'", repr(environment), "say what kind of account it is"))
    if not login or not server:
        raise BadInput(must_be("login and server", "given", f"{login!r} at {server!r}", "copy them from the platform"))
    money_digits(currency)
    if not _REFERENCE.match(secret_ref) and (secret_ref or platform != "metatrader5"):
        raise BadInput(
            must_be(
                "secret_ref",
                "keyring:service/name, env:NAME or file:/path",
                "of another form",
                "store the secret there first",
            )
        )
    options = checked_options(platform, settings or {})
    if not login.isdigit():
        raise BadInput(must_be("login", "the account's number", repr(login), "copy it from the platform"))
    if platform == "ctrader" and secret_ref.startswith("env:"):
        remedy = "tokens are renewed, so keep them where they can be written"
        raise BadInput(must_be("secret_ref of a cTrader account", "file:/path or keyring:service/name", "env:", remedy))
    if environment == "real" and "practice" in options:
        raise BadInput(must_be("environment of a practice terminal", "'demo'", "'real'", "it has no real money"))
    with engine.work(who) as work:
        record = Accounts(work.connection, who).add(
            AccountRecord(
                account_id=uuid4(),
                owner_id=who.user_id,
                name=name,
                platform=platform,
                currency=currency,
                environment=environment,
                gateway=engine.settings.gateway,
                login=login,
                server=server,
                secret_ref=secret_ref,
                settings={"mt5" if platform == "metatrader5" else platform: options},
            ),
            engine.now(),
        )
        work.commit()
    return record


def checked_options(platform: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a platform's options if they can be used.

    Raises
    ------
    BadInput
        When one is unknown, does not fit, or is named like a secret; its value is not repeated then.
    """
    options = dict(settings)
    found = sorted(k for k in _flat_names(options) if any(word in k.lower() for word in _SECRET_WORDS))
    if found:
        raise BadInput(
            must_be("settings", "without secrets", f"named {', '.join(found)}", "put a secret behind secret_ref")
        )
    if platform == "metatrader5":
        check_metatrader5_settings(options)
    elif platform == "ctrader":
        from toolkit.platforms.ctrader.access.opening import check_ctrader_settings  # needs the extra

        check_ctrader_settings(options)
    return options


def change_options(
    engine: Engine, name: str, changes: Mapping[str, Any], *, principal: Principal | None = None
) -> AccountRecord:
    """Change options of an account of one's own; None takes one away. A session that is open keeps the old ones."""
    who = principal or engine.principal
    with engine.work(who) as work:
        accounts = Accounts(work.connection, who)
        account = accounts.find(name)
        key = "mt5" if account.platform == "metatrader5" else account.platform
        merged = {**account.settings.get(key, {}), **changes}
        options = checked_options(account.platform, {k: v for k, v in merged.items() if v is not None})
        accounts.put_settings(account.account_id, {**account.settings, key: options}, engine.now())
        work.commit()
        return accounts.get(account.account_id)


def _flat_names(values: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for name, value in values.items():
        names.append(name)
        if isinstance(value, Mapping):
            names.extend(_flat_names(value))
    return names
