"""The result of a sea trial: a sealed record that promotion can trust and people can read."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolkit.errors import BadInput, must_be

TITLES = {
    "look_ahead": "no decision reads the future",
    "warm_up": "decisions do not depend on where history begins",
    "columnar_equals_incremental": "the compiled and the live driver agree",
    "backtest_equals_live": "backtest and live replay make the same trades",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check.

    Attributes
    ----------
    name
        One of the keys of `TITLES`.
    passed
        The verdict.
    detail
        What was measured, or what went wrong.
    node, bar, bar_time
        Where it went wrong first: the node's name, the bar's row and its open (ISO 8601, UTC).
    """

    name: str
    passed: bool
    detail: str
    node: str = ""
    bar: int | None = None
    bar_time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What was checked, on what, how it went, and what a run may be expected to do; ``digest`` seals the rest.

    ``series`` holds symbol, fingerprint, number of bars and contract facts of each symbol where there are several.
    """

    name: str
    spec_hash: str
    data_fingerprint: str
    symbol: str
    timeframe: str
    bars: int
    first_bar: str
    last_bar: str
    account: dict[str, Any]
    guards: dict[str, Any]
    instrument: dict[str, Any]
    literals: tuple[str, ...]
    declared_warmup_bars: int
    measured_warmup_bars: int
    trades: int
    checks: tuple[CheckResult, ...]
    expectation: dict[str, Any] = field(default_factory=dict)
    series: tuple[dict[str, Any], ...] = ()
    digest: str = ""

    @classmethod
    def seal(cls, **content: Any) -> TrialReport:
        """Make a report and its digest."""
        return cls(**content, digest=_digest(cls(**content)))

    @property
    def passed(self) -> bool:
        """Whether every check passed; a report without all four has not."""
        return {c.name for c in self.checks} == set(TITLES) and all(c.passed for c in self.checks)

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(c for c in self.checks if not c.passed)

    @property
    def intact(self) -> bool:
        """Whether the report is as the trial wrote it."""
        return self.digest == _digest(self)

    @property
    def warmup_bars(self) -> int:
        """Bars of history a run needs before its decisions count: the larger of declared and measured."""
        return max(self.declared_warmup_bars, self.measured_warmup_bars)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        data = asdict(self)
        if not self.series:  # the form, and so the digest, of reports on one symbol has no such field
            del data["series"]
        return data

    def to_json(self) -> str:
        """Return the report as canonical JSON."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialReport:
        """Read a report back."""
        try:
            values = dict(data)
            values["checks"] = tuple(CheckResult(**c) for c in values["checks"])
            values["literals"] = tuple(values["literals"])
            values["series"] = tuple(values.get("series", ()))
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise BadInput(must_be("a sea-trial report", "complete", str(error), "run tk.sea_trial again")) from error

    @classmethod
    def from_json(cls, text: str) -> TrialReport:
        """Read a report back from its JSON."""
        return cls.from_dict(json.loads(text))

    def __str__(self) -> str:
        head = f"sea trial of {self.name} on {self.symbol} {self.timeframe}, {self.bars:,} bars: "
        lines = [head + ("passed" if self.passed else "FAILED")]
        lines += [f"  {'ok  ' if c.passed else 'FAIL'} {TITLES.get(c.name, c.name)}: {c.detail}" for c in self.checks]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'&#10003;' if c.passed else '&#10007;'}</td><td>{html.escape(TITLES.get(c.name, c.name))}</td>"
            f"<td>{html.escape(c.detail)}</td></tr>"
            for c in self.checks
        )
        verdict = "passed" if self.passed else "failed"
        title = f"Sea trial of {self.name}: {verdict}"
        hashes = f"spec {self.spec_hash[:12]}, data {self.data_fingerprint[:12]}"
        what = f"{self.symbol} {self.timeframe}, {self.bars:,} bars, {hashes}"
        return f"<h4>{html.escape(title)}</h4><p>{html.escape(what)}</p><table>{rows}</table>"


def _digest(report: TrialReport) -> str:
    content = report.to_dict()
    del content["digest"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
