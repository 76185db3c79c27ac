"""Who acts: every read and write of the store is made by a principal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

PrincipalKind = Literal["human", "service"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A user of the toolkit, or the service principal that workers act as.

    Attributes
    ----------
    user_id
        Row of ``users``.
    name
        What audit rows and events show.
    kind
        A human owns what it makes; a service acts only on accounts it has been granted.
    """

    user_id: UUID
    name: str
    kind: PrincipalKind = "human"
