"""What carries an intent to the trade service of its account."""
