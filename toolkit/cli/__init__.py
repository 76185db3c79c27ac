"""The command line: ``seatrial demo``, ``run``, ``status``, ``stop`` and what else is built; nothing that is not is listed."""

from __future__ import annotations

import sys

from toolkit.cli.app import app
from toolkit.errors import ToolkitError
from toolkit.no_core import forbid_core_dumps

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a refusal of the toolkit is one sentence and exit code 2, never a traceback."""
    forbid_core_dumps()
    try:
        app()
    except ToolkitError as error:
        sys.stderr.write(f"seatrial: {error}\n")
        raise SystemExit(2) from None
