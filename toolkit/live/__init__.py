"""Promotion and the life of a LiveRun."""
