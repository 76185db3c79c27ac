"""The line to a cTrader server."""
