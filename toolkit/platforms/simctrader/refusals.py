"""How the sandbox says no."""

from __future__ import annotations

REFUSALS = {
    "NO_MONEY": "NOT_ENOUGH_MONEY",
    "INVALID_STOPS": "TRADING_BAD_STOPS",
    "INVALID_VOLUME": "TRADING_BAD_VOLUME",
    "INVALID_PRICE": "TRADING_BAD_PRICES",
    "INVALID_EXPIRATION": "TRADING_BAD_EXPIRATION_DATE",
    "UNKNOWN_SYMBOL": "SYMBOL_NOT_FOUND",
    "POSITION_CLOSED": "POSITION_NOT_FOUND",
    "ORDER_NOT_WORKING": "ORDER_NOT_FOUND",
    "FROZEN": "PROTECTION_IS_TOO_CLOSE_TO_MARKET",
    "MARKET_CLOSED": "MARKET_CLOSED",
    "REJECT": "MAX_EXPOSURE_REACHED",
}


class HangUp(Exception):
    """Raised when the server ends the connection instead of answering."""


class Refused(Exception):
    """Raised when a request is answered with an error code."""

    def __init__(self, code: str, words: str = "") -> None:
        super().__init__(code)
        self.code, self.words = code, words
