"""What a position and a currency are worth."""
