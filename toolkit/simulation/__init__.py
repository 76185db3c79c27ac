"""The fill rules, stated once, and the compiled loop that runs over columns of bars."""
