"""What the commands share: the engine of this process, and two consoles (people read stderr, programs read stdout)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from toolkit.live.engine import Engine
from toolkit.settings import Settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Data folder; SEATRIAL_HOME or the user's data directory when left out.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line of stdout.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def settings_for(home: Path | None) -> Settings:
    """Return the settings of the environment, in another data folder when one is named."""
    return Settings() if home is None else Settings(home=home)


@contextmanager
def engine_of(home: Path | None, **overrides: Any) -> Iterator[Engine]:
    """Open an engine for one command, logging to ``HOME/logs/seatrial.jsonl``, and close it afterwards."""
    from toolkit.bootstrap import build
    from toolkit.telemetry.logging import configure_logging, stop_logging

    settings = settings_for(home)
    log = settings.home / "logs" / "seatrial.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as stream:
        configure_logging(settings.log_level, stream=stream)
        engine = build(settings, **overrides)
        try:
            yield engine
        finally:
            engine.close()
            stop_logging()
