"""What the venue holds: its records, what a fill does to them, its journal."""
