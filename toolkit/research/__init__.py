"""Backtest, sweep, walk-forward, sea trial and pictures."""
