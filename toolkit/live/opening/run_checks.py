"""What a run must fit before it may exist or start: its version's trial, its account, its platform."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.errors import RunError, must_be
from toolkit.execution.ports import AccountSnapshot
from toolkit.live.engine import Desk, Engine
from toolkit.live.feed import PLATFORM_FEED, FeedSpec, Replay
from toolkit.live.promoting.tested import tested_symbols
from toolkit.market import Instrument
from toolkit.risk.guardrails import Guards
from toolkit.store.people.accounts import AccountRecord
from toolkit.store.runs import VersionRecord


def checked_symbols(version: VersionRecord, symbols: Sequence[str], timeframe: str) -> tuple[str, ...]:
    """Return the symbols if they, and the timeframe, are those of the version's sea trial."""
    named = tuple(symbols)
    trial = version.evidence["trial"]
    tested = tested_symbols(trial)
    if named != tested:
        what = "symbol" if len(tested) == 1 else "symbols"
        order = "" if len(tested) == 1 else " and in its order, since symbols act one after the other"
        raise RunError(
            must_be(
                what,
                f"{', '.join(tested)}, as in the version's sea trial{order}",
                ", ".join(named) or "none",
                f"run a sea trial on {', '.join(named)} and promote it",
            )
        )
    if timeframe != trial["timeframe"]:
        raise RunError(
            must_be(
                "timeframe",
                f"{trial['timeframe']}, as in the version's sea trial",
                timeframe,
                f"run a sea trial on {timeframe}",
            )
        )
    return named


def check_stage(account: AccountRecord, stage: str) -> None:
    """Refuse a stage that the account's environment does not fit."""
    fits = {"shadow": ("paper", "demo", "real"), "paper": ("paper",), "demo": ("demo",), "real": ("real",)}[stage]
    if account.environment not in fits:
        raise RunError(
            must_be(
                f"account of a run at stage {stage}",
                " or ".join(fits),
                f"{account.name}, which is {account.environment}",
                "choose another account or stage",
            )
        )


def tightened_guards(version: VersionRecord, guards: Guards | None) -> Guards:
    """Return the run's guards; wider ones than the version's are refused."""
    tested = Guards.from_facts(json.loads(version.guards_json))
    if guards is None:
        return tested
    wider = guards.wider_than(tested)
    if wider:
        raise RunError(
            must_be(
                "guards",
                f"at least as tight as the version's ({tested.words()})",
                "wider in " + ", ".join(f"{name} {mine} (there {theirs})" for name, (mine, theirs) in wider.items()),
                "tighten them, or test and promote wider ones",
            )
        )
    return guards


def feed_spec(engine: Engine, feed: Replay | FeedSpec | None, symbols: tuple[str, ...], timeframe: str) -> FeedSpec:
    """Return the words of the feed for the run's row; a replay of another series is refused."""
    if feed is None:
        return PLATFORM_FEED
    if isinstance(feed, FeedSpec):
        return feed
    given = feed.series
    frames = {str(bars.timeframe) for bars in given.values()}
    if tuple(given) != symbols or frames != {timeframe}:
        raise RunError(
            must_be(
                "replay",
                f"bars of {', '.join(symbols)} {timeframe}",
                f"{', '.join(given)} {', '.join(sorted(frames))}",
                "replay the symbols the run trades, in their order",
            )
        )
    return feed.store(engine.settings.home)


def check_identity(account: AccountRecord, snapshot: AccountSnapshot) -> None:
    """Refuse a platform session that is not the account's own."""
    wrong = []
    if account.login and account.login != snapshot.login:
        wrong.append(f"login {snapshot.login} instead of {account.login}")
    if account.server and account.server != snapshot.server:
        wrong.append(f"server {snapshot.server} instead of {account.server}")
    if account.environment != snapshot.environment:
        wrong.append(f"{snapshot.environment} instead of {account.environment}")
    if account.currency != snapshot.currency:
        wrong.append(f"currency {snapshot.currency} instead of {account.currency}")
    if wrong:
        raise RunError(
            must_be(
                f"platform session of {account.name}", "that account's", "; ".join(wrong), "log in to the right account"
            )
        )


def check_facts(desk: Desk, version: VersionRecord, symbols: Sequence[str]) -> None:
    """Refuse contract facts that differ from those of the sea trial, naming each."""
    tested: Mapping[str, Mapping[str, Any]] = json.loads(version.instruments_json)
    for symbol in symbols:
        found = fact_differences(Instrument.from_facts(dict(tested[symbol])), desk.platform.instrument(symbol))
        if found:
            raise RunError(
                must_be(
                    f"contract facts of {symbol} at {desk.account.name}",
                    "those of the version",
                    "; ".join(found),
                    "run a sea trial with instrument= set to the platform's facts",
                )
            )


def fact_differences(tested: Instrument, there: Instrument) -> list[str]:
    """Return each contract fact in which the platform differs from what was tested, in words."""
    before, now = tested.facts(), there.facts()
    return [f"{name} {now.get(name)} instead of {before[name]}" for name in before if before[name] != now.get(name)]
