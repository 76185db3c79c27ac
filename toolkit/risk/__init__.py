"""Position sizing and guardrails."""

from toolkit.risk.management import PositionSize, calculate_position_size

__all__ = ["PositionSize", "calculate_position_size"]
