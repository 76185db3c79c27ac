"""Guardrails at the claim: the rules of a run and of its account, what they count, and the trips they leave."""
