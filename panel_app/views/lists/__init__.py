"""Pages that are one list: intents, accounts, versions, guardrail trips, dead letters, users, audit trail."""
