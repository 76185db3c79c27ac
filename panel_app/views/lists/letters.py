"""Dead letters of every account that trades through a message broker, read when the page is opened and on request."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from panel_app.actions.asking import Action, ActionBar
from panel_app.actions.lists import letter_actions
from panel_app.data_store import DataStore
from panel_app.data_store.review import ask
from panel_app.look import parts
from panel_app.look.export import export_button
from panel_app.look.formatting import DASH, moment
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.live.outside.dead_letters import DeadLetter, list_dead_letters
from toolkit.store.reading.records import AccountRow

BROKERS = ("redis", "rabbitmq")
Found = tuple[AccountRow, DeadLetter]


class LettersView(pn.viewable.Viewer):
    """A message broker may be slow or gone, so it is asked on a thread, never by the store that all sessions share."""

    def __init__(self, store: DataStore, engine: Engine, reader: Principal, **params: Any) -> None:
        super().__init__(**params)
        self._store = store
        self._engine = engine
        self._reader = reader
        self._letters: list[Found] = []
        self._clicked_row: Found | None = None
        self._heading = parts.Heading()
        self._note = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 4))
        self._table = parts.table(
            {"sent": "Sent (UTC)", "account": "Account", "gateway": "Message broker", "actor": "Actor", "intent": "Intent",
             "state": "Intent is", "message": "Message"}, page_size=20,
        )  # fmt: skip
        self._table.on_click(self._clicked)
        self._actions = ActionBar(self._choices)
        again = pmui.Button(
            label="Read again", variant="outlined", size="small", margin=0, on_click=lambda _: self.read()
        )
        self._layout = pn.Column(
            parts.heading_line(self._heading, again),
            pn.FlexBox(export_button("dead-letters", lambda: [letter for _, letter in self._letters]), margin=0),
            parts.paper(self._table),
            self._actions,
            self._note,
            sizing_mode="stretch_width",
            styles={"gap": "14px"},
            margin=0,
        )
        self._heading.put("Dead letters", [("reading", "")])
        self.read()

    def __panel__(self) -> Any:
        return self._layout

    def close(self) -> None:
        """Nothing is followed."""

    def read(self) -> None:
        """Ask every message broker in use, one account after the other."""
        ask(self._all, self._show, lambda error: self._say(f"The message broker cannot be read: {error}"))

    def _all(self) -> list[Found]:
        accounts = [row for row in self._store.read.accounts(self._reader) if row.gateway in BROKERS]
        return [
            (row, letter)
            for row in accounts
            for letter in list_dead_letters(self._engine, self._reader, row.account_id)
        ]

    def _show(self, letters: list[Found]) -> None:
        self._letters = letters
        self._clicked_row = None
        self._actions.refresh()
        self._say("")
        parts.fill(self._table, [self._cells(*found) for found in letters])

    def _say(self, problem: str) -> None:
        self._heading.put("Dead letters", [(f"{len(self._letters):,} found", "")], problem)

    def _choices(self) -> list[Action]:
        if self._clicked_row is None:
            return []
        account, letter = self._clicked_row
        return [
            Action(made.label, made.question, self._then_read(made), made.form, made.danger)
            for made in letter_actions(self._engine, self._reader, account.account_id, letter)
        ]

    def _then_read(self, made: Action) -> Any:
        def do(given: Any) -> object:
            said = made.do(given)
            self.read()
            return said

        return do

    def _clicked(self, event: Any) -> None:
        if 0 <= event.row < len(self._letters):
            self._clicked_row = self._letters[event.row]
            self._actions.refresh()

    @staticmethod
    def _cells(account: AccountRow, letter: DeadLetter) -> dict[str, Any]:
        return {
            "sent": moment(letter.sent_at, seconds=True), "account": account.name, "gateway": account.gateway,
            "actor": letter.actor, "intent": str(letter.intent_id or DASH), "state": letter.intent_state.lower() or DASH,
            "message": letter.message_id,
        }  # fmt: skip
