"""Seatrial: from a strategy typed in a notebook cell to live execution. ``import toolkit as tk``.

Names are loaded on first use, so that the import itself stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS: dict[str, str] = {
    "Bars": "toolkit.market:Bars",
    "Instrument": "toolkit.market:Instrument",
    "Quote": "toolkit.market:Quote",
    "Side": "toolkit.market:Side",
    "aggregate": "toolkit.market:aggregate",
    "find_instrument": "toolkit.market:find_instrument",
    "inspect_bars": "toolkit.market:inspect_bars",
    "load_bars": "toolkit.market:load_bars",
    "load_rates": "toolkit.market:load_rates",
    "sample_bars": "toolkit.market:sample_bars",
    "Bool": "toolkit.strategy:Bool",
    "BreakEven": "toolkit.strategy:BreakEven",
    "Choice": "toolkit.strategy:Choice",
    "Entry": "toolkit.strategy:Entry",
    "Exit": "toolkit.strategy:Exit",
    "Float": "toolkit.strategy:Float",
    "FunctionStrategy": "toolkit.strategy.user_code.functions:FunctionStrategy",
    "Int": "toolkit.strategy:Int",
    "LimitEntry": "toolkit.strategy:LimitEntry",
    "Lots": "toolkit.strategy:Lots",
    "Partial": "toolkit.strategy:Partial",
    "Pips": "toolkit.strategy:Pips",
    "Protection": "toolkit.strategy:Protection",
    "RR": "toolkit.strategy:RR",
    "RiskPercent": "toolkit.strategy:RiskPercent",
    "SectionedStrategy": "toolkit.strategy:SectionedStrategy",
    "StopEntry": "toolkit.strategy:StopEntry",
    "StrategySpec": "toolkit.strategy:StrategySpec",
    "Trail": "toolkit.strategy:Trail",
    "absolute_of": "toolkit.strategy:absolute_of",
    "adx": "toolkit.strategy:adx",
    "atr": "toolkit.strategy:atr",
    "bollinger": "toolkit.strategy:bollinger",
    "cci": "toolkit.strategy:cci",
    "compute": "toolkit.strategy:compute",
    "crossed_above": "toolkit.strategy:crossed_above",
    "crossed_below": "toolkit.strategy:crossed_below",
    "day_high": "toolkit.strategy:day_high",
    "day_low": "toolkit.strategy:day_low",
    "day_open": "toolkit.strategy:day_open",
    "dema": "toolkit.strategy:dema",
    "dmi": "toolkit.strategy:dmi",
    "donchian": "toolkit.strategy:donchian",
    "ema": "toolkit.strategy:ema",
    "higher_timeframe": "toolkit.strategy:higher_timeframe",
    "highest": "toolkit.strategy:highest",
    "hma": "toolkit.strategy:hma",
    "hour_between": "toolkit.strategy:hour_between",
    "indicator": "toolkit.strategy:indicator",
    "kama": "toolkit.strategy:kama",
    "keltner": "toolkit.strategy:keltner",
    "known": "toolkit.strategy:known",
    "linear_regression": "toolkit.strategy:linear_regression",
    "lowest": "toolkit.strategy:lowest",
    "macd": "toolkit.strategy:macd",
    "maximum": "toolkit.strategy:maximum",
    "median": "toolkit.strategy:median",
    "minimum": "toolkit.strategy:minimum",
    "minute_of_day": "toolkit.strategy:minute_of_day",
    "momentum": "toolkit.strategy:momentum",
    "obv": "toolkit.strategy:obv",
    "parabolic_sar": "toolkit.strategy:parabolic_sar",
    "quantile": "toolkit.strategy:quantile",
    "roc": "toolkit.strategy:roc",
    "rsi": "toolkit.strategy:rsi",
    "session_high": "toolkit.strategy:session_high",
    "session_low": "toolkit.strategy:session_low",
    "session_open": "toolkit.strategy:session_open",
    "slope": "toolkit.strategy:slope",
    "sma": "toolkit.strategy:sma",
    "sqrt_of": "toolkit.strategy:sqrt_of",
    "std": "toolkit.strategy:std",
    "stochastic": "toolkit.strategy:stochastic",
    "supertrend": "toolkit.strategy:supertrend",
    "tema": "toolkit.strategy:tema",
    "true_range": "toolkit.strategy:true_range",
    "vwap": "toolkit.strategy:vwap",
    "weekday": "toolkit.strategy:weekday",
    "where": "toolkit.strategy:where",
    "wilder": "toolkit.strategy:wilder",
    "williams": "toolkit.strategy:williams",
    "wma": "toolkit.strategy:wma",
    "zscore": "toolkit.strategy:zscore",
    "PaperAccount": "toolkit.simulation.account:PaperAccount",
    "AccountGuards": "toolkit.risk.account_guards:AccountGuards",
    "Guards": "toolkit.risk.guardrails:Guards",
    "backtest": "toolkit.research.backtest:backtest",
    "guided_search": "toolkit.research.sweeps.sweep:guided_search",
    "monte_carlo": "toolkit.research.validation.monte_carlo:monte_carlo",
    "reset_trials": "toolkit.research.validation.trial_count:reset_trials",
    "sweep": "toolkit.research.sweeps.sweep:sweep",
    "trials": "toolkit.research.validation.trial_count:trials",
    "walk_forward": "toolkit.research.validation.walk_forward:walk_forward",
    "Replay": "toolkit.live.feed:Replay",
    "AiCache": "toolkit.live.outside.ai_cache:AiCache",
    "AiQuestion": "toolkit.live.outside.ai_cache:AiQuestion",
    "AiRules": "toolkit.live.outside.ai:AiRules",
    "AiSignal": "toolkit.live.outside.ai:AiSignal",
    "account": "toolkit.session:account",
    "backtest_ai": "toolkit.ai_backtest:backtest_ai",
    "compare_versions": "toolkit.session:compare_versions",
    "account_guards": "toolkit.session:account_guards",
    "execute_ai_trade": "toolkit.session:execute_ai_trade",
    "guardrail_trips": "toolkit.session:guardrail_trips",
    "halt": "toolkit.session:halt",
    "open_paper_account": "toolkit.session:open_paper_account",
    "promote": "toolkit.session:promote",
    "restore_version": "toolkit.session:restore_version",
    "reset_guardrail": "toolkit.session:reset_guardrail",
    "resume": "toolkit.session:resume",
    "retire": "toolkit.session:retire",
    "run": "toolkit.session:run",
    "runs": "toolkit.session:runs",
    "sea_trial": "toolkit.session:sea_trial",
    "set_account_guards": "toolkit.session:set_account_guards",
    "start": "toolkit.session:start",
    "version": "toolkit.session:version",
    "versions": "toolkit.session:versions",
}


def __getattr__(name: str) -> Any:
    target = _EXPORTS.get(name)
    if target is None:
        from toolkit.errors import suggest

        hint = "" if name.startswith("_") else suggest(name, _EXPORTS)
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}{hint}")
    module, _, attribute = target.partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
