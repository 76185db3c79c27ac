"""Managed strategies live: pending entries, moved stops, partial take-profits and time exits, as intents of each bar."""
