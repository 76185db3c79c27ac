"""From a strategy to a version, and from one stage to the next."""
