"""Compiles a generated module in a process of its own, so that the very first run on a machine need not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["Compilation"]

_CODE = "import sys; from toolkit.simulation.compiling.compiled import load; load(sys.argv[1])"


class Compilation:
    """One generated module being compiled elsewhere; its code is found on disk afterwards.

    Parameters
    ----------
    path
        The generated file.

    Raises
    ------
    OSError
        When no process can be started.
    """

    def __init__(self, path: Path) -> None:
        here = os.pathsep.join(part for part in sys.path if part)
        # a session of its own: an interrupt meant for this process must not stop what later ones need
        self._process = subprocess.Popen(  # noqa: S603 - our interpreter and code
            [sys.executable, "-c", _CODE, str(path)],
            env={**os.environ, "PYTHONPATH": here},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Wait for its end; whether it succeeded shows when the module is loaded."""
        self._process.wait()
