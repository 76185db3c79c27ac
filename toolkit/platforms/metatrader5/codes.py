"""The numbers of MetaTrader 5 that the adapter speaks, and what each trade server answer allows it to do.

The numbers are those of the package (a test compares them with the real wheel); a module handed in may lack the
names.
"""

from __future__ import annotations

from typing import Final

from toolkit.execution.ports import Outcome

ACTION_DEAL: Final = 1
ACTION_PENDING: Final = 5
ACTION_SLTP: Final = 6
ACTION_REMOVE: Final = 8

ORDER_BUY: Final = 0
ORDER_SELL: Final = 1
ORDER_BUY_LIMIT: Final = 2
ORDER_SELL_LIMIT: Final = 3
ORDER_BUY_STOP: Final = 4
ORDER_SELL_STOP: Final = 5

FILLING_FOK: Final = 0
FILLING_IOC: Final = 1
FILLING_RETURN: Final = 2
TIME_GTC: Final = 0
TIME_SPECIFIED: Final = 2

#: Bits of ``symbol_info().filling_mode``; the package does not export them. Bit 4 is "book or cancel", not RETURN.
ALLOWS_FOK: Final = 1
ALLOWS_IOC: Final = 2

EXECUTION_MARKET: Final = 2
TRADE_LONG_ONLY: Final = 1
TRADE_SHORT_ONLY: Final = 2
TRADE_CLOSE_ONLY: Final = 3
TRADE_FULL: Final = 4
MARGIN_HEDGING: Final = 2
ENVIRONMENTS: Final = {0: "demo", 1: "demo", 2: "real"}  # a contest account is not real money

DEAL_BUY: Final = 0
DEAL_SELL: Final = 1
DEAL_ENTRIES: Final = {0: "in", 1: "out", 2: "inout", 3: "out"}
DEAL_REASONS: Final = {0: "manual", 1: "manual", 2: "manual", 4: "stop_loss", 5: "take_profit", 6: "stop_out"}
ORDER_STATES: Final = {
    0: "working",
    1: "working",
    2: "cancelled",
    3: "partial",
    4: "filled",
    5: "rejected",
    6: "expired",
    7: "working",
    8: "working",
    9: "working",
}

COPY_TICKS_INFO = 1  # changes of bid or ask
TIMEFRAMES: Final = {
    "M1": 1,
    "M5": 5,
    "M15": 15,
    "M30": 30,
    "H1": 16385,
    "H4": 16388,
    "D1": 16408,
    "W1": 32769,
}

RETCODE_REQUOTE: Final = 10004
RETCODE_PLACED: Final = 10008
RETCODE_DONE: Final = 10009
RETCODE_DONE_PARTIAL: Final = 10010
RETCODE_NO_CHANGES: Final = 10025
RETCODE_POSITION_CLOSED: Final = 10036

#: Name and class of every answer. FROZEN (10029) and the classes ALREADY depend on what was asked, see `classify`.
RETCODES: Final[dict[int, tuple[str, Outcome]]] = {
    10004: ("REQUOTE", Outcome.NOT_ACCEPTED),
    10006: ("REJECT", Outcome.FINAL),
    10007: ("CANCEL", Outcome.UNKNOWN),
    10008: ("PLACED", Outcome.WORKING),
    10009: ("DONE", Outcome.DONE),
    10010: ("DONE_PARTIAL", Outcome.PARTIAL),
    10011: ("ERROR", Outcome.UNKNOWN),
    10012: ("TIMEOUT", Outcome.UNKNOWN),
    10013: ("INVALID", Outcome.FINAL),
    10014: ("INVALID_VOLUME", Outcome.FINAL),
    10015: ("INVALID_PRICE", Outcome.FINAL),
    10016: ("INVALID_STOPS", Outcome.FINAL),
    10017: ("TRADE_DISABLED", Outcome.WAIT),
    10018: ("MARKET_CLOSED", Outcome.WAIT),
    10019: ("NO_MONEY", Outcome.FINAL),
    10020: ("PRICE_CHANGED", Outcome.NOT_ACCEPTED),
    10021: ("PRICE_OFF", Outcome.NOT_ACCEPTED),
    10022: ("INVALID_EXPIRATION", Outcome.FINAL),
    10023: ("ORDER_CHANGED", Outcome.ALREADY),
    10024: ("TOO_MANY_REQUESTS", Outcome.NOT_ACCEPTED),
    10025: ("NO_CHANGES", Outcome.ALREADY),
    10026: ("SERVER_DISABLES_AT", Outcome.WAIT),
    10027: ("CLIENT_DISABLES_AT", Outcome.WAIT),
    10028: ("LOCKED", Outcome.NOT_ACCEPTED),
    10029: ("FROZEN", Outcome.NOT_ACCEPTED),
    10030: ("INVALID_FILL", Outcome.FINAL),
    10031: ("CONNECTION", Outcome.UNKNOWN),
    10032: ("ONLY_REAL", Outcome.FINAL),
    10033: ("LIMIT_ORDERS", Outcome.FINAL),
    10034: ("LIMIT_VOLUME", Outcome.FINAL),
    10035: ("INVALID_ORDER", Outcome.FINAL),
    10036: ("POSITION_CLOSED", Outcome.ALREADY),
    10038: ("INVALID_CLOSE_VOLUME", Outcome.FINAL),
    10039: ("CLOSE_ORDER_EXIST", Outcome.ALREADY),
    10040: ("LIMIT_POSITIONS", Outcome.FINAL),
    10041: ("REJECT_CANCEL", Outcome.FINAL),
    10042: ("LONG_ONLY", Outcome.FINAL),
    10043: ("SHORT_ONLY", Outcome.FINAL),
    10044: ("CLOSE_ONLY", Outcome.FINAL),
    10045: ("FIFO_CLOSE", Outcome.FINAL),
    10046: ("HEDGE_PROHIBITED", Outcome.FINAL),  # in the vendor's documentation, not in the package
}

#: Answers that ask for a new look and a new plan, not for a resend: the caller reads the book and decides again.
REPLAN: Final = frozenset({10023, 10039})

#: ``last_error()`` after a call that answered None, where nothing can have reached the server.
_NOT_SENT: Final = {
    -2: ("INVALID_PARAMS", Outcome.FINAL),
    -8: ("AUTO_TRADING_DISABLED", Outcome.WAIT),
    -10004: ("NO_IPC", Outcome.NOT_ACCEPTED),
}

#: What ``last_error()`` means, in words for a person.
ERROR_WORDS: Final = {
    1: "ok",
    -1: "the terminal failed without a reason",
    -2: "the package refused an argument",
    -3: "the terminal is out of memory",
    -4: "not found",
    -5: "the terminal is too old for this package: update it",
    -6: "login refused: check login, password and server",
    -7: "the terminal does not support this call",
    -8: "auto-trading is off: press Algo Trading in the terminal",
    -10000: "the line to the terminal failed",
    -10001: "sending to the terminal failed",
    -10002: "no answer from the terminal",
    -10003: "the terminal could not be started: check its path",
    -10004: "no line to the terminal: start it and connect again",
    -10005: "the terminal did not answer in time",
}


def classify(retcode: int, *, exit_command: bool) -> tuple[str, Outcome]:
    """Return name and class of a trade server answer.

    Parameters
    ----------
    retcode
        ``OrderSendResult.retcode``.
    exit_command
        True for closing, modifying and cancelling. ALREADY only makes sense there; an entry answered so is refused
        for good.

    Returns
    -------
    tuple
        Name and `Outcome`. An answer the table does not know may mean anything: UNKNOWN.
    """
    name, outcome = RETCODES.get(retcode, (f"RETCODE_{retcode}", Outcome.UNKNOWN))
    if retcode in REPLAN:
        return name, Outcome.NOT_ACCEPTED if exit_command else Outcome.FINAL
    if outcome is Outcome.ALREADY and not exit_command:
        return name, Outcome.FINAL
    return name, outcome


def classify_none(error: int) -> tuple[str, Outcome]:
    """Return name and class of an ``order_send`` that answered None, by ``last_error()[0]``."""
    return _NOT_SENT.get(error, (f"NO_ANSWER_{error}", Outcome.UNKNOWN))


def words(error: object) -> str:
    """Return ``last_error()`` in words."""
    code = error[0] if isinstance(error, tuple) and error else error
    told = error[1] if isinstance(error, tuple) and len(error) > 1 else ""
    known = ERROR_WORDS.get(code) if isinstance(code, int) else None
    return f"{known or 'unknown error'} ({code}{', ' + str(told) if told else ''})"
