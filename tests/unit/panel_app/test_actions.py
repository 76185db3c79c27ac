"""Whatever a browser sends, a session acts only as its principal may.

All a message over the websocket can do is set properties of models of its own session and trigger their events, hidden
buttons and dialogs included. So every button of a view is pressed here, in every order that matters, and what ``live`` is
asked to do is tried directly with the principal of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import pytest
from sqlalchemy import select

from panel_app.actions import lists
from panel_app.actions.asking import ActionBar
from panel_app.actions.runs import run_actions, start_actions
from panel_app.data_store import DataStore
from panel_app.views.lists.listing import ListView
from panel_app.views.lists.listings import LISTINGS
from panel_app.views.run import RunView
from toolkit import clock
from toolkit.bootstrap import build
from toolkit.errors import Forbidden, NotFound
from toolkit.execution.principal import Principal
from toolkit.settings import Settings
from toolkit.store.sql import models as m


@dataclass
class House:
    """Tom's run on his account, vera who may look at it, eve who may not, ada the admin."""

    engine: Any
    store: DataStore
    seed: Any
    run: Any
    account: Any
    who: dict[str, Principal]

    def state(self) -> tuple[Any, ...]:
        """Return what an action could change."""
        with self.seed.engine.connect() as connection:
            run = connection.execute(select(m.LiveRun.status, m.LiveRun.version)).all()
            account = connection.execute(select(m.Account.halted_at, m.Account.armed_until)).all()
            roles = connection.execute(select(m.User.name, m.User.role).order_by(m.User.name)).all()
            return tuple(run), tuple(account), tuple(roles)


@pytest.fixture
def house(seeding: Any, tmp_path: Path) -> Iterator[House]:
    """The rows, and the store that serves them."""
    seed = seeding.Seed(tmp_path / "home")
    roles = {"tom": "trader", "vera": "viewer", "eve": "trader", "ada": "admin"}
    who = {name: Principal(seed.user(name, role), name) for name, role in roles.items()}
    tom = who["tom"].user_id
    account = seed.account("toms", owner=tom)
    seed.add([m.AccountGrant(account_id=account, user_id=who["vera"].user_id, granted_at=clock.now())])
    run = seed.run(account, seed.version("TomsBot", owner=tom), seeding.made_bars(120), owner=tom)
    run.advance(60)
    engine = build(Settings(home=seed.home, database_url="", gateway="local"))  # type: ignore[arg-type]
    store = DataStore(engine.database, seed.home, engine.principal)
    yield House(engine, store, seed, run, account, who)
    store.close()
    engine.close()
    seed.engine.dispose()


def _buttons(view: Any) -> list[Any]:
    """Return every button of a view, those in closed dialogs too."""
    layout = view.__panel__()
    return list(layout.select(pmui.Button)) + [
        button for dialog in layout.select(pmui.Dialog) for part in dialog.objects for button in _inside(part)
    ]


def _inside(part: Any) -> list[Any]:
    return list(part.select(pmui.Button)) if isinstance(part, pn.viewable.Viewable) else []


def _press_everything(view: Any) -> int:
    """Press every button, then every button again, so that each question asked is agreed to; return how many there were."""
    count = 0
    for _ in range(2):
        buttons = _buttons(view)
        count = len(buttons)
        for button in buttons:
            button.clicks += 1
            for other in _buttons(view):
                if other.label == "Yes, do it":
                    other.clicks += 1
    return count


def _run_view(house: House, who: Principal) -> RunView:
    return RunView(
        house.store, house.run.run_id, reader=who,
        actions=lambda topic: ActionBar(lambda: run_actions(house.engine, who, topic.row)),
    )  # fmt: skip


def test_a_viewer_who_presses_every_button_of_a_run_changes_nothing(house: House) -> None:
    """Charts have buttons too; not one of the session's touches the run, the account or a role."""
    before = house.state()
    view = _run_view(house, house.who["vera"])
    assert _press_everything(view) >= 2
    assert house.state() == before


def test_the_same_presses_of_a_trader_do_act(house: House) -> None:
    """The way of pressing works: Tom's run is stopped or paused and his account halted by it."""
    before = house.state()
    _press_everything(_run_view(house, house.who["tom"]))
    assert house.state() != before


@pytest.mark.parametrize("name", ["accounts", "intents", "trips", "versions", "users"])
def test_a_viewer_who_presses_every_button_of_a_list_changes_nothing(house: House, name: str) -> None:
    """With a row chosen, as a crafted click would choose it."""
    before = house.state()
    vera = house.who["vera"]
    view = ListView(house.store, LISTINGS[name](house.store, vera, house.engine), reader=vera)
    view._clicked(type("Event", (), {"row": 0})())
    _press_everything(view)
    assert house.state() == before


def test_actions_made_for_one_principal_are_refused_to_another(house: House) -> None:
    """Even the functions behind Tom's buttons, called as vera or eve, change nothing."""
    row = house.store.read.run(house.who["tom"], house.run.run_id)
    labels = [action.label for action in run_actions(house.engine, house.who["tom"], row)]
    assert {"Pause", "Stop", "Stop and flatten", "Halt account"} <= set(labels)
    assert run_actions(house.engine, house.who["vera"], row) == []
    with pytest.raises(NotFound):
        run_actions(house.engine, house.who["eve"], row)
    before = house.state()
    from toolkit.live import live_runs

    for ask in (live_runs.pause_live_run, live_runs.stop_live_run):
        with pytest.raises(Forbidden):
            ask(house.engine, house.who["vera"], house.run.run_id)
        with pytest.raises(NotFound):
            ask(house.engine, house.who["eve"], house.run.run_id)
    assert house.state() == before


def test_only_who_may_trade_is_offered_to_start(house: House) -> None:
    """Tom has an account and a version; vera and eve are offered nothing."""
    offered = {name: bool(start_actions(house.engine, who, house.store.read)) for name, who in house.who.items()}
    assert offered == {"tom": True, "vera": False, "eve": False, "ada": False}


def test_an_admin_is_offered_the_kill_switch_and_the_users(house: House) -> None:
    """Ada may halt Tom's account and change roles; she is not offered to trade on it."""
    ada = house.who["ada"]
    row = house.store.read.run(ada, house.run.run_id)
    assert [action.label for action in run_actions(house.engine, ada, row)] == ["Halt account"]
    vera = next(user for user in house.store.operations.users(ada) if user.name == "vera")
    assert [action.label for action in lists.user_actions(house.engine, ada, vera)] == ["Make trader", "Make admin"]
    assert lists.user_actions(house.engine, house.who["tom"], vera) == []
