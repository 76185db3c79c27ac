"""Names of the loop's parameters and state: positions in its flat integer arrays."""

from __future__ import annotations

# state, integers
NEXT = 0  # next bar whose decision or range has not been looked at
MARKED = 1  # bars before this one have their equity
POS = 2  # side of the open position, 0 when flat
STEPS = 3
ENTRY_BAR = 4
ENTRY_PRICE = 5
SL = 6
TP = 7
ENTRY_COST = 8  # commission of the entry, <= 0
BALANCE = 9
TRADES = 10
SKIPS = 11
LAST_EXIT = 12  # bar of the last exit, far below zero before the first
DAY = 13  # index of the next platform day whose last close has not been marked
BASE_DAY = 14
BASE = 15  # equity at the first open of that day
PEAK = 16
TROUGH = 17
WINS = 18
GROSS_WIN = 19
GROSS_LOSS = 20
COMMISSION = 21
BARS_IN = 22
OPENING = 23  # balance before the first bar
SWAP = 24
WIDTH_S = 26
# state, floats
MAX_DRAWDOWN = 0
MEAN = 1  # of daily returns
DEVIATION = 2  # sample standard deviation of daily returns
DOWNSIDE = 3  # root mean square of the negative daily returns, over all days
WIDTH_F = 4

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
VALUE_STRIDE = 13
REVERSES = 14  # an opposite entry closes the position
DAILY_LOSS_PPM = 15
MAX_OPEN_LIMIT = 16
COOLDOWN_BARS = 17
MAX_SPREAD_POINTS = 18
FULL = 19  # write equity, trades and skips
TRADE_CAPACITY = 20
SKIP_CAPACITY = 21
WIDTH_P = 22

TRADE_WIDTH = 10  # side steps entry_bar entry_price exit_bar exit_price reason profit commission swap
SKIP_WIDTH = 3  # bar side reason

DONE = 0
GROW = 1
NEVER = -(1 << 60)
NO_LEVEL_ABOVE = (1 << 31) - 1
