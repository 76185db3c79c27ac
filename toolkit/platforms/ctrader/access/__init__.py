"""Grant, tokens and the opening of a session."""
