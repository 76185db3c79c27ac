"""Versions are listed, found, compared in words and retired; a retired one begins no run."""

from __future__ import annotations

import pytest
from sqlalchemy import select

import toolkit as tk
from tests.plugins.live_support import EmaCross, Sea
from toolkit.errors import Forbidden, NotFound, RunError
from toolkit.live.advance import advance
from toolkit.live.promoting.versions import (
    compare_versions,
    find_version,
    list_versions,
    restore_version,
    retire_version,
)
from toolkit.market import Bars
from toolkit.store.people.accounts import ensure_user
from toolkit.store.sql.models import Audit


def test_two_versions_are_compared_in_words(sea: Sea, some_bars: Bars) -> None:
    """Parameters, guards and evidence that changed are named with both values; the parent is the one before."""
    one = sea.version(EmaCross(), some_bars)
    two = sea.version(EmaCross(fast=15), some_bars[:800], guards=tk.Guards(cooldown_bars=3))
    found = compare_versions(one, two)
    assert any("fast" in words and "12" in words and "15" in words for words in found.strategy)
    assert any(words.startswith("cooldown_bars 0 -> 3") for words in found.guards)
    assert any(words.startswith("data ") for words in found.evidence) and found.instruments == ()
    assert "EmaCross v2 against EmaCross v1" in str(found)
    assert two.evidence["parent"] == str(one.bot_version_id) and two.evidence["changes"] == list(found.strategy)
    assert not compare_versions(one, one) and "equal" in str(compare_versions(one, one))


def test_a_version_is_found_by_what_people_call_it(sea: Sea, some_bars: Bars) -> None:
    """Name and number, the bot's newest, an id, the beginning of a hash; anything else lists what there is."""
    one, two = sea.version(EmaCross(), some_bars), sea.version(EmaCross(fast=15), some_bars)
    engine, me = sea.engine, sea.engine.principal
    for words, wanted in (
        ("EmaCross v1", one), ("EmaCross", two), (str(two.bot_version_id)[:13], two), (one.version_hash[:16], one),
    ):  # fmt: skip
        assert find_version(engine, me, words) == wanted
    with pytest.raises(NotFound, match="EmaCross v1, EmaCross v2"):
        find_version(engine, me, "EmaCross v9")
    assert "spec" not in repr(one) and "EmaCross v1" in repr(one)


def test_a_retired_version_begins_no_run_and_what_runs_goes_on(sea: Sea, some_bars: Bars) -> None:
    """The refusal says why it was retired; the run under way trades to its end; the audit trail has both moves."""
    engine, me = sea.engine, sea.engine.principal
    version = sea.version(EmaCross(), some_bars)
    run = sea.run(version, sea.account(), some_bars)
    retired = retire_version(engine, me, version, reason="found a bug in the exit")
    assert list_versions(engine, me) == [] and list_versions(engine, me, retired=True) == [retired]
    with pytest.raises(RunError, match="found a bug in the exit"):
        sea.run(version, sea.account("paper-2"), some_bars)
    advance(engine, run.live_run_id, run.account_id)
    assert sea.finish(run).status == "STOPPED" and sea.trades(run)
    restore_version(engine, me, "EmaCross v1")
    assert sea.run(version, sea.account("paper-3"), some_bars).status == "RUNNING"
    with engine.work(write=False) as work:
        actions = work.connection.execute(select(Audit.action).where(Audit.action.like("version.%"))).scalars().all()
    assert actions == ["version.promote", "version.retire", "version.restore"]
    with pytest.raises(RunError, match="reason must be given"):
        retire_version(engine, me, version, reason=" ")


def test_ownership_a_foreign_version_is_not_retired(sea: Sea, some_bars: Bars) -> None:
    """Somebody else's version does not exist for me."""
    version = sea.version(EmaCross(), some_bars)
    with sea.engine.work() as work:
        other = ensure_user(work.connection, sea.engine.now(), "other", "human")
        work.commit()
    with pytest.raises((Forbidden, NotFound)):
        retire_version(sea.engine, other, version, reason="not mine")
