"""Adapters to trading platforms."""
