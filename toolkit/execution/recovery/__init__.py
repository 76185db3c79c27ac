"""Finding out what really happened: the book's history, reconciliation by tag, protection, the kill switch."""
