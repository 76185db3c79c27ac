"""Names of the managed loop's own memory ``g``, flat 64-bit integers beside the plain loop's ``w``.

The first cells are the plan's parameters and the state; the partials follow, `PART_WIDTH` cells each. What may change from
bar to bar (levels and distances) lies in one flat int32 array, at the places the ``*_AT`` cells tell.
"""

from __future__ import annotations

# parameters
KIND = 0  # of the entry: AT_MARKET, AT_LIMIT, AT_STOP
EXPIRY_NS = 1  # how long a pending order works, from the open it is placed at
FRAME_NS = 2  # of the bars
PER_PIP = 3  # points
LIFE_BARS = 4  # close at the open of this many bars after the fill; 0: never
PARTS = 5  # number of partials
LONG_AT = 6  # pending level of a buy
SHORT_AT = 7
TRAIL_AT = 8
TRAIL_AFTER_AT = 9
EVEN_AFTER_AT = 10
EVEN_PLUS_AT = 11
LONG_STRIDE = 12  # 1: one value a bar, 0: one for all; in the order of the AT cells
SHORT_STRIDE = 13
TRAIL_STRIDE = 14
TRAIL_AFTER_STRIDE = 15
EVEN_AFTER_STRIDE = 16
EVEN_PLUS_STRIDE = 17
# state
FIRST_HELD = 18
WAITS = 18  # side of the pending order, 0 when there is none
WAITS_AT = 19  # its level
WAITS_STEPS = 20
WAITS_SL = 21
WAITS_TP = 22
WAITS_UNTIL = 23  # ns
PLANNED = 24  # bar of the decision that the position, or the pending order, was planned on
PLANNED_STOP = 25  # its stop distance
BEST = 26  # best price of the position on its closing quote
BEST_FROM = 27  # first bar whose range counts for it
ENTRY_STEPS = 28  # volume of the entry
WIDTH_G = 29

PART_AT = 0  # where its distance lies
PART_STRIDE = 1
PART_NUM = 2  # fraction of the entry's volume
PART_DEN = 3
PART_DONE = 4  # state: 1 once decided for this position
PART_WIDTH = 5

# ratios, floats
TRAIL_RATIO = 0
EVEN_RATIO = 1
PART_RATIOS = 2  # one a partial from here on
