"""Before a run runs: accounts opened, taken over and rehearsed on, and what a run must fit."""
