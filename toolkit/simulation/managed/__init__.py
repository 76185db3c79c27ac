"""Pending entries, trailing, break-even, partial take-profits and time exits: the rules, and the loop that plays them."""
