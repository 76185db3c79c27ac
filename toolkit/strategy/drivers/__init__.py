"""Running a graph: over whole columns, or one closed bar at a time."""
