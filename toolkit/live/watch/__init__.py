"""Watching over runs: what is wrong, who is told, clocks and balances."""
