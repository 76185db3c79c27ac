"""``seatrial demo``: research to live in one command."""
