"""Opening paper accounts: a row in the database and, on first use, a venue with its own journal."""

from __future__ import annotations

from uuid import uuid4

from toolkit.errors import BadInput, NotFound, must_be
from toolkit.execution.principal import Principal
from toolkit.live.engine import Engine
from toolkit.simulation.account import PaperAccount
from toolkit.store.people.accounts import AccountRecord, Accounts


def open_paper_account(
    engine: Engine, name: str, terms: PaperAccount, *, principal: Principal | None = None
) -> AccountRecord:
    """Register a paper account, or return the one of that name when its terms are the same.

    Raises
    ------
    BadInput
        When the name is taken by an account of other terms or another platform.
    """
    who = principal or engine.principal
    if not name or len(name) > 100:
        raise BadInput(
            must_be("account name", "1 to 100 characters", repr(name), "choose a short name, e.g. 'paper-1'")
        )
    with engine.work(who) as work:
        accounts = Accounts(work.connection, who)
        try:
            known = accounts.find(name)
        except NotFound:
            known = None
        if known is not None:
            stored = known.settings.get("paper")
            if known.platform != "simulated" or stored is None:
                raise BadInput(
                    must_be(
                        "account name",
                        "free, or a paper account's",
                        f"{name!r} on {known.platform}",
                        "choose another name",
                    )
                )
            before = PaperAccount.from_facts(stored).facts()  # terms that came later have their default
            if before != terms.facts():
                changed = ", ".join(f"{k} {before[k]} -> {v}" for k, v in terms.facts().items() if before[k] != v)
                raise BadInput(
                    must_be(f"paper account {name!r}", "opened with the same terms", changed, "choose another name")
                )
            return known
        record = accounts.add(
            AccountRecord(
                account_id=uuid4(),
                owner_id=who.user_id,
                name=name,
                platform="simulated",
                currency=terms.currency,
                environment="paper",
                gateway=engine.settings.gateway,
                login=name,
                server="paper",
                settings={"paper": terms.facts()},
            ),
            engine.now(),
        )
        work.commit()
    return record
