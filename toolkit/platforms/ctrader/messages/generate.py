"""Renew ``open_api_pb2.py`` from ``open_api.proto``: ``python -m toolkit.platforms.ctrader.messages.generate``.

Needs ``grpcio-tools`` (``pip install "grpcio-tools>=1.76,<1.79"``: the compiler must not be newer than the oldest protobuf
that pyproject.toml allows).
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    """Run the compiler on the file beside this one."""
    here = Path(__file__).parent
    protoc = import_module("grpc_tools.protoc")
    return int(
        protoc.main(["protoc", f"-I{here}", f"--python_out={here}", f"--pyi_out={here}", str(here / "open_api.proto")])
    )


if __name__ == "__main__":
    sys.exit(main())
