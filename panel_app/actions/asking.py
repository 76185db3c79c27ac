"""Buttons that ask before they act: the question, what may be filled in, and the answer of ``toolkit.live`` in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app.look.formatting import escape
from toolkit.errors import ToolkitError

Values = Mapping[str, Any]
Do = Callable[[Values], object]
Form = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Action:
    """A button, the question it asks, and what happens on yes.

    Attributes
    ----------
    do
        Called with what was filled in, by the names of ``form``; what it returns is said, if it is text.
    form
        Makes the widgets to fill in, by name; asked each time the dialog opens.
    danger
        Shown in the colour of warnings.
    """

    label: str
    question: str
    do: Do
    form: Form | None = None
    danger: bool = False


class ActionBar(pn.viewable.Viewer):
    """The buttons that fit the present state, and the one dialog in which they ask.

    Parameters
    ----------
    actions
        Returns what may be done now; asked again after each action and on `refresh`.
    warning
        Returns what a person should know before agreeing, e.g. that no worker is alive; empty for nothing.
    """

    def __init__(
        self, actions: Callable[[], list[Action]], warning: Callable[[], str] = lambda: "", **params: Any
    ) -> None:
        super().__init__(**params)
        self._actions = actions
        self._warning = warning
        self._labels: list[str] | None = None
        self._chosen: Action | None = None
        self._fields: dict[str, Any] = {}
        self._words = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 0, 12, 0))
        self._form = pn.Column(sizing_mode="stretch_width", margin=0)
        yes = pmui.Button(label="Yes, do it", variant="contained", size="small", on_click=self._confirmed)
        no = pmui.Button(label="Leave it", variant="text", size="small", on_click=self._left)
        self._dialog = pmui.Dialog(
            self._words, self._form, pn.Row(yes, no), title="Are you sure?", open=False, close_on_click=False
        )
        self._buttons = pn.FlexBox(gap="6px", margin=0, justify_content="flex-end")
        self._layout = pn.FlexBox(self._buttons, self._dialog, margin=0, styles={"flex": "0 1 auto"})
        self.refresh()

    def __panel__(self) -> Any:
        return self._layout

    def refresh(self) -> None:
        """Show the buttons that fit the present state."""
        found = self._actions()
        labels = [action.label for action in found]
        if labels == self._labels:
            return
        self._labels = labels
        self._buttons[:] = [
            pmui.Button(
                label=action.label, size="small", variant="outlined", margin=0,
                color="warning" if action.danger else "primary", on_click=self._ask(action.label),
            )
            for action in found
        ]  # fmt: skip

    def _ask(self, label: str) -> Callable[[Any], None]:
        def clicked(_event: Any) -> None:
            # Looked up again, so that the question is about things as they are now.
            self._chosen = next((action for action in self._actions() if action.label == label), None)
            if self._chosen is None:
                return
            warning = self._warning()
            said = f"<p><b>{escape(warning)}</b></p>" if warning else ""
            self._fields = self._chosen.form() if self._chosen.form is not None else {}
            self._form[:] = list(self._fields.values())
            self._words.object = f"<p>{escape(self._chosen.question)}</p>{said}"
            self._dialog.title = self._chosen.label
            self._dialog.open = True

        return clicked

    def _confirmed(self, _event: Any) -> None:
        action, self._chosen = self._chosen, None
        self._dialog.open = False
        if action is None:
            return
        try:
            said = action.do({name: field.value for name, field in self._fields.items()})
        except ToolkitError as error:
            say("error", f"{action.label}: {error}")
        else:
            self._fields = {}  # a password that was typed is not kept
            say("success", f"{action.label}: {said if isinstance(said, str) and said else 'done'}")
        self.refresh()

    def _left(self, _event: Any) -> None:
        self._chosen = None
        self._dialog.open = False


def say(kind: str, words: str) -> None:
    """Show a notice of the page: ``success``, ``warning`` or ``error``; nothing in a notebook."""
    notifications = pn.state.notifications
    if notifications is not None:
        getattr(notifications, kind)(escape(words), duration=8000)
