"""The parts of the simulated world: its ground, its venue, its invariants, and the command that lives through seeds."""
