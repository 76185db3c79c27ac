"""What happens to an entry besides its first stop and target: pending orders, trailing, break-even, partials, time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.errors import SpecError, StrategyError, must_be
from toolkit.strategy.authoring.expressions import as_expr, hold, window
from toolkit.strategy.authoring.sections import RR, BreakEven, Entry, LimitEntry, Partial, Protection, StopEntry, Trail
from toolkit.strategy.graph import Lowering

Part = dict[str, Any]
Points = Callable[[Part, bool], Any]
Known = Callable[[Part], Any]
Store = Callable[[Any, str], Part]

#: Names a strategy's needs are called by; an engine says which of them it can do.
FEATURES = ("limit_entry", "stop_entry", "trailing_stop", "break_even", "partials", "time_exit")


#: Points beyond the entry that switch break-even off: a stop is never moved back.
NEVER_EVEN = -2_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Management:
    """Resolved management of an entry decided on a bar; points are int live and int32 columns (or one value) else.

    Attributes
    ----------
    entry_kind : str
        ``market``, ``limit`` or ``stop``.
    entry_long_points, entry_short_points : int or int32 column
        Price level of the pending order in points; 0 where there is none (no entry on that side).
    expiry_bars : int
        Bars after the decision during which the pending order may fill.
    trail_points : int or int32 column
        Distance of the trailing stop in points, whole pips; 0 for none.
    trail_after_points, trail_after_rr
        Profit from which the stop trails, in points or multiples of the stop distance; both 0 or None: at once.
    break_even_after_points, break_even_after_rr, break_even_plus_points
        Profit at which the stop moves to the entry, and how far beyond it; no break-even when both are 0 and None.
    partials : tuple of (points, rr, fraction)
        Profits at which a fraction of the entry's volume is closed, in order.
    max_bars : int
        Bars after the fill bar at whose open the position is closed; 0 for never.
    """

    entry_kind: str = "market"
    entry_long_points: Any = 0
    entry_short_points: Any = 0
    expiry_bars: int = 0
    trail_points: Any = 0
    trail_after_points: Any = 0
    trail_after_rr: float | None = None
    break_even_after_points: Any = 0
    break_even_after_rr: float | None = None
    break_even_plus_points: Any = 0
    partials: tuple[tuple[Any, float | None, Decimal], ...] = ()
    max_bars: int = 0


def store(entry: Entry, protection: Protection, lowering: Lowering, distance: Store) -> dict[str, Any]:
    """Return what the sections ask for, as data; empty for a plain market entry."""
    found: dict[str, Any] = {}
    order = entry.order
    if order is not None:
        kind = "limit" if isinstance(order, LimitEntry) else "stop"
        stored: Part = {"kind": kind, "bars": lowering.add(window(order.bars, f"{kind} entry"))}
        for side in ("long", "short"):
            level, condition = getattr(order, side), getattr(entry, side)
            if (level is None) != (condition is None):
                raise StrategyError(
                    must_be(
                        f"the {side} level of the {kind} entry",
                        f"given exactly when Entry has {side}=",
                        "not",
                        "give both or neither",
                    )
                )
            if level is not None:
                stored[side] = lowering.add(hold(as_expr(level, f"{kind} entry")))
        found["order"] = stored
    if protection.trailing_stop is not None:
        trail = protection.trailing_stop
        trail = trail if isinstance(trail, Trail) else Trail(trail)
        found["trail"] = {"by": distance(trail.distance, "trailing_stop")}
        if trail.after is not None:
            found["trail"]["after"] = distance(trail.after, "the start of trailing_stop")
    if protection.break_even is not None:
        rule = protection.break_even
        rule = rule if isinstance(rule, BreakEven) else BreakEven(rule)
        found["break_even"] = {"after": distance(rule.after, "break_even")}
        if rule.plus is not None:
            found["break_even"]["plus"] = distance(rule.plus, "break_even plus")
    if protection.partials:
        found["partials"] = [
            {"at": distance(p.at, "a partial"), "fraction": str(p.fraction)} for p in protection.partials
        ]
    if protection.max_bars is not None:
        found["max_bars"] = {"kind": "bars", "node": lowering.add(window(protection.max_bars, "max_bars"))}
    return found


def features(management: Mapping[str, Any]) -> frozenset[str]:
    """Return what an engine must be able to do."""
    found = set()
    if "order" in management:
        found.add(management["order"]["kind"] + "_entry")
    for key, name in (
        ("trail", "trailing_stop"),
        ("break_even", "break_even"),
        ("partials", "partials"),
        ("max_bars", "time_exit"),
    ):
        if key in management:
            found.add(name)
    return frozenset(found)


def parts(management: Mapping[str, Any]) -> Iterable[tuple[Part, str, bool]]:
    """Return every stored distance with its name and whether a multiple of the stop is allowed there."""
    if "trail" in management:
        yield management["trail"]["by"], "trailing_stop", False
        if "after" in management["trail"]:
            yield management["trail"]["after"], "the start of trailing_stop", True
    if "break_even" in management:
        yield management["break_even"]["after"], "break_even", True
        if "plus" in management["break_even"]:
            yield management["break_even"]["plus"], "break_even plus", False
    for partial in management.get("partials", ()):
        yield partial["at"], "a partial", True


def nodes(management: Mapping[str, Any]) -> list[int]:
    """Return the nodes that management reads."""
    found = [part["node"] for part, _, _ in parts(management)]
    if "order" in management:
        found += [management["order"][k] for k in ("long", "short", "bars") if k in management["order"]]
    if "max_bars" in management:
        found.append(management["max_bars"]["node"])
    return found


def check(management: Mapping[str, Any], node: Callable[..., None]) -> None:
    """Check stored management; ``node`` checks one reference."""
    unknown = set(management) - {"order", "trail", "break_even", "partials", "max_bars"}
    if unknown:
        raise SpecError(must_be("management", "known to this toolkit", sorted(unknown), "upgrade the toolkit"))
    for part, what, ratio in parts(management):
        allowed = ("distance", "pips", "rr") if ratio else ("distance", "pips")
        if part["kind"] not in allowed:
            raise SpecError(must_be(f"the kind of {what}", "one of " + ", ".join(allowed), part["kind"], "upgrade it"))
        node(part["node"], what, "f8", None if part["kind"] == "distance" else True)
    for partial in management.get("partials", ()):
        _fraction(Decimal(partial["fraction"]))
    if "order" in management:
        order = management["order"]
        if order["kind"] not in ("limit", "stop"):
            raise SpecError(must_be("the entry order", "limit or stop", order["kind"], "upgrade the toolkit"))
        node(order["bars"], "expiry", "f8", True)
        for side in ("long", "short"):
            if side in order:
                node(order[side], f"the {side} level", "f8")
    if "max_bars" in management:
        node(management["max_bars"]["node"], "max_bars", "f8", True)


def _fraction(value: Decimal) -> Decimal:
    if not 0 < value < 1:
        raise SpecError(must_be("the fraction of a partial", "above 0 and below 1", value, "the rest stays open"))
    return value


class Resolver:
    """Management of one strategy, with what is the same on every bar worked out once."""

    def __init__(self, management: Mapping[str, Any], scalars: list[Any]) -> None:
        fixed: dict[str, Any] = {}
        moving: list[tuple[str, Part, bool]] = []

        def ratio(name: str, part: Part) -> None:
            if part["kind"] == "rr":
                fixed[f"{name}_points"], fixed[f"{name}_rr"] = 0, scalars[part["node"]]
            else:
                fixed[f"{name}_rr"] = None
                moving.append((f"{name}_points", part, False))

        if "order" in management:
            order = management["order"]
            fixed["entry_kind"] = order["kind"]
            fixed["expiry_bars"] = _bars(scalars[order["bars"]], "the expiry of a pending entry")
            sides = [side for side in ("long", "short") if side in order]
            moving += [(f"entry_{side}_points", {"kind": "distance", "node": order[side]}, False) for side in sides]
        if "trail" in management:
            moving.append(("trail_points", management["trail"]["by"], True))
            if "after" in management["trail"]:
                ratio("trail_after", management["trail"]["after"])
        if "break_even" in management:
            ratio("break_even_after", management["break_even"]["after"])
            if "plus" in management["break_even"]:
                moving.append(("break_even_plus_points", management["break_even"]["plus"], False))
        if "max_bars" in management:
            fixed["max_bars"] = _bars(scalars[management["max_bars"]["node"]], "max_bars")
        self._fixed, self._moving = fixed, moving
        self._partials = [
            (None, scalars[p["at"]["node"]], Decimal(p["fraction"]))
            if p["at"]["kind"] == "rr"
            else (p["at"], None, Decimal(p["fraction"]))
            for p in management.get("partials", ())
        ]

    def resolve(self, points: Points, known: Known) -> Management:
        """Return management in points.

        ``points(part, up)`` gives a distance, ``up`` rounding it up to whole pips; ``known(part)`` says whether it is a
        number. A trail whose start, and a break-even whose surplus, is not a number is off for that entry.
        """
        values = dict(self._fixed)
        for name, part, up in self._moving:
            values[name] = points(part, up)
            rule = _OFF.get(name)
            if rule is not None:
                other, off = rule
                values[other] = _where(known(part), values[other], off)
        partials = [(0 if part is None else points(part, False), rr, share) for part, rr, share in self._partials]
        return Management(**values, partials=tuple(partials))


# which points switch a rule off where those of the name are not a number
_OFF = {"trail_after_points": ("trail_points", 0), "break_even_plus_points": ("break_even_plus_points", NEVER_EVEN)}


def _where(known: Any, points: Any, off: int) -> Any:
    if isinstance(points, np.ndarray):
        return np.where(known, points, np.int32(off))
    return points if known else off


def point_columns(management: Management) -> dict[str, Any]:
    """Return every level and distance by name, each a column or one value, in points."""
    names = ("entry_long", "entry_short", "trail", "trail_after", "break_even_after", "break_even_plus")
    found = {f"{name}_points": getattr(management, f"{name}_points") for name in names}
    return found | {f"partial_{k}_points": part[0] for k, part in enumerate(management.partials, 1)}


def _bars(value: float, what: str) -> int:
    if value != int(value) or value < 1:
        raise StrategyError(must_be(what, "a whole number of bars of at least 1", value, "change the parameter"))
    return int(value)


def refuse_unsupported(wanted: frozenset[str], supports: Iterable[str], name: str) -> None:
    """Refuse a strategy that needs what an engine cannot do, instead of trading it without."""
    missing = wanted - set(supports)
    if missing:
        raise StrategyError(
            must_be(
                f"what {name} needs",
                "supported by this engine",
                ", ".join(sorted(missing)),
                "leave it out, or run it where it is supported",
            )
        )


def lines(management: Mapping[str, Any], say: Callable[[int], str], words: Callable[[Part], str]) -> dict[str, str]:
    """Return management in words, for a description."""
    found: dict[str, str] = {}
    if "order" in management:
        order = management["order"]
        sides = " and ".join(f"{side} at {say(order[side])}" for side in ("long", "short") if side in order)
        found["entry order"] = f"{order['kind']} order, {sides}, for {say(order['bars'])} bars"
    if "trail" in management:
        trail = management["trail"]
        found["trailing stop"] = words(trail["by"]) + (f", after {words(trail['after'])}" if "after" in trail else "")
    if "break_even" in management:
        rule = management["break_even"]
        plus = f", plus {words(rule['plus'])}" if "plus" in rule else ""
        found["break-even"] = f"after {words(rule['after'])}{plus}"
    for i, partial in enumerate(management.get("partials", ()), 1):
        found[f"partial {i}"] = f"close {partial['fraction']} of the volume at {words(partial['at'])}"
    if "max_bars" in management:
        found["time exit"] = f"after {say(management['max_bars']['node'])} bars"
    return found


__all__ = ["FEATURES", "RR", "Management", "Partial", "Resolver", "StopEntry", "features"]
