"""A stored strategy spec in words, for people who did not write it."""

from __future__ import annotations

import json

from toolkit.errors import ToolkitError


def spec_in_words(spec_json: str) -> list[str]:
    """Return the spec's rules as sentences; a spec that this toolkit cannot read is named as such, with the reason."""
    from toolkit.strategy import StrategySpec

    try:
        words = StrategySpec.from_json(spec_json).describe()
    except (ToolkitError, json.JSONDecodeError) as error:
        return [f"This spec cannot be read by this version of the toolkit: {error}"]
    return [line.strip() for line in str(words).splitlines() if line.strip()]
