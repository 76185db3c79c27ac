"""Strategies as data: expression graph, step functions, the columnar and the incremental driver."""

from __future__ import annotations

from toolkit.strategy.authoring.expressions import Expr
from toolkit.strategy.authoring.management import Management
from toolkit.strategy.authoring.params import Bool, Choice, Float, Int
from toolkit.strategy.authoring.sectioned import SectionedStrategy
from toolkit.strategy.authoring.sections import (
    RR,
    BreakEven,
    Entry,
    Exit,
    LimitEntry,
    Lots,
    Partial,
    Pips,
    Protection,
    RiskPercent,
    StopEntry,
    Trail,
)
from toolkit.strategy.drivers.columnar import ColumnCache, Decisions, evaluate
from toolkit.strategy.drivers.compute import compute
from toolkit.strategy.drivers.incremental import Decision, Incremental
from toolkit.strategy.graph import Graph
from toolkit.strategy.higher import higher_timeframe
from toolkit.strategy.indicators import *  # noqa: F403
from toolkit.strategy.indicators import __all__ as _indicators
from toolkit.strategy.spec import StrategySpec
from toolkit.strategy.user_code.user_steps import indicator

__all__ = [  # noqa: PLE0604
    "RR",
    "Bool",
    "BreakEven",
    "LimitEntry",
    "Management",
    "Partial",
    "StopEntry",
    "Trail",
    "Choice",
    "ColumnCache",
    "Decision",
    "Decisions",
    "Entry",
    "Exit",
    "Expr",
    "Float",
    "Graph",
    "Incremental",
    "Int",
    "Lots",
    "Pips",
    "Protection",
    "RiskPercent",
    "SectionedStrategy",
    "StrategySpec",
    "compute",
    "evaluate",
    "higher_timeframe",
    "indicator",
    *_indicators,
]
