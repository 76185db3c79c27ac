"""Checks of a terminal and an account, each problem with what to do about it; and a rehearsal with the smallest volume."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from toolkit.clock import SYSTEM, Clock
from toolkit.errors import Forbidden, ToolkitError, must_be
from toolkit.execution.ports import (
    ClientTag,
    ClosePosition,
    ModifyProtection,
    OpenOrder,
    OrderResult,
    OrderType,
    Outcome,
    TradingPlatform,
)
from toolkit.market import Side
from toolkit.platforms.metatrader5 import codes, convert
from toolkit.platforms.metatrader5.clocks import measured_offset
from toolkit.platforms.metatrader5.platform import MetaTrader5Platform

_TRADE_MODES = {0: "disabled", 1: "long only", 2: "short only", 3: "close only", 4: "full"}
_STOP_PIPS = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    level
        ``fail``: cannot trade like this; ``warn``: can, but know it; ``ok``.
    """

    name: str
    level: Literal["ok", "warn", "fail"]
    said: str
    remedy: str = ""


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
    except ToolkitError as e:
        return [Finding("terminal", "fail", str(e), "start the terminal, log in to this account, then look again")]
    try:
        return [
            *_terminal(mt5),
            *_account(mt5),
            *_clock(mt5, platform, session.get("clock") is not None, utc),
            *(finding for symbol in symbols for finding in _symbol(platform, mt5, symbol)),
        ]
    finally:
        platform.close()


def _terminal(mt5: Any) -> Iterator[Finding]:
    info = mt5.terminal_info()
    yield Finding("terminal", "ok", f"{info.name} build {info.build}, last ping {info.ping_last / 1000:.1f} ms")
    if not info.trade_allowed:
        yield Finding("algo trading", "fail", "switched off in the terminal", "press the Algo Trading button")
    if info.tradeapi_disabled:
        yield Finding(
            "interface", "fail", "disabled for Python", "Options, Expert Advisors: allow the external interface"
        )
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


def _clock(mt5: Any, platform: MetaTrader5Platform, stated: bool, utc: Clock) -> Iterator[Finding]:
    clock = platform.server_time.clock
    if platform.clock_finding is not None:
        level: Literal["ok", "warn"] = "warn" if platform.clock_finding.rivals else "ok"
        yield Finding("server clock", level, str(platform.clock_finding), "set clock in the account's settings")
    if not stated:
        return
    for info in mt5.symbols_get() or ():
        tick = mt5.symbol_info_tick(info.name) if info.visible else None
        offset = None if tick is None else measured_offset(int(tick.time), utc.now())
        if offset is not None:
            wall = platform.server_time.wall(utc.now())
            expected = round((wall - int(utc.now().timestamp())) / 60)
            fits = expected == offset
            yield Finding(
                "server clock",
                "ok" if fits else "fail",
                f"{clock.name}: UTC{expected / 60:+g} h stated, UTC{offset / 60:+g} h measured",
                "" if fits else "correct clock in the account's settings: bars and expiries would be off",
            )
            return
    yield Finding(
        "server clock",
        "warn",
        f"{clock.name}: stated, not measured (no fresh tick)",
        "look again when markets are open",
    )


def _symbol(platform: MetaTrader5Platform, mt5: Any, symbol: str) -> Iterator[Finding]:
    try:
        facts, quote = platform.instrument(symbol), platform.quote(symbol)
        info = mt5.symbol_info(platform.server_name(symbol))
        profit = platform.profit(symbol, Side.BUY, Decimal(1), quote.bid, quote.bid + 100 * facts.pip_size) / 100
        stated = platform.point_value(symbol)
    except ToolkitError as e:
        yield Finding(symbol, "fail", str(e), "check name, suffix and Market Watch")
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


def rehearse(
    platform: TradingPlatform, symbol: str, *, make_tag: Callable[[str], ClientTag] | None = None
) -> list[Finding]:
    """Open twice the smallest volume, move its stop, reduce it, close it; only ever on a demo account.

    Whatever happens on the way, the position is closed at the end, or the last finding says that it is not.

    Raises
    ------
    Forbidden
        When the account is not a demo account; nothing was sent.
    """
    account = platform.connect()
    if account.environment != "demo":
        raise Forbidden(
            must_be("account", "a demo account", account.environment, "rehearse on a demo account of the same company")
        )
    tag = make_tag or _tag
    facts, quote = platform.instrument(symbol), platform.quote(symbol)
    lots = facts.volume_min * 2
    stop = facts.price(facts.to_points(quote.bid - _STOP_PIPS * facts.pip_size))
    found: list[Finding] = []
    opened = platform.send(OpenOrder(tag("open"), symbol, Side.BUY, OrderType.MARKET, lots, stop_loss=stop))
    found.append(_step("open", opened))
    position = opened.position_id
    if opened.outcome not in (Outcome.DONE, Outcome.PARTIAL) or position is None:
        return found
    try:
        nearer = stop + 10 * facts.pip_size
        found.append(_step("modify", platform.send(ModifyProtection(tag("modify"), position, nearer, None))))
        found.append(_step("reduce", platform.send(ClosePosition(tag("reduce"), position, facts.volume_min))))
    finally:
        found.append(_step("close", platform.send(ClosePosition(tag("close"), position, reason="flatten"))))
    left = [p for p in platform.book().positions if p.position_id == position]
    if left:
        found.append(Finding("left open", "fail", f"position {position} is still open", "close it in the terminal now"))
    now = platform.now()
    deals = platform.history(now - timedelta(hours=1), now + timedelta(hours=1)).deals
    mine = [d for d in deals if d.position_id == position]
    moved = sum((d.profit + d.commission + d.swap for d in mine), Decimal(0))
    found.append(Finding("deals", "ok" if len(mine) >= 2 else "warn", f"{len(mine)} deals, {moved} {account.currency}"))
    return found


def _step(name: str, result: OrderResult) -> Finding:
    good = result.outcome in (Outcome.DONE, Outcome.PARTIAL, Outcome.ALREADY) and result.protected
    told = f"{result.outcome}: {result.code} {result.message}".strip()
    remedy = "" if good else "read the message; an UNKNOWN must be looked up in the terminal before anything else"
    return Finding(name, "ok" if good else "fail", told if result.protected else told + " (stop not confirmed)", remedy)


def _tag(step: str) -> ClientTag:
    number = secrets.randbits(62) | 1
    return ClientTag(f"q1doctor{step[:6]}{number & 0xFFFFFFFF:08x}"[:28], number)
