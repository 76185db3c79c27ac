"""Series of bars: loaded, checked, judged, aggregated."""
