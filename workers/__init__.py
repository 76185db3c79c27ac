"""Dramatiq workers that advance LiveRuns and execute intents."""
