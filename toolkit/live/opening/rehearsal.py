"""A version for a rehearsal in a throw-away database: what a sea trial runs before there is a sea trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from toolkit.errors import PromotionRefused, must_be
from toolkit.live.engine import Engine
from toolkit.market import Bars
from toolkit.market.series.several import as_series
from toolkit.risk.guardrails import Guards
from toolkit.store.runs import VersionRecord, Versions
from toolkit.strategy.spec import StrategySpec


def rehearsal_version(
    engine: Engine, spec: StrategySpec, bars: Bars | Mapping[str, Bars], guards: Guards
) -> VersionRecord:
    """Store an untried version, in a data folder below the system's temporary one and nowhere else.

    Raises
    ------
    PromotionRefused
        When the engine works on any other data folder or database: there, only ``promote`` makes versions.
    """
    home = engine.settings.home.resolve()
    if not home.is_relative_to(Path(gettempdir()).resolve()) or engine.settings.database_url.get_secret_value():
        raise PromotionRefused(
            must_be(
                "data folder of a rehearsal",
                "a temporary one with its own database",
                str(home),
                "promote with a sea trial",
            )
        )
    series = as_series(bars)
    facts = {symbol: each.instrument.facts() for symbol, each in series.items()}
    first, frame = next(iter(facts)), str(next(iter(series.values())).timeframe)
    trial: dict[str, Any] = {"symbol": first, "timeframe": frame, "instrument": facts[first]}
    if len(series) > 1:
        trial["series"] = [{"symbol": symbol, "instrument": each} for symbol, each in facts.items()]
    with engine.work() as work:
        version = Versions(work.connection, engine.principal).add(
            "rehearsal",
            engine.now(),
            version_hash=spec.hash,
            spec_hash=spec.hash,
            spec_json=spec.to_json(),
            guards_json=json.dumps(guards.facts(), sort_keys=True),
            instruments_json=json.dumps(facts, sort_keys=True),
            evidence_json=json.dumps({"trial": trial, "warmup_bars": spec.warmup_bars}, sort_keys=True),
            note="rehearsal of a sea trial",
        )
        work.commit()
    return version
