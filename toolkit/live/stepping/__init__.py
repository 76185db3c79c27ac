"""One step of a run: what it remembers, what it decides, and the one commit that keeps both."""
