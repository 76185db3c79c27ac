"""Who is asking: every read and write of the store takes a principal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from toolkit.errors import Forbidden


class Role(StrEnum):
    """What a user may do at all; what he may do it *to* is decided by ownership and grants."""

    TRADER = "trader"  # owns accounts, bots and runs
    VIEWER = "viewer"  # sees what was granted, changes nothing
    SERVICE = "service"  # the headless principal of workers; acts only on accounts it was granted


@dataclass(frozen=True, slots=True)
class Principal:
    """A user as the store knows him.

    Attributes
    ----------
    user_id
        Key of the row in ``users``.
    name
        Unique, shown in audit rows.
    role
        See `Role`.
    """

    user_id: UUID
    name: str
    role: Role = Role.TRADER

    def must_write(self, what: str) -> None:
        """Refuse a viewer.

        Raises
        ------
        Forbidden
            When the principal only has the right to look.
        """
        if self.role is Role.VIEWER:
            raise Forbidden(f"{self.name} may look at {what}, not change it: ask its owner")
