"""The web page that watches LiveRuns."""
