"""What comes in from outside and what goes out: AI signals, alerts."""
