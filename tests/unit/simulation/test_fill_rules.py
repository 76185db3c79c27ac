"""Each published fill rule, one hand-made case at a time. Prices are points; spread 2; bars are (o, h, l, c) of the bid."""

from __future__ import annotations

from fractions import Fraction

import pytest

from toolkit.simulation import rules

LONG, SHORT, LEAVE_LONG, LEAVE_SHORT = 1, 2, 4, 8


def bar(o, h, low, c, spread=2):
    return (o, h, low, c, o + spread, h + spread, low + spread, c + spread)


FLAT = bar(1000, 1000, 1000, 1000)


@pytest.fixture
def play(make_case, run_case):
    """Run bars with decisions by bar index; one step, stop 20, a point of a step is one cent."""

    def go(bars, decisions, **changes):
        code = [decisions.get(i, 0) for i in range(len(bars))]
        given = {"rows": bars, "code": code, "stop": [20], "fixed_steps": 1, **changes}
        return run_case(make_case(**given))

    return go


def only(run):
    assert len(run.trades) == 1
    side, steps, entry_bar, entry, exit_bar, price, reason, profit, commission, swap = run.trades[0].tolist()
    return {
        "side": side, "steps": steps, "entry_bar": entry_bar, "entry": entry, "exit_bar": exit_bar, "price": price,
        "reason": rules.EXIT_REASONS[reason], "profit": profit, "commission": commission, "swap": swap,
    }  # fmt: skip


def test_decision_of_bar_t_fills_at_the_open_of_t_plus_1(play):
    """A buy decided at bar 1 pays the ask of bar 2's open."""
    run = play([FLAT, FLAT, bar(1010, 1012, 1008, 1010)], {1: LONG})
    assert (run.open_trade.entry_bar, run.open_trade.entry_price) == (2, 1012)


def test_a_sell_gets_the_bid(play):
    """A short is entered at the bid of the open."""
    run = play([FLAT, bar(1010, 1012, 1008, 1010)], {0: SHORT})
    assert (run.open_trade.side, run.open_trade.entry_price) == (-1, 1010)


def test_last_bar_decides_nothing(play):
    """A decision on the last bar of the data opens no position."""
    assert play([FLAT, FLAT], {1: LONG}).open_trade is None


def test_fill_at_close_uses_the_close_quote_of_the_same_bar(play):
    """With fill_at close the ask of bar t's own close is paid and bar t's range is not watched."""
    run = play([FLAT, bar(1000, 1000, 950, 1005), FLAT], {1: LONG}, at_close=True)
    assert (run.open_trade.entry_bar, run.open_trade.entry_price) == (1, 1007)


def test_gap_over_the_stop_fills_at_the_open(play):
    """A long that opens below its stop is closed at that open."""
    t = only(play([FLAT, FLAT, bar(970, 975, 960, 970)], {0: LONG}))
    assert (t["reason"], t["price"], t["exit_bar"], t["profit"]) == ("stop_loss", 970, 2, -32)


def test_gap_over_the_target_fills_at_the_open(play):
    """A long that opens above its target gets the better open."""
    t = only(play([FLAT, FLAT, bar(1050, 1060, 1040, 1050)], {0: LONG}, target=[30]))
    assert (t["reason"], t["price"], t["profit"]) == ("take_profit", 1050, 48)


def test_gap_exit_comes_before_the_strategy_exit_of_the_same_open(play):
    """A position that gapped over its stop is a stop, even where the strategy also leaves at that open."""
    t = only(play([FLAT, FLAT, bar(970, 975, 960, 970)], {0: LONG, 1: LEAVE_LONG}))
    assert t["reason"] == "stop_loss"


def test_after_a_gap_exit_the_entry_of_the_same_open_is_made(play):
    """Order at an open: gapped exits, strategy exits, then entries."""
    run = play([FLAT, FLAT, bar(970, 975, 965, 970)], {0: LONG, 1: LONG})
    assert only(run)["reason"] == "stop_loss"
    assert run.open_trade.entry_bar == 2


def test_strategy_exit_fills_at_the_next_open(play):
    """A long left by signal gets the bid of the next open."""
    t = only(play([FLAT, FLAT, bar(1007, 1007, 1007, 1007)], {0: LONG, 1: LEAVE_LONG}))
    assert (t["reason"], t["price"], t["profit"]) == ("signal", 1007, 5)


def test_long_is_watched_on_the_bid(play):
    """The bid touching the stop exactly closes a long at exactly the level."""
    t = only(play([FLAT, FLAT, bar(1000, 1000, 982, 1000)], {0: LONG}))
    assert (t["reason"], t["price"]) == ("stop_loss", 982)


def test_one_point_above_the_stop_is_no_touch(play):
    """A low one point above the stop leaves the long open."""
    assert len(play([FLAT, FLAT, bar(1000, 1000, 983, 1000)], {0: LONG}).trades) == 0


def test_short_is_watched_on_the_ask(play):
    """A short entered at bid 1000 with stop 20 is closed when the ask, not the bid, reaches 1020."""
    t = only(play([FLAT, FLAT, bar(1000, 1018, 1000, 1000)], {0: SHORT}))
    assert (t["reason"], t["price"], t["profit"]) == ("stop_loss", 1020, -20)


def test_target_is_touched_by_the_closing_side(play):
    """A short's target needs the ask at the level: bid 969 with spread 2 is ask 971, one short of 970."""
    assert len(play([FLAT, FLAT, bar(1000, 1000, 969, 1000)], {0: SHORT}, target=[30]).trades) == 0
    t = only(play([FLAT, FLAT, bar(1000, 1000, 968, 1000)], {0: SHORT}, target=[30]))
    assert (t["reason"], t["price"], t["profit"]) == ("take_profit", 970, 30)


def test_stop_before_target_inside_one_bar(play):
    """A bar that touches both closes at the stop."""
    t = only(play([FLAT, FLAT, bar(1000, 1100, 900, 1000)], {0: LONG}, target=[30]))
    assert (t["reason"], t["price"]) == ("stop_loss", 982)


def test_range_of_the_fill_bar_is_watched(play):
    """A stop touched in the very bar of the entry closes the position in that bar."""
    t = only(play([FLAT, bar(1000, 1000, 980, 1000), FLAT], {0: LONG}))
    assert (t["entry_bar"], t["exit_bar"], t["price"]) == (1, 1, 982)


@pytest.mark.parametrize("decision", [LONG, SHORT])
def test_entry_with_its_stop_inside_the_spread_is_refused(play, decision):
    """A stop of 20 points is refused at a spread of 20, as by a trading server, and made at a spread of 19."""
    run = play([FLAT, bar(1000, 1000, 1000, 1000, spread=20), FLAT], {0: decision})
    assert [rules.SKIP_REASONS[reason] for reason in run.skips[:, 2]] == ["stop_inside_spread"]
    assert (len(run.trades), run.open_trade) == (0, None)
    wide = [bar(1000, 1000, 1000, 1000, spread=19)] * 2
    assert play([FLAT, *wide], {0: decision}).open_trade.entry_bar == 1


def test_opposite_entry_closes_then_opens(play):
    """A short signal closes the long and opens the short, both at the same open."""
    run = play([FLAT, FLAT, bar(1005, 1005, 1005, 1005)], {0: LONG, 1: SHORT})
    t = only(run)
    assert (t["reason"], t["price"]) == ("reverse", 1005)
    assert (run.open_trade.side, run.open_trade.entry_price) == (-1, 1005)


def test_exit_and_opposite_entry_at_once_is_a_signal_exit(play):
    """Leaving the long and entering short in one decision is recorded as signal."""
    run = play([FLAT, FLAT, FLAT], {0: LONG, 1: SHORT | LEAVE_LONG})
    assert only(run)["reason"] == "signal"
    assert run.open_trade.side == -1


def test_entry_of_the_side_already_open_is_ignored(play):
    """A second buy while long changes nothing."""
    run = play([FLAT] * 4, {0: LONG, 1: LONG})
    assert (run.open_trade.entry_bar, len(run.trades), len(run.skips)) == (1, 0, 0)


def test_opposite_position_is_closed_even_if_the_entry_is_skipped(play):
    """The reversing entry has no stop: the long is closed all the same, and the skip is noted."""
    run = play([FLAT] * 3, {0: LONG, 1: SHORT}, stop=[20, 0, 20])
    assert only(run)["reason"] == "reverse"
    assert run.skips.tolist() == [[2, -1, rules.NO_STOP]]


def test_target_not_beyond_the_quote_skips_the_entry(play):
    """A target distance of nothing is skipped with its reason."""
    run = play([FLAT] * 3, {0: LONG}, target=[0])
    assert run.skips.tolist() == [[1, 1, rules.TARGET_NOT_BEYOND]]


def test_reward_to_risk_target_is_the_nearest_point(play):
    """1.5 times a stop of 21 points is 31.5, placed 32 points away."""
    run = play([FLAT] * 3, {0: LONG}, stop=[21], ratio=Fraction(3, 2))
    assert (run.open_trade.stop, run.open_trade.target) == (1002 - 21, 1002 + 32)


def test_open_position_at_the_end_is_marked_not_closed(play):
    """The last equity holds the open profit at the closing quote; trades do not."""
    run = play([FLAT, FLAT, bar(1000, 1030, 1000, 1030)], {0: LONG})
    assert (run.equity[-1], len(run.trades)) == (1_000_000 + 28, 0)


def test_risk_percent_uses_equity_and_rounds_lots_down(play):
    """1 % of 1,999 cents over a stop of 20 points is 0.9995 of a cent a point: below one step; 2,000 is one step."""
    small = play([FLAT] * 3, {0: LONG}, fixed_steps=0, balance=199_9, risk=Fraction(1, 100))
    assert small.skips.tolist() == [[1, 1, rules.BELOW_MINIMUM]]
    assert play([FLAT] * 3, {0: LONG}, fixed_steps=0, balance=2000).open_trade.steps == 1


def test_risk_percent_sees_the_exit_of_the_same_open(play):
    """A reversal is sized on the equity after the close at the same open."""
    bars = [FLAT, FLAT, bar(1010, 1010, 1010, 1010)]
    run = play(bars, {0: LONG, 1: SHORT}, fixed_steps=0, balance=100_000)
    assert only(run)["profit"] == 50 * 8
    assert run.open_trade.steps == (100_000 + 400) // 100 // 20


def test_lots_are_capped_at_the_maximum(play):
    """A size beyond the instrument's maximum is capped, not skipped."""
    assert play([FLAT] * 3, {0: LONG}, fixed_steps=0, max_steps=3).open_trade.steps == 3


def test_commission_is_booked_at_each_side(play):
    """Entry and exit each cost the commission, rounded half away from zero; equity falls at the entry already."""
    run = play([FLAT, FLAT, FLAT, FLAT], {0: LONG, 1: LEAVE_LONG}, commission=Fraction(5, 2))
    assert only(run)["commission"] == -6
    assert run.equity.tolist() == [1_000_000, 1_000_000 - 3 - 2, 1_000_000 - 2 - 6, 1_000_000 - 2 - 6]


def test_slippage_worsens_market_fills_not_levels(play):
    """A buy pays 3 points more and its signal exit gets 3 less; the stop stays at its distance from the quote."""
    run = play([FLAT] * 4, {0: LONG, 1: LEAVE_LONG}, slippage=3)
    t = only(run)
    assert (t["entry"], t["price"]) == (1005, 997)
    stopped = only(play([FLAT, FLAT, bar(1000, 1000, 900, 1000)], {0: LONG}, slippage=3))
    assert (stopped["entry"], stopped["price"]) == (1005, 982)


def test_profit_converts_at_the_last_close_before_the_fill(play):
    """A range exit in bar 2 converts at the rate of bar 1's close; equity at a close uses that close's rate."""
    rates = [Fraction(9), Fraction(2), Fraction(7), Fraction(5)]
    run = play([FLAT, FLAT, bar(1000, 1000, 900, 1000), FLAT], {0: LONG}, rates=rates)
    assert only(run)["profit"] == -20 * 2
    assert run.equity.tolist() == [1_000_000, 1_000_000 - 2 * 2, 1_000_000 - 40, 1_000_000 - 40]


def test_money_rounds_half_away_from_zero():
    """Both signs round away from zero at exactly a half."""
    assert [rules.money(p, 1, 1, 2) for p in (1, -1, 3, -3, 2)] == [1, -1, 2, -2, 1]


def test_daily_loss_counts_from_the_first_open_of_the_platform_day(play):
    """After a loss of 1 % within the day entries are denied; the next day starts afresh."""
    bars = [FLAT, FLAT, bar(900, 900, 900, 900), FLAT, FLAT, FLAT, FLAT]
    changes = {"fixed_steps": 0, "balance": 100_000, "daily_loss": Fraction(1, 100), "days": [0] * 5 + [1] * 2}
    run = play(bars, {0: LONG, 3: LONG, 5: LONG}, **changes)
    assert run.skips.tolist() == [[4, 1, 16]]
    assert run.open_trade.entry_bar == 6


def test_daily_base_holds_the_open_profit_of_a_position_kept_over_midnight(play):
    """A profit carried into the day and given back counts as the day's loss."""
    bars = [FLAT, FLAT, bar(1000, 1200, 1000, 1200), bar(1200, 1200, 1000, 1000), bar(1000, 1000, 1000, 1000), FLAT]
    changes = {"stop": [900], "fixed_steps": 10, "balance": 100_000, "daily_loss": Fraction(1, 100)}
    run = play(bars, {0: LONG, 3: SHORT | LEAVE_LONG}, days=[0, 0, 0, 1, 1, 1], **changes)
    assert run.skips.tolist() == [[4, -1, 16]]
    assert len(play(bars, {0: LONG, 3: SHORT | LEAVE_LONG}, days=[0] * 6, **changes).skips) == 0


def test_cooldown_counts_bars_after_the_bar_of_the_exit(play):
    """An exit in bar 2 with a cooldown of 2 denies bars 3 and 4; bar 5 enters."""
    bars = [FLAT, FLAT, bar(1000, 1000, 900, 1000), FLAT, FLAT, FLAT]
    run = play(bars, {0: LONG, 2: LONG, 3: LONG, 4: LONG}, cooldown=2)
    assert run.skips.tolist() == [[3, 1, 18], [4, 1, 18]]
    assert run.open_trade.entry_bar == 5


def test_spread_guard_denies_a_wide_quote(play):
    """An entry at a spread above the limit is denied, at the limit it is made."""
    wide, narrow = (bar(1000, 1000, 1000, 1000, spread=s) for s in (9, 8))
    assert play([FLAT, wide, FLAT], {0: LONG}, max_spread=8).skips.tolist() == [[1, 1, 19]]
    assert play([FLAT, narrow, FLAT], {0: LONG}, max_spread=8).open_trade is not None
