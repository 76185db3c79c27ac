"""A connected cTrader session looked over, each problem with what to do about it; nothing here trades."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from toolkit.clock import SYSTEM
from toolkit.errors import MissingPackage, ToolkitError, UnknownSymbol, WrongAccount
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.findings import Finding

if TYPE_CHECKING:
    from toolkit.platforms.ctrader.platform import CTraderPlatform

_SLOW_MS = 250.0
_LATE_SECONDS = 5.0
_SOON_DAYS = 3


def not_reached(error: ToolkitError) -> Finding:
    """Return the finding of a session that could not be opened, with the remedy its kind of error has."""
    if isinstance(error, MissingPackage):
        return Finding("package", "fail", str(error), 'pip install "seatrial[ctrader]"')
    if isinstance(error, WrongAccount):
        return Finding("account", "fail", str(error), "grant access again: seatrial account grant NAME")
    return Finding("server", "fail", str(error), "check host, port and network: 5035 is the protobuf port")


def findings(platform: CTraderPlatform, symbols: tuple[str, ...]) -> tuple[Finding, ...]:
    """Look a connected session over."""
    return (
        *_line(platform),
        *_account(platform),
        *_tokens(platform),
        *(finding for symbol in symbols for finding in _symbol(platform, symbol)),
    )


def _line(platform: CTraderPlatform) -> Iterator[Finding]:
    begun = SYSTEM.monotonic()
    version = platform.session.ask(pb.ProtoOAVersionReq(), pb.ProtoOAVersionRes).version
    took = 1000 * (SYSTEM.monotonic() - begun)
    yield Finding("server", "ok", f"{platform.session.host}, Open API {version}, {took:.0f} ms there and back")
    if took > _SLOW_MS:
        yield Finding("line", "warn", f"{took:.0f} ms there and back", "move nearer to the server")


def _account(platform: CTraderPlatform) -> Iterator[Finding]:
    account = platform.book().account
    mode = "hedging" if account.hedging else "netting"
    leverage = platform.session.trader.leverageInCents // 100
    yield Finding("account", "ok", f"{account.login}: {account.environment}, {mode}, {account.currency}, 1:{leverage}")
    if not account.trading_allowed:
        remedy = "grant the scope 'trading' to the application, or ask the broker"
        yield Finding("account trading", "fail", "not allowed", remedy)
    if not account.hedging:
        yield Finding("netting", "warn", "one position a symbol: a second run on a symbol is refused")


def _tokens(platform: CTraderPlatform) -> Iterator[Finding]:
    ends = platform.session.token_ends
    if not ends:
        yield Finding("access token", "warn", "when it ends is not known", "it is renewed when the server refuses it")
        return
    days = (datetime.fromisoformat(ends) - SYSTEM.now()).total_seconds() / 86_400
    said = f"good for {days:.1f} days"
    yield Finding(
        "access token", "ok" if days > _SOON_DAYS else "warn", said, "" if days > _SOON_DAYS else "renewed soon"
    )


def _symbol(platform: CTraderPlatform, symbol: str) -> Iterator[Finding]:
    try:
        of = platform.session.symbol(symbol)
        quote = platform.quote(symbol)
        rate = platform.conversion_rate(of.facts.quote_currency, platform.session.currency)
    except UnknownSymbol as error:
        yield Finding(symbol, "fail", str(error), "name it in the account: --suffix, or --symbol OURS=THEIRS")
        return
    except ToolkitError as error:
        yield Finding(symbol, "fail", str(error), "look again when the market is open")
        return
    said = (
        f"{of.name}: spread {of.facts.pips(quote.spread):.1f} pips, lots {of.facts.volume_min} to {of.facts.volume_max} "
        f"by {of.facts.volume_step}, {of.facts.quote_currency} to account {float(rate.num) / rate.den:.6g}"
    )
    yield Finding(symbol, "ok" if of.enabled else "fail", said, "" if of.enabled else "ask the broker to open it")
    age = (platform.now() - quote.ts).total_seconds() if quote.ts is not None else 0.0
    if age < -_LATE_SECONDS:
        yield Finding(
            "this machine's clock", "warn", f"{-age:.0f} s behind the server", "set it from the network (NTP)"
        )
