"""Several symbols on one equity: the loop that plays them moment by moment, from the same rules as the loop of one symbol."""
