"""The double against the real package: constants from its source, tuple fields from its tables."""

from __future__ import annotations

import ast
import os
import struct
import zipfile
from pathlib import Path

import pytest

from toolkit.errors import MissingPackage
from toolkit.platforms.metatrader5 import codes
from toolkit.platforms.metatrader5.module import load_module
from toolkit.platforms.simmt5.surface.constants import CONSTANTS
from toolkit.platforms.simmt5.surface.tuples import TUPLES, make

SHARED = Path(__file__).parents[5] / "shared" / "reference" / "mt5_fields.txt"


def wheel() -> zipfile.ZipFile:
    """Return the real wheel named by SEATRIAL_MT5_WHEEL."""
    path = os.environ.get("SEATRIAL_MT5_WHEEL", "")
    if not path or not Path(path).is_file():
        pytest.skip(
            "SEATRIAL_MT5_WHEEL names no file: pip download --no-deps --platform win_amd64 --only-binary=:all: MetaTrader5"
        )
    return zipfile.ZipFile(path)


def package_constants(source: str) -> dict[str, int]:
    """Return every upper-case integer of a module's source, without running it."""
    found: dict[str, int] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            value = eval(compile(ast.Expression(node.value), "constant", "eval"), {"__builtins__": {}})
            if isinstance(value, int):
                found[node.targets[0].id] = value
    return found


def test_mt5_constants_equal_the_real_package() -> None:
    """Every constant of the wheel is there with its number, and no other."""
    with wheel() as archive:
        real = package_constants(archive.read("MetaTrader5/__init__.py").decode())
    assert len(real) > 200
    assert real == CONSTANTS


class Binary:
    """The package's compiled module, read as data: its tables of tuple fields are pairs of pointers to name and text."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        header = struct.unpack_from("<I", data, 0x3C)[0]
        count, size = struct.unpack_from("<H", data, header + 6)[0], struct.unpack_from("<H", data, header + 20)[0]
        self._base = struct.unpack_from("<Q", data, header + 48)[0]
        self._sections = []
        for n in range(count):
            at = header + 24 + size + 40 * n
            _, address, length, offset = struct.unpack_from("<IIII", data, at + 8)
            self._sections.append((data[at : at + 8].rstrip(b"\0"), address, length, offset))

    def _name_at(self, pointer: int) -> str:
        for _, address, length, offset in self._sections:
            at = pointer - self._base - address
            if 0 <= at < length:
                found = self._data[offset + at : offset + at + 64].split(b"\0")[0]
                return found.decode() if found.isascii() and found.decode().isidentifier() else ""
        return ""

    def tables(self) -> set[tuple[str, ...]]:
        """Return every run of names in the data sections."""
        found = set()
        for name, _, length, offset in self._sections:
            if name not in (b".data", b".rdata"):
                continue
            for start in (offset, offset + 8):
                names: list[str] = []
                for at in range(start, offset + length - 16, 16):
                    field = self._name_at(struct.unpack_from("<Q", self._data, at)[0])
                    if field:
                        names.append(field)
                        continue
                    if len(names) > 2:
                        found.add(tuple(names))
                    names = []
        return found


def test_mt5_tuple_fields_are_the_real_packages_in_its_order() -> None:
    """Every tuple of the double is a table of the wheel's compiled module: the same fields in the same order, and no other."""
    with wheel() as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".pyd")]
        found = Binary(archive.read(name)).tables()
    assert {kind._fields for kind in TUPLES.values()} == found


@pytest.mark.parametrize(
    "prefix", ["TRADE", "ORDER", "POSITION", "DEAL", "SYMBOL", "TIMEFRAME", "COPY", "ACCOUNT", "RES"]
)
def test_mt5_constants_of_each_family_are_there(prefix: str) -> None:
    """No family of constants is left out of the comparison."""
    with wheel() as archive:
        real = package_constants(archive.read("MetaTrader5/__init__.py").decode())
    family = {n: v for n, v in real.items() if n.startswith(prefix + "_")}
    assert family and family == {n: v for n, v in CONSTANTS.items() if n.startswith(prefix + "_")}


def test_mt5_tuple_fields_are_in_the_read_order() -> None:
    """The order of all fields is the one read from the package's tables."""
    if not SHARED.is_file():
        pytest.skip("the reference folder is not here")
    for line in SHARED.read_text().splitlines():
        name, count, _, names = line.split()
        assert TUPLES[name]._fields == tuple(names.split(",")), name
        assert len(TUPLES[name]._fields) == int(count)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ACTION_DEAL", "TRADE_ACTION_DEAL"),
        ("ACTION_PENDING", "TRADE_ACTION_PENDING"),
        ("ACTION_SLTP", "TRADE_ACTION_SLTP"),
        ("ACTION_REMOVE", "TRADE_ACTION_REMOVE"),
        ("ORDER_BUY", "ORDER_TYPE_BUY"),
        ("ORDER_SELL_STOP", "ORDER_TYPE_SELL_STOP"),
        ("FILLING_RETURN", "ORDER_FILLING_RETURN"),
        ("TIME_SPECIFIED", "ORDER_TIME_SPECIFIED"),
        ("EXECUTION_MARKET", "SYMBOL_TRADE_EXECUTION_MARKET"),
        ("TRADE_FULL", "SYMBOL_TRADE_MODE_FULL"),
        ("TRADE_CLOSE_ONLY", "SYMBOL_TRADE_MODE_CLOSEONLY"),
        ("MARGIN_HEDGING", "ACCOUNT_MARGIN_MODE_RETAIL_HEDGING"),
        ("DEAL_SELL", "DEAL_TYPE_SELL"),
    ],
)
def test_mt5_adapter_numbers_are_the_packages(ours: str, theirs: str) -> None:
    """The adapter's own numbers cannot drift from the package's."""
    assert getattr(codes, ours) == CONSTANTS[theirs]


def test_mt5_retcode_table_covers_the_package() -> None:
    """Every TRADE_RETCODE of the package has a class, under its own name."""
    real = {n: v for n, v in CONSTANTS.items() if n.startswith("TRADE_RETCODE_")}
    assert {v: f"TRADE_RETCODE_{codes.RETCODES[v][0]}" for v in real.values()} == {v: n for n, v in real.items()}


def test_mt5_timeframes_are_the_packages() -> None:
    """Each bar length has the package's number."""
    assert {name: CONSTANTS[f"TIMEFRAME_{name}"] for name in codes.TIMEFRAMES} == codes.TIMEFRAMES


def test_mt5_tuple_with_an_unknown_field_is_an_error() -> None:
    """The double cannot grow a field that the package does not have."""
    with pytest.raises(TypeError, match="no field slippage"):
        make("TradeDeal", slippage=1)


def test_mt5_missing_package_says_what_to_install() -> None:
    """Where the vendor's package is not installed, the message has the way out."""
    try:
        load_module()
    except MissingPackage as e:
        assert "agent" in str(e) or "seatrial[mt5]" in str(e)
    else:
        pytest.skip("the MetaTrader5 package is installed here")
