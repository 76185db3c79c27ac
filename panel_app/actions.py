"""What a person may do from the page: each action asks first, then calls into ``toolkit.live``, which checks and audits.

The page decides nothing: a button that should not be there, or a message made up by a browser, meets the same refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import panel as pn
import panel_material_ui as pmui

from panel_app.formatting import escape
from toolkit.errors import ToolkitError
from toolkit.execution.principal import Principal
from toolkit.live import live_runs
from toolkit.live.engine import Engine
from toolkit.store.records import FleetRow

Do = Callable[[], object]
SILENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Action:
    """A button, the question it asks, and what happens on yes."""

    label: str
    question: str
    do: Do
    danger: bool = False


def run_actions(engine: Engine, principal: Principal, row: FleetRow) -> list[Action]:
    """Return what may be done with a run in its present state."""
    run_id: UUID = row.live_run_id
    name = f"{row.bot} v{row.version_number} on {row.account}"
    found: list[Action] = []
    if row.status == "RUNNING":
        found.append(Action("Pause", f"Pause {name}? It makes no decision until it is resumed; its stops stay at the platform.",
                            lambda: live_runs.pause_live_run(engine, principal, run_id)))  # fmt: skip
    if row.status == "PAUSED":
        found.append(
            Action("Resume", f"Let {name} go on?", lambda: live_runs.resume_live_run(engine, principal, run_id))
        )
    if row.status in ("CREATED", "RUNNING", "PAUSED", "ERROR"):
        found.append(Action("Stop", f"Stop {name}? No entry leaves any more; open positions keep their stops and targets.",
                            lambda: live_runs.stop_live_run(engine, principal, run_id)))  # fmt: skip
        found.append(Action("Stop and flatten", f"Stop {name} and close its {row.open_positions} open position(s) at the market?",
                            lambda: live_runs.stop_live_run(engine, principal, run_id, flatten=True), danger=True))  # fmt: skip
    if row.halted:
        found.append(Action("Resume account", f"Let entries on {row.account} leave again, for all its runs?",
                            lambda: live_runs.resume_account(engine, principal, row.account_id)))  # fmt: skip
    else:
        found.append(Action("Halt account", f"Halt {row.account}? No entry of any run leaves until it is resumed; exits do.",
                            lambda: live_runs.halt_account(engine, principal, row.account_id), danger=True))  # fmt: skip
    return found


class ActionBar(pn.viewable.Viewer):
    """The buttons of a run, and the one dialog in which they ask.

    Parameters
    ----------
    actions
        Returns what may be done now; asked again after each action and on `refresh`.
    silent
        Whether nobody seems to host the run at the moment.
    """

    def __init__(self, actions: Callable[[], list[Action]], silent: Callable[[], bool], **params: Any) -> None:
        super().__init__(**params)
        self._actions = actions
        self._silent = silent
        self._labels: list[str] = []
        self._chosen: Action | None = None
        self._words = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 0, 12, 0))
        yes = pmui.Button(label="Yes, do it", variant="contained", size="small", on_click=self._confirmed)
        no = pmui.Button(label="Leave it", variant="text", size="small", on_click=self._left)
        self._dialog = pmui.Dialog(self._words, pn.Row(yes, no), title="Are you sure?", open=False, close_on_click=True)
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
            # Looked up again, so that the question is about the run as it is now.
            self._chosen = next((action for action in self._actions() if action.label == label), None)
            if self._chosen is None:
                return
            nobody = (
                "<p><b>No process seems to carry this run at the moment.</b> It takes effect when one takes it up: "
                "<code>seatrial run ID</code> or a worker.</p>"
                if self._silent()
                else ""
            )
            self._words.object = f"<p>{escape(self._chosen.question)}</p>{nobody}"
            self._dialog.open = True

        return clicked

    def _confirmed(self, _event: Any) -> None:
        action, self._chosen = self._chosen, None
        self._dialog.open = False
        if action is None:
            return
        try:
            action.do()
        except ToolkitError as error:
            _say("error", f"{action.label}: {error}")
        else:
            _say("success", f"{action.label}: done")
        self.refresh()

    def _left(self, _event: Any) -> None:
        self._chosen = None
        self._dialog.open = False


def _say(kind: str, words: str) -> None:
    notifications = pn.state.notifications
    if notifications is not None:
        getattr(notifications, kind)(escape(words), duration=6000)
