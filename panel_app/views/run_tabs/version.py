"""The version of a run in words: what it does, what it was promoted on."""

from __future__ import annotations

import json
from typing import Any

import panel as pn

from panel_app.data_store import RunTopic
from panel_app.look.describe import spec_in_words
from panel_app.look.formatting import escape


class Version:
    """What never changes of a run."""

    title = "Strategy"

    def __init__(self, topic: RunTopic) -> None:
        self.content = pn.pane.HTML(version_html(topic), sizing_mode="stretch_width", margin=8)

    def show(self, topic: RunTopic) -> None:
        """A version is immutable."""


def version_html(topic: RunTopic) -> str:
    """Return the version of a run in words: its rules, parameters, evidence, note and hash."""
    detail = topic.detail
    lines = "".join(f"<li>{escape(line)}</li>" for line in spec_in_words(detail.spec_json))
    note = f"<p>{escape(detail.note)}</p>" if detail.note else ""
    evidence: dict[str, Any] = json.loads(detail.evidence_json or "{}")
    trial: dict[str, Any] = evidence.get("trial") or {}
    checks = "".join(
        f"<li>{'&#10003;' if check.get('passed') else '&#10007;'} {escape(check.get('name', '')).replace('_', ' ')}: "
        f"{escape(check.get('detail', ''))}</li>"
        for check in trial.get("checks", ())
    )
    tried = f"<h4>Sea trial on {trial.get('bars', 0):,} bars</h4><ul>{checks}</ul>" if checks else ""
    changes = "".join(f"<li>{escape(change)}</li>" for change in evidence.get("changes", ()))
    since = f"<h4>Against the version before</h4><ul>{changes}</ul>" if changes else ""
    return (
        f"<h3>{escape(detail.bot)} version {detail.version_number}</h3>{note}<ul>{lines}</ul>{tried}{since}"
        f"<p style='opacity:.7'>version <code>{escape(detail.version_hash)}</code></p>"
    )
