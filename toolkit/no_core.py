"""A process that holds secrets leaves no image of its memory behind when it crashes."""

from __future__ import annotations


def forbid_core_dumps() -> None:
    """Let the system write no core file of this process; where there are none (Windows) nothing is to be done."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
