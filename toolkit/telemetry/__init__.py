"""What a running system tells: JSON log lines with correlation ids, metrics, and the kinds of run events."""
