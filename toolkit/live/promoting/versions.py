"""Listing, comparing and retiring BotVersions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from toolkit.errors import NotFound, RunError, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.store.runs import VersionRecord, Versions
from toolkit.strategy.spec import StrategySpec

_NAMED = re.compile(r"^(?P<bot>.+?)\s+v(?P<number>\d+)$")


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """What is different in the second of two versions, in words.

    Attributes
    ----------
    strategy, guards, instruments, evidence
        Each empty where the two are equal.
    """

    first: str
    second: str
    strategy: tuple[str, ...]
    guards: tuple[str, ...]
    instruments: tuple[str, ...]
    evidence: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.strategy or self.guards or self.instruments or self.evidence)

    def __str__(self) -> str:
        if not self:
            return f"{self.first} and {self.second} are equal"
        lines = [f"{self.second} against {self.first}"]
        for name in ("strategy", "guards", "instruments", "evidence"):
            lines += [f"  {name}: {words}" for words in getattr(self, name)]
        return "\n".join(lines)


def list_versions(
    engine: Engine, principal: Principal, *, bot: str | None = None, retired: bool = False
) -> list[VersionRecord]:
    """Return the principal's versions, oldest first.

    Parameters
    ----------
    bot
        Only those of this strategy line.
    retired
        Also those that were retired.
    """
    with engine.work(principal, write=False) as work:
        found = Versions(work.connection, principal).all()
    return [v for v in found if (bot is None or v.bot == bot) and (retired or v.retired_at is None)]


def find_version(engine: Engine, principal: Principal, name: str | UUID) -> VersionRecord:
    """Return one version: by ``"EmaCross v3"``, by the bot's name (its newest), by id or hash or the beginning of one.

    Raises
    ------
    NotFound
        When no version, or more than one, is meant.
    """
    text = str(name).strip()
    found = list_versions(engine, principal, retired=True)
    named = _NAMED.match(text)
    if named is not None:
        matching = [v for v in found if v.bot == named["bot"] and v.number == int(named["number"])]
    elif any(v.bot == text for v in found):
        matching = [v for v in found if v.bot == text][-1:]
    else:
        matching = [v for v in found if str(v.bot_version_id).startswith(text) or v.version_hash.startswith(text)]
    if len(matching) != 1:
        known = ", ".join(v.name for v in found) or "none yet"
        raise NotFound(must_be("version", f"one of {known}", repr(text), "name it as listed"))
    return matching[0]


def retire_version(
    engine: Engine, principal: Principal, version: VersionRecord | str | UUID, *, reason: str
) -> VersionRecord:
    """Let no new run of a version begin; runs that are under way go on, and stages may not be gone up any more.

    Raises
    ------
    RunError
        When no reason is given.
    """
    if not reason.strip():
        raise RunError(must_be("reason", "given", "empty", "say why it is retired; it is kept for ever"))
    return _set_retired(engine, principal, version, reason, retired=True)


def restore_version(engine: Engine, principal: Principal, version: VersionRecord | str | UUID) -> VersionRecord:
    """Take a retirement back."""
    return _set_retired(engine, principal, version, "", retired=False)


def compare_versions(first: VersionRecord, second: VersionRecord) -> VersionDifference:
    """Return in words what is different in the second version: strategy, guards, contract facts, evidence."""
    before, after = StrategySpec.from_json(first.spec_json), StrategySpec.from_json(second.spec_json)
    return VersionDifference(
        first.name,
        second.name,
        tuple(before.diff(after)),
        tuple(_changes(json.loads(first.guards_json), json.loads(second.guards_json))),
        tuple(_changes(_flat(json.loads(first.instruments_json)), _flat(json.loads(second.instruments_json)))),
        tuple(_changes(_shown(first.evidence), _shown(second.evidence))),
    )


def _set_retired(
    engine: Engine, principal: Principal, version: VersionRecord | str | UUID, reason: str, *, retired: bool
) -> VersionRecord:
    found = version if isinstance(version, VersionRecord) else find_version(engine, principal, version)
    now = engine.now()
    with engine.work(principal) as work:
        after = Versions(work.connection, principal).retire(found.bot_version_id, now if retired else None, now, reason)
        work.commit()
    return after


def _shown(evidence: Mapping[str, Any]) -> dict[str, Any]:
    trial = evidence["trial"]
    return {
        "data": str(evidence.get("data_fingerprint", ""))[:12],
        "warm-up bars": evidence.get("warmup_bars"),
        "trial trades": trial.get("trades"),
        **{f"package {name}": number for name, number in evidence.get("packages", {}).items()},
        **{f"sweep {name}": value for name, value in evidence.get("statistics", {}).items()},
    }


def _flat(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{symbol} {name}": value for symbol, fact in facts.items() for name, value in fact.items()}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = [*before, *(n for n in after if n not in before)]
    return [f"{n} {before.get(n)} -> {after.get(n)}" for n in names if before.get(n) != after.get(n)]
