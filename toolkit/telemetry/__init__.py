"""Structured logs, metrics and run events."""
