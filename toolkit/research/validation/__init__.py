"""What speaks for or against a result: luck, overfitting, other orders of the same trades, later data."""
