"""What an operator does by hand, from the page or the command line: checked, audited, and without a platform session."""
