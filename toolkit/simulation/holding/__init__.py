"""What it takes to hold a position: margin and the platform's stop-out, swap at the platform's midnight."""
