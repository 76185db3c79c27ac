"""Running the store: alerts, balances, backup and restore, retention."""
