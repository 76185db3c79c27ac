"""Where the bars of a step come from: a replay that is thought ahead, or a platform that is polled."""
