"""Position sizing and guardrails."""
