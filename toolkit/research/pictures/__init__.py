"""Pictures of results, and their way to vectorbt."""
