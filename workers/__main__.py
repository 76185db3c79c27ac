"""``python -m workers``: the worker process; ``seatrial worker`` starts it under a supervisor."""

from __future__ import annotations

import argparse

from toolkit.no_core import forbid_core_dumps
from toolkit.settings import Settings
from toolkit.telemetry.logging import configure_logging
from workers.process import serve


def main() -> None:
    """Read the arguments and serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--gateway", required=True, choices=["redis", "rabbitmq", "kafka"])
    parser.add_argument("--account", action="append", default=[], help="name or id; all of the gateway when left out")
    options = parser.parse_args()
    forbid_core_dumps()
    settings = Settings()
    configure_logging(settings.log_level)
    serve(settings, options.account, options.gateway)


if __name__ == "__main__":
    main()
