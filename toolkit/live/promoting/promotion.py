"""Promotion: from a strategy with a passed sea trial to an immutable BotVersion. The only way to one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from toolkit.errors import PromotionRefused, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.promoting.tested import tested_instruments
from toolkit.market import Bars
from toolkit.market.series.several import as_series, fingerprint_of
from toolkit.risk.guardrails import Guards
from toolkit.store.runs import VersionRecord, Versions
from toolkit.strategy.spec import StrategySpec

RULES_VERSION = 1
_PACKAGES = ("seatrial", "numpy", "numba", "pandas", "sqlalchemy", "pydantic")
_CHECKS = frozenset({"look_ahead", "warm_up", "columnar_equals_incremental", "backtest_equals_live"})


def promote(
    engine: Engine,
    strategy: Any,
    *,
    trial: Any,
    note: str = "",
    bot: str | None = None,
    guards: Guards | None = None,
    bars: Bars | Mapping[str, Bars] | None = None,
    statistics: Mapping[str, Any] | None = None,
    principal: Principal | None = None,
) -> VersionRecord:
    """Store a strategy as a new version of a bot, with the evidence it stands on.

    Parameters
    ----------
    strategy
        The ``SectionedStrategy`` (or its spec) that went through the trial.
    trial
        The report of its sea trial.
    note
        Why it is promoted; kept for ever.
    bot
        Name of the strategy line; the strategy's own name when left out.
    guards
        Guardrails of the version; those of the trial when left out. They may be tighter, never wider.
    bars
        When given, the trial must have been made on exactly these.
    statistics
        Figures of the sweep it was chosen from, with the number of sets tried.

    Returns
    -------
    VersionRecord
        The new version, or the one that already says exactly this.

    Raises
    ------
    PromotionRefused
        When the trial failed, was altered, or belongs to another strategy or other bars.
    """
    who = principal or engine.principal
    spec = StrategySpec.from_strategy(strategy)
    report = _checked_report(spec, trial, bars)
    kept = _checked_guards(guards, report)
    name = bot or spec.name
    instruments = tested_instruments(report)
    version_hash = _hash(
        {
            "rules": RULES_VERSION,
            "spec": spec.hash,
            "guards": kept.facts(),
            "instruments": instruments,
            "trial": report["digest"],
        }
    )
    now = engine.now()
    with engine.work(who) as work:
        versions = Versions(work.connection, who)
        parent = versions.latest(name)
        evidence: dict[str, Any] = {
            "trial": report,
            "params": dict(spec.values),
            "data_fingerprint": report["data_fingerprint"],
            "warmup_bars": max(report["declared_warmup_bars"], report["measured_warmup_bars"]),
            "packages": _packages(),
            "parent": None if parent is None else str(parent.bot_version_id),
            "changes": [] if parent is None else StrategySpec.from_json(parent.spec_json).diff(spec),
            "statistics": dict(statistics or {}),
        }
        record = versions.add(
            name,
            now,
            version_hash=version_hash,
            spec_hash=spec.hash,
            spec_json=spec.to_json(),
            guards_json=_canonical(kept.facts()),
            instruments_json=_canonical(instruments),
            evidence_json=_canonical(evidence),
            note=note,
        )
        work.commit()
    return record


def _checked_report(spec: StrategySpec, trial: Any, bars: Bars | Mapping[str, Bars] | None) -> dict[str, Any]:
    if not isinstance(trial, Mapping) and not hasattr(trial, "to_dict"):
        was = "None" if trial is None else type(trial).__name__
        raise PromotionRefused(
            must_be("trial", "the report of a sea trial", was, "run tk.sea_trial(strategy, bars, ...) first")
        )
    report: dict[str, Any] = dict(trial) if isinstance(trial, Mapping) else trial.to_dict()
    report = json.loads(json.dumps(report))
    content = {k: v for k, v in report.items() if k != "digest"}
    if _hash(content) != report.get("digest"):
        raise PromotionRefused(must_be("trial", "as the sea trial wrote it", "altered since", "run tk.sea_trial again"))
    if report["spec_hash"] != spec.hash:
        raise PromotionRefused(
            must_be(
                "trial",
                f"of this strategy (spec {spec.hash[:12]})",
                f"of {report['name']} (spec {report['spec_hash'][:12]})",
                "run tk.sea_trial on the strategy you promote",
            )
        )
    fingerprint = report["data_fingerprint"] if bars is None else fingerprint_of(as_series(bars))
    if fingerprint != report["data_fingerprint"]:
        raise PromotionRefused(
            must_be(
                "trial",
                f"on these bars (fingerprint {fingerprint[:12]})",
                f"on others ({report['data_fingerprint'][:12]})",
                "run tk.sea_trial on the bars you mean",
            )
        )
    checks = {c["name"]: c for c in report["checks"]}
    missing = sorted(_CHECKS - set(checks))
    if missing:
        raise PromotionRefused(must_be("trial", "complete", f"without {', '.join(missing)}", "run tk.sea_trial again"))
    failed = [c for c in report["checks"] if not c["passed"]]
    if failed:
        why = "; ".join(f"{c['name']}: {c['detail']}" for c in failed)
        raise PromotionRefused(
            must_be("trial", "passed", f"failed ({why})", "correct the strategy and run tk.sea_trial again")
        )
    return report


def _checked_guards(guards: Guards | None, report: Mapping[str, Any]) -> Guards:
    tested = Guards.from_facts(report["guards"])
    if guards is None:
        return tested
    wider = guards.wider_than(tested)
    if wider:
        raise PromotionRefused(
            must_be(
                "guards",
                f"at least as tight as the trial's ({tested.words()})",
                "wider in " + ", ".join(f"{name} {mine} (there {theirs})" for name, (mine, theirs) in wider.items()),
                "run the sea trial with the guards you want",
            )
        )
    return guards


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _hash(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
