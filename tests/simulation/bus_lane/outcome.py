"""What came of many schedules."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LEASE_SECONDS = 3.0
GRACE_SECONDS = {"redis": 10.0, "rabbitmq": 2.0, "kafka": 10.0}
# On one host an account changes hands at once, except where a group has to find out that its member is gone.
TAKEOVER_SECONDS = {"redis": LEASE_SECONDS, "rabbitmq": LEASE_SECONDS, "kafka": LEASE_SECONDS + GRACE_SECONDS["kafka"]}


@dataclass
class Outcome:
    """Filled by schedules that run side by side."""

    schedules: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    intents: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        faults: Counter[str],
        violations: list[str],
        recoveries: list[tuple[str, float]],
        takeovers: list[tuple[str, float]],
        intents: int,
    ) -> None:
        """Count one schedule."""
        with self.guard:
            self.schedules += 1
            self.faults += faults
            self.violations += violations
            self.recoveries += recoveries
            self.takeovers += takeovers
            self.intents += intents

    def late(self, bus: str) -> list[str]:
        """Recoveries that took longer than lease plus grace, and takeovers on this host that waited for the lease."""
        limit = LEASE_SECONDS + GRACE_SECONDS[bus]
        slow = [f"recovery from {name}: {s:.1f} s of {limit:.0f}" for name, s in self.recoveries if s > limit]
        return slow + [f"takeover after {name}: {s:.1f} s" for name, s in self.takeovers if s > TAKEOVER_SECONDS[bus]]

    def figures(self, bus: str) -> dict[str, Any]:
        """Return the numbers that go into the docs."""
        return {
            "bus": bus,
            "schedules": self.schedules,
            "faults": dict(sorted(self.faults.items())),
            "intents": self.intents,
            "violations": len(self.violations),
            "recovery_limit_s": LEASE_SECONDS + GRACE_SECONDS[bus],
            **_spread("recovery", self.recoveries),
            "takeover_limit_s": TAKEOVER_SECONDS[bus],
            **_spread("takeover", self.takeovers),
            "late": len(self.late(bus)),
            "slowest": [[name, round(s, 2)] for name, s in sorted(self.recoveries, key=lambda r: -r[1])[:5]],
            "load_average": round(os.getloadavg()[0], 1),
        }


def _spread(what: str, measured: Sequence[tuple[str, float]]) -> dict[str, Any]:
    seconds = sorted(s for _, s in measured)
    if not seconds:
        return {f"{what}_count": 0}
    return {
        f"{what}_count": len(seconds),
        f"{what}_p50_s": round(seconds[len(seconds) // 2], 2),
        f"{what}_max_s": round(seconds[-1], 2),
    }
