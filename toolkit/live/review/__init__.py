"""Looking back at a run: why it did what it did, and how far it is from its own model."""
