"""What the tabs of a run show; each brings itself up to date from the run's topic when it is in view."""

from __future__ import annotations

from typing import Any, Protocol

from panel_app.data_store import RunTopic


class Tab(Protocol):
    """One tab.

    Attributes
    ----------
    title
        On the tab.
    content
        What Panel displays.
    """

    title: str
    content: Any

    def show(self, topic: RunTopic) -> None:
        """Bring it up to date; called only while it is in view."""
