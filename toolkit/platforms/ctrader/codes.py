"""Numbers of the Open API, and what its error codes mean for an order.

The policy: what leaves the outcome open is UNKNOWN and never sent again; what is provably not accepted may be sent again,
bounded; what asks to wait trips the breaker; the rest is final.
"""

from __future__ import annotations

from toolkit.execution.ports import OrderState, Outcome

BUY, SELL = 1, 2
MARKET, LIMIT, STOP, STOP_LOSS_TAKE_PROFIT = 1, 2, 3, 4
GOOD_TILL_DATE, GOOD_TILL_CANCEL, IMMEDIATE_OR_CANCEL = 1, 2, 3
HEDGED, NETTED = 0, 1
FULL_ACCESS = 0
TRADING_ENABLED = 0
POSITION_OPEN, POSITION_CLOSED = 1, 2
DEAL_FILLED, DEAL_PARTIALLY_FILLED = 2, 3

ACCEPTED, FILLED, REPLACED, CANCELLED, EXPIRED, REJECTED, CANCEL_REJECTED, PARTIAL_FILL = 2, 3, 4, 5, 6, 7, 8, 11

ORDER_ACCEPTED, ORDER_FILLED, ORDER_REJECTED, ORDER_EXPIRED, ORDER_CANCELLED = 1, 2, 3, 4, 5
ORDER_STATES: dict[int, OrderState] = {
    ORDER_ACCEPTED: "working",
    ORDER_FILLED: "filled",
    ORDER_REJECTED: "rejected",
    ORDER_EXPIRED: "expired",
    ORDER_CANCELLED: "cancelled",
}

PERIODS = {"M1": 1, "M5": 5, "M15": 7, "M30": 8, "H1": 9, "H4": 10, "D1": 12, "W1": 13}

#: Relative stops and spot prices are in this part of a price unit.
PRICE_UNIT = 100_000
#: A request of deals or orders may span no more than a week.
WEEK_MS = 7 * 86_400_000

_UNKNOWN = frozenset(
    {
        "TIMEOUT_ERROR",
        "CANT_ROUTE_REQUEST",
        "CH_SERVER_NOT_REACHABLE",
        "PENDING_EXECUTION",
        "POSITION_LOCKED",
        "UNKNOWN_ERROR",
        "CONCURRENT_MODIFICATION",
    }
)
_NOT_ACCEPTED = frozenset(
    {
        "REQUEST_FREQUENCY_EXCEEDED",
        "BLOCKED_PAYLOAD_TYPE",
        "NO_QUOTES",
        "ACCOUNT_NOT_AUTHORIZED",
        "CH_CLIENT_NOT_AUTHENTICATED",
        "CH_ACCESS_TOKEN_INVALID",
        "OA_AUTH_TOKEN_EXPIRED",
        "CHANNEL_IS_BLOCKED",
    }
)
_WAIT = frozenset(
    {
        "MARKET_CLOSED",
        "SYMBOL_HAS_HOLIDAY",
        "TRADING_DISABLED",
        "TRADING_NOT_ALLOWED",
        "SERVER_IS_UNDER_MAINTENANCE",
    }
)
_ALREADY_FOR_EXITS = frozenset({"POSITION_NOT_FOUND", "POSITION_NOT_OPEN", "ORDER_NOT_FOUND", "ENTITY_NOT_FOUND"})
#: The access token is no longer good: refresh it, authorise again.
TOKEN_ENDED = frozenset({"CH_ACCESS_TOKEN_INVALID", "OA_AUTH_TOKEN_EXPIRED"})
#: The session must be authorised again before anything else.
NOT_AUTHORISED = frozenset({"ACCOUNT_NOT_AUTHORIZED", "CH_CLIENT_NOT_AUTHENTICATED"}) | TOKEN_ENDED
#: Application, token or account are not what the row says; anything else at a login is a server that is not ready.
CREDENTIALS = TOKEN_ENDED | frozenset(
    {"CH_CLIENT_AUTH_FAILURE", "CH_OA_CLIENT_NOT_FOUND", "CH_CTID_TRADER_ACCOUNT_NOT_FOUND", "INVALID_REQUEST"}
)
#: A read may be repeated after a pause.
TOO_OFTEN = frozenset({"REQUEST_FREQUENCY_EXCEEDED", "BLOCKED_PAYLOAD_TYPE"})


def classify(code: str, *, exit_command: bool) -> Outcome:
    """Return what an error code says about the order it answers; a code that is not known is a refusal for good.

    Parameters
    ----------
    code
        ``errorCode`` of an error response, an order error or a rejected execution.
    exit_command
        Whether a close, a change or a cancel was asked for: what is gone then is already so.
    """
    if code in _UNKNOWN:
        return Outcome.UNKNOWN
    if code in _NOT_ACCEPTED:
        return Outcome.NOT_ACCEPTED
    if code in _WAIT:
        return Outcome.WAIT
    if exit_command and code in _ALREADY_FOR_EXITS:
        return Outcome.ALREADY
    return Outcome.FINAL
