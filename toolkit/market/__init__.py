"""Prices and contract facts: bars, quotes, instruments, conversion, timeframes."""
