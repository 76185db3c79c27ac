"""Names of the loop's working memory: one flat array of 64-bit integers holding parameters, state and all outputs.

One array instead of many, because a compiled call pays for every array it is handed. The first `WIDTH` cells are named
here; the outputs follow at the places the ``*_AT`` cells tell.
"""

from __future__ import annotations

# parameters
BARS = 0
FIXED_STEPS = 1
RISK_PPM = 2
MIN_STEPS = 3
MAX_STEPS = 4
COMMISSION_NUM = 5
COMMISSION_DEN = 6
SLIPPAGE = 7
AT_CLOSE = 8  # decisions fill at the close quote of their own bar
STOP_REQUIRED = 9
HAS_TARGET = 10
STOP_STRIDE = 11
TARGET_STRIDE = 12
VALUE_STRIDE = 13  # 0: one point value for all bars, 2: a pair (num, den) a bar
REVERSES = 14  # an opposite entry closes the position
DAILY_LOSS_PPM = 15
MAX_OPEN_LIMIT = 16
COOLDOWN_BARS = 17
MAX_SPREAD_POINTS = 18
DRAWDOWN_PPM = 19
MAX_LOSSES = 20
MAX_OPEN_RUN_LIMIT = 21
MAX_LOTS_STEPS = 22
EXPOSURE_CENTI = 23
FULL = 24  # write equity, trades and skips
TRADE_CAPACITY = 25
SKIP_CAPACITY = 26
DAYS = 27
DAY_LAST_AT = 28  # index of the last bar of each platform day
DAILY_AT = 29  # equity at the end of each day
EQUITY_AT = 30  # equity at each bar close
SKIPS_AT = 31
TRADES_AT = 32
# state
FIRST_STATE = 33
NEXT = 33  # next bar whose decision or range has not been looked at
MARKED = 34  # bars before this one have their equity
POS = 35  # side of the open position, 0 when flat
STEPS = 36
ENTRY_BAR = 37
ENTRY_PRICE = 38
SL = 39
TP = 40
ENTRY_COST = 41  # commission of the entry that no partial has taken with it, <= 0
BALANCE = 42
TRADES = 43
SKIPS = 44
LAST_EXIT = 45  # bar of the last exit, far below zero before the first
DAY = 46  # index of the next platform day whose last close has not been marked
BASE_DAY = 47
BASE = 48  # equity at the first open of that day
PEAK_BASE = 49  # highest equity at the first open of any day so far
LOSSES = 50  # losing trades in a row on the present day
TRIPPED = 51  # guard that tripped and still holds, 0 when none
PEAK = 52
TROUGH = 53
WORST_PEAK = 54  # peak and trough of the largest relative drawdown so far
WORST_TROUGH = 55
WINS = 56
GROSS_WIN = 57
GROSS_LOSS = 58
COMMISSION = 59
BARS_IN = 60
OPENING = 61  # balance before the first bar
SWAP = 62
RESULT = 63  # what the open position has booked so far, entry commission included
MARGIN = 64  # of the open position
FLOOR = 65  # equity below which it is stopped out
STOP_OUT_AT = 66  # price at or beyond which that may be, 0 for none
TRADE_SWAP = 67  # of the open position so far; the balance has it already
NIGHT_DAY = 68  # index of the platform day whose first bar pays the next swap
NIGHT_BAR = 69
END_STATE = 70
# parameters of holding a position
MARGIN_MODE = 70  # 0: no margin, no stop-out
MARGIN_NUM = 71
MARGIN_DEN = 72
STOP_OUT_PERCENT = 73
MOST_NUM = 74  # largest value of a point in the run
MOST_DEN = 75
SWAP_MODE = 76  # 0: no swap; else the nights follow the days' last bars
SWAP_LONG = 77
SWAP_SHORT = 78
SWAP_DEN = 79
WIDTH = 80

# moments, floats
MAX_DRAWDOWN = 0
MEAN = 1  # of daily returns
DEVIATION = 2  # sample standard deviation of daily returns
DOWNSIDE = 3  # root mean square of the negative daily returns, over all days
WIDTH_F = 4

TRADE_WIDTH = 10  # side steps entry_bar entry_price exit_bar exit_price reason profit commission swap
SKIP_WIDTH = 3  # bar side reason

DONE = 0
GROW = 1
NEVER = -(1 << 60)
NO_LEVEL_ABOVE = (1 << 31) - 1
