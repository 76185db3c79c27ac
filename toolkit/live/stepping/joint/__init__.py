"""A run on several symbols that share its equity: at each moment the exits of all of them, then the entries in their order."""
