"""Promotion: a version needs a passed trial of its own strategy, and never changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

import toolkit as tk
from tests.plugins.live_support import EmaCross, RsiReversal, Sea
from toolkit.errors import PromotionRefused
from toolkit.live.promoting.promotion import promote
from toolkit.market import Bars
from toolkit.research.trial.report import CheckResult, TrialReport


def resealed(report: TrialReport, **changed: object) -> TrialReport:
    """Return a report with other content and a digest that fits it."""
    content = {name: getattr(report, name) for name in TrialReport.__slots__ if name != "digest"}
    return TrialReport.seal(**{**content, **changed})


def test_a_passed_trial_makes_a_version_with_its_evidence(sea: Sea, some_bars: Bars) -> None:
    """The version keeps spec, guards, contract facts, data fingerprint, packages and note."""
    report = sea.trial(EmaCross(), some_bars, guards=tk.Guards(cooldown_bars=3))
    version = promote(sea.engine, EmaCross(), trial=report, note="why")
    evidence = version.evidence
    assert version.number == 1 and version.note == "why" and version.bot == "EmaCross"
    assert tk.StrategySpec.from_json(version.spec_json).hash == version.spec_hash == report.spec_hash
    assert evidence["data_fingerprint"] == some_bars.fingerprint
    assert evidence["trial"]["digest"] == report.digest
    assert evidence["packages"]["numpy"]
    assert '"cooldown_bars":3' in version.guards_json


def test_the_same_promotion_twice_is_one_version(sea: Sea, some_bars: Bars) -> None:
    """Promoting again what is already promoted returns the version there is."""
    report = sea.trial(EmaCross(), some_bars)
    first = promote(sea.engine, EmaCross(), trial=report)
    assert promote(sea.engine, EmaCross(), trial=report) == first


def test_other_parameters_are_another_version_with_a_parent(sea: Sea, some_bars: Bars) -> None:
    """The next version names its parent and says in words what changed."""
    first = sea.version(EmaCross(), some_bars)
    second = sea.version(EmaCross(fast=15), some_bars)
    assert second.number == 2 and second.version_hash != first.version_hash
    assert second.evidence["parent"] == str(first.bot_version_id)
    assert any("fast" in line for line in second.evidence["changes"])


def test_no_trial_is_refused(sea: Sea) -> None:
    """Promotion without a report says what to run first."""
    with pytest.raises(PromotionRefused, match=r"tk\.sea_trial"):
        promote(sea.engine, EmaCross(), trial=None)
    with pytest.raises(PromotionRefused, match="the report of a sea trial, was int"):
        promote(sea.engine, EmaCross(), trial=1)


def test_a_failed_trial_is_refused_and_says_which_check(sea: Sea, some_bars: Bars) -> None:
    """The refusal names the check that failed and its finding."""
    report = sea.trial(EmaCross(), some_bars)
    failed = CheckResult("look_ahead", False, "atr at bar 17 reads the future")
    broken = resealed(report, checks=(failed, *report.checks[1:]))
    with pytest.raises(PromotionRefused, match=r"look_ahead: atr at bar 17 reads the future"):
        promote(sea.engine, EmaCross(), trial=broken)


def test_a_trial_without_one_of_the_checks_is_refused(sea: Sea, some_bars: Bars) -> None:
    """Leaving a check out is not passing it."""
    report = sea.trial(EmaCross(), some_bars)
    with pytest.raises(PromotionRefused, match="without backtest_equals_live"):
        promote(sea.engine, EmaCross(), trial=resealed(report, checks=report.checks[:3]))


def test_the_trial_of_another_strategy_is_refused(sea: Sea, some_bars: Bars) -> None:
    """A report belongs to the spec it was made of."""
    report = sea.trial(RsiReversal(), some_bars)
    with pytest.raises(PromotionRefused, match="of RsiReversal"):
        promote(sea.engine, EmaCross(), trial=report)


def test_the_trial_of_other_bars_is_refused(sea: Sea, some_bars: Bars) -> None:
    """With bars given, their fingerprint must be the trial's."""
    report = sea.trial(EmaCross(), some_bars)
    with pytest.raises(PromotionRefused, match="fingerprint"):
        promote(sea.engine, EmaCross(), trial=report, bars=some_bars[:-1])


def test_an_altered_report_is_refused(sea: Sea, some_bars: Bars) -> None:
    """A report whose content no longer fits its seal is not evidence."""
    report = replace(sea.trial(EmaCross(), some_bars), trades=999)
    with pytest.raises(PromotionRefused, match="altered"):
        promote(sea.engine, EmaCross(), trial=report)


def test_wider_guards_than_tested_are_refused(sea: Sea, some_bars: Bars) -> None:
    """Guards may be tighter than the trial's, never wider."""
    report = sea.trial(EmaCross(), some_bars, guards=tk.Guards(daily_loss_percent=2))
    with pytest.raises(PromotionRefused, match="at least as tight"):
        promote(sea.engine, EmaCross(), trial=report, guards=tk.Guards(daily_loss_percent=3))
    assert promote(sea.engine, EmaCross(), trial=report, guards=tk.Guards(daily_loss_percent=1)).number == 1
