"""Checks of a terminal and an account, each problem with what to do about it; nothing here trades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import MissingPackage, ToolkitError, UnknownSymbol, WrongAccount
from toolkit.market import Side
from toolkit.platforms.findings import Finding, Level
from toolkit.platforms.metatrader5 import codes, convert
from toolkit.platforms.metatrader5.clocks import measured_offset
from toolkit.platforms.metatrader5.platform import MetaTrader5Platform

_TRADE_MODES = {0: "disabled", 1: "long only", 2: "short only", 3: "close only", 4: "full"}
_OLD_BUILD = 4_000
_SLOW_PING_MS = 250.0
_LATE_SECONDS = 5.0


def examine(
    mt5: Any,
    *,
    login: int,
    server: str,
    environment: Literal["demo", "real"] = "demo",
    symbols: Sequence[str] = (),
    utc: Clock = SYSTEM,
    **session: Any,
) -> list[Finding]:
    """Look at terminal, account, clock and symbols, and never trade.

    Parameters
    ----------
    mt5
        The module: the vendor's (`toolkit.platforms.metatrader5.module.load_module`) or one with its surface.
    login, server, environment
        The account that should be logged in.
    symbols
        Our names of the symbols to be traded.
    session
        Further words for `MetaTrader5Platform`, such as ``path``, ``clock`` or ``suffix``.
    """
    platform = MetaTrader5Platform(mt5, login=login, server=server, environment=environment, utc=utc, **session)
    try:
        platform.connect()
        return list(platform.examine(tuple(symbols)))
    except ToolkitError as error:
        return [not_reached(error)]
    finally:
        platform.close()


def not_reached(error: ToolkitError) -> Finding:
    """Return the finding of a session that could not be opened, with the remedy its kind of error has."""
    if isinstance(error, MissingPackage):
        return Finding(
            "package", "fail", str(error), "on Linux use an agent beside the terminal: docs/guides/metatrader5.md"
        )
    if isinstance(error, WrongAccount):
        remedy = "log this terminal in to the account and tick Save account information, or correct login and server"
        return Finding("account", "fail", str(error), remedy)
    remedy = "start the terminal of this account, wait until it shows a connection, then look again"
    return Finding("terminal", "fail", str(error), remedy)


def findings(platform: MetaTrader5Platform, symbols: tuple[str, ...]) -> tuple[Finding, ...]:
    """Look a connected session over."""
    return (
        *_terminal(platform.module),
        *_account(platform.module),
        *_clock(platform),
        *(finding for symbol in symbols for finding in _symbol(platform, symbol)),
    )


def _terminal(mt5: Any) -> Iterator[Finding]:
    info = mt5.terminal_info()
    yield Finding("terminal", "ok", f"{info.name} build {info.build}, last ping {info.ping_last / 1000:.1f} ms")
    if info.build < _OLD_BUILD:
        yield Finding("build", "warn", f"{info.build} is old", "update the terminal: Help, Check desktop updates")
    if info.ping_last / 1000 > _SLOW_PING_MS:
        yield Finding("line", "warn", f"{info.ping_last / 1000:.0f} ms to the server", "move nearer to it, e.g. a VPS")
    if not info.trade_allowed:
        yield Finding("algo trading", "fail", "switched off in the terminal", "press the Algo Trading button")
    if info.tradeapi_disabled:
        remedy = (
            "Tools, Options, Expert Advisors: take the tick off Disable algorithmic trading via external Python API"
        )
        yield Finding("interface", "fail", "disabled for Python", remedy)
    if info.trade_allowed and not info.tradeapi_disabled:
        yield Finding("algo trading", "ok", "allowed")


def _account(mt5: Any) -> Iterator[Finding]:
    info = mt5.account_info()
    mode = "hedging" if info.margin_mode == codes.MARGIN_HEDGING else "netting"
    kind = convert.environment(info)
    yield Finding("account", "ok", f"{info.login} at {info.server}: {kind}, {mode}, {info.currency}, 1:{info.leverage}")
    if not info.trade_allowed:
        yield Finding(
            "account trading",
            "fail",
            "not allowed",
            "this is an investor login or a blocked account: use the main password",
        )
    if not info.trade_expert:
        yield Finding("expert trading", "fail", "not allowed by the server", "ask the company to allow expert advisors")
    if mode == "netting":
        yield Finding("netting", "warn", "one position a symbol: a second run on a symbol is refused")
    if info.fifo_close:
        yield Finding("first in, first out", "warn", "older positions of a symbol must be closed first (retcode 10045)")


def _clock(platform: MetaTrader5Platform) -> Iterator[Finding]:
    clock, utc = platform.server_time.clock, platform.machine_clock.now()
    tick = _newest_tick(platform.module)
    offset = None if tick is None else measured_offset(tick, utc)
    found = platform.clock_finding
    if found is not None:
        level: Level = "warn" if found.rivals else "ok"
        remedy = "state it: `seatrial account set NAME --clock ...`" if found.rivals else ""
        yield Finding("server clock", level, str(found), remedy)
    elif offset is None:
        said = f"{clock.name}: stated, not measured (no fresh tick)"
        yield Finding("server clock", "warn", said, "look again when markets are open")
    else:
        expected = round((platform.server_time.wall(utc) - int(utc.timestamp())) / 60)
        said = f"{clock.name}: UTC{expected / 60:+g} h stated, UTC{offset / 60:+g} h measured"
        wrong = "correct the account's clock: bars and expiries would be off"
        yield Finding("server clock", *(("ok", said) if expected == offset else ("fail", said, wrong)))
    if tick is not None and offset is not None:
        ahead = tick - offset * 60 - utc.timestamp()
        if ahead > _LATE_SECONDS:
            said = f"{ahead:.0f} s behind the server's last tick"
            yield Finding("this machine's clock", "warn", said, "let the system set its clock from the network (NTP)")


def _newest_tick(mt5: Any) -> int | None:
    """Return the time of the newest tick in Market Watch, on the server's wall clock."""
    newest = max((int(i.time) for i in mt5.symbols_get() or () if i.visible), default=0)
    return newest or None


def _symbol(platform: MetaTrader5Platform, symbol: str) -> Iterator[Finding]:
    try:
        facts, quote = platform.instrument(symbol), platform.quote(symbol)
        info = platform.module.symbol_info(platform.server_name(symbol))
        profit = platform.profit(symbol, Side.BUY, Decimal(1), quote.bid, quote.bid + 100 * facts.pip_size) / 100
        stated = platform.point_value(symbol)
    except UnknownSymbol as error:
        yield Finding(symbol, "fail", str(error), "name it in the account: --suffix, or --symbol OURS=THEIRS")
        return
    except ToolkitError as error:
        yield Finding(symbol, "fail", str(error), "open its chart once, so that the terminal loads it, then look again")
        return
    mode = _TRADE_MODES.get(info.trade_mode, str(info.trade_mode))
    yield Finding(
        symbol,
        "ok" if info.trade_mode == codes.TRADE_FULL else "fail",
        f"{platform.server_name(symbol)}: {mode}, spread {facts.pips(quote.spread):.1f} pips, lots {facts.volume_min} to "
        f"{facts.volume_max} by {facts.volume_step}, stops level {info.trade_stops_level}, filling mask {info.filling_mode}",
        "" if info.trade_mode == codes.TRADE_FULL else "trade another symbol, or ask the company to open it",
    )
    by_tick = None if stated is None else stated * facts.points_per_pip
    if by_tick is None or abs(by_tick - profit) > profit / 100:
        yield Finding(
            f"{symbol} pip value",
            "fail",
            f"profit calculation says {profit}, tick value says {by_tick} a pip and lot",
            "add the conversion pair to Market Watch; if it stays so, do not trade this symbol",
        )
    else:
        yield Finding(f"{symbol} pip value", "ok", f"{profit} a pip and lot on both routes")
