"""Many parameter sets of one strategy, and what to make of them."""
