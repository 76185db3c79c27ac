"""Names of the portfolio loop's memory beside ``w``, whose cells of `toolkit.simulation.state` hold what the symbols share.

``p`` has a row of parameters and state for each symbol; ``x`` are the columns of each symbol on the moments they share.
"""

from __future__ import annotations

# parameters of a symbol, columns of p
P_FIXED_STEPS = 0
P_RISK_PPM = 1
P_MIN_STEPS = 2
P_MAX_STEPS = 3
P_COMMISSION_NUM = 4
P_COMMISSION_DEN = 5
P_SLIPPAGE = 6
P_MAX_SPREAD = 7
P_MAX_LOTS_STEPS = 8
P_MARGIN_MODE = 9
P_MARGIN_NUM = 10
P_MARGIN_DEN = 11
P_SWAP_MODE = 12
P_SWAP_LONG = 13
P_SWAP_SHORT = 14
P_SWAP_DEN = 15
# state of a symbol
P_POS = 16
P_STEPS = 17
P_ENTRY_AT = 18
P_ENTRY_PRICE = 19
P_SL = 20
P_TP = 21
P_COST = 22
P_SWAP = 23
P_MARGIN = 24
P_LAST_EXIT = 25  # in bars of the symbol
WIDTH_P = 26

# columns of x
X_BID_OPEN = 0
X_BID_HIGH = 1
X_BID_LOW = 2
X_BID_CLOSE = 3
X_ASK_OPEN = 4
X_ASK_HIGH = 5
X_ASK_LOW = 6
X_ASK_CLOSE = 7
X_STOP = 8
X_TARGET = 9
X_NIGHTS = 10
X_DECISION = 11  # carried out at the open of this moment
X_HERE = 12  # 1 where the symbol has a bar; elsewhere its prices are those of its last close
X_BAR = 13  # number of its last bar that has opened
WIDTH_X = 14

TRADE_FIELDS = 11  # symbol side steps entry_at entry_price exit_at exit_price reason profit commission swap
SKIP_FIELDS = 4  # symbol at side reason
