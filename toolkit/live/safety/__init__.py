"""What keeps an account safe: its own guardrails, trips and their reset, the kill switch with everything closed."""
