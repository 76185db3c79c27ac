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
FULL = 19  # write equity, trades and skips
TRADE_CAPACITY = 20
SKIP_CAPACITY = 21
DAYS = 22
DAY_LAST_AT = 23  # index of the last bar of each platform day
DAILY_AT = 24  # equity at the end of each day
EQUITY_AT = 25  # equity at each bar close
SKIPS_AT = 26
TRADES_AT = 27
# state
FIRST_STATE = 28
NEXT = 28  # next bar whose decision or range has not been looked at
MARKED = 29  # bars before this one have their equity
POS = 30  # side of the open position, 0 when flat
STEPS = 31
ENTRY_BAR = 32
ENTRY_PRICE = 33
SL = 34
TP = 35
ENTRY_COST = 36  # commission of the entry, <= 0
BALANCE = 37
TRADES = 38
SKIPS = 39
LAST_EXIT = 40  # bar of the last exit, far below zero before the first
DAY = 41  # index of the next platform day whose last close has not been marked
BASE_DAY = 42
BASE = 43  # equity at the first open of that day
PEAK = 44
TROUGH = 45
WORST_PEAK = 46  # peak and trough of the largest relative drawdown so far
WORST_TROUGH = 47
WINS = 48
GROSS_WIN = 49
GROSS_LOSS = 50
COMMISSION = 51
BARS_IN = 52
OPENING = 53  # balance before the first bar
SWAP = 54
WIDTH = 56

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
