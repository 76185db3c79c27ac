"""What the tabs of a run show; each brings itself up to date from the run's topic when it is in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import panel as pn

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


class Place:
    """Where a tab comes to be when it is first looked at: a page is painted sooner when it makes only what is seen.

    Attributes
    ----------
    content
        What Panel displays; empty until then.
    """

    def __init__(self, title: str, make: Callable[[], Tab]) -> None:
        self.title = title
        self.content = pn.Column(sizing_mode="stretch_width", margin=0)
        self._make = make
        self._tab: Tab | None = None

    @property
    def tab(self) -> Tab:
        """The tab, made now if it was not yet."""
        if self._tab is None:
            self._tab = self._make()
            self.content[:] = [self._tab.content]
        return self._tab

    def show(self, topic: RunTopic) -> None:
        """Bring the tab up to date."""
        self.tab.show(topic)
