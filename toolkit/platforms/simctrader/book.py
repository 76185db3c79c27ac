"""What a paper venue holds, as messages of the Open API."""

from __future__ import annotations

from decimal import Decimal

from toolkit.errors import UnknownSymbol, must_be
from toolkit.execution.ports import ClientTag, OrderType
from toolkit.market import Instrument, Timeframe
from toolkit.platforms.ctrader import codes, convert
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.platforms.simulated.book.records import Deal, Order, Position
from toolkit.simulation import rules

_STATUS = {
    "working": codes.ORDER_ACCEPTED,
    "filled": codes.ORDER_FILLED,
    "partial": codes.ORDER_CANCELLED,  # the rest was cancelled
    "cancelled": codes.ORDER_CANCELLED,
    "expired": codes.ORDER_EXPIRED,
    "rejected": codes.ORDER_REJECTED,
}
_KIND = {OrderType.MARKET: codes.MARKET, OrderType.LIMIT: codes.LIMIT, OrderType.STOP: codes.STOP}
_SWAP = {"percent": 1}


class VenueBook:
    """The messages about one account of a venue.

    Parameters
    ----------
    platform
        The venue with the account.
    account_id, login
        The account's number of the API, and its login.
    """

    def __init__(self, platform: SimulatedPlatform, account_id: int, login: int) -> None:
        self.platform, self.venue = platform, platform.venue
        self.account_id, self.login = account_id, login
        self.money_digits = -int(platform.account.money(1).as_tuple().exponent)
        self._assets = [platform.account.currency]
        self.client_ids: dict[int, tuple[str, str]] = {}  # clientOrderId and comment, where they were not the same
        self.whose: dict[str, ClientTag] = {}  # tags of exits on their way, which no message carries

    # --- symbols ---------------------------------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """Return the venue's symbols; their place gives their number."""
        return list(self.venue.prices.instruments)

    def symbol_id(self, symbol: str) -> int:
        """Return the number of a symbol."""
        return self.symbols().index(symbol) + 1

    def symbol_of(self, number: int) -> str:
        """Return the symbol of a number."""
        names = self.symbols()
        if not 1 <= number <= len(names):
            raise UnknownSymbol(must_be("symbolId", f"1 to {len(names)}", number, "read the symbols"))
        return names[number - 1]

    def facts(self, symbol: str) -> Instrument:
        """Return contract facts."""
        return self.venue.prices.instrument(symbol)

    def assets(self) -> list[str]:
        """Return the venue's currencies and other underlyings; their place gives their number, for good."""
        for symbol in self.symbols():
            facts = self.facts(symbol)
            for name in (facts.quote_currency, facts.base_currency or symbol):
                if name not in self._assets:
                    self._assets.append(name)
        return self._assets

    def asset_id(self, name: str) -> int:
        """Return the number of an asset."""
        return self.assets().index(name) + 1

    def light_symbol(self, symbol: str) -> pb.ProtoOALightSymbol:
        """Return the short form of a symbol."""
        facts = self.facts(symbol)
        return pb.ProtoOALightSymbol(
            symbolId=self.symbol_id(symbol),
            symbolName=symbol,
            enabled=True,
            baseAssetId=self.asset_id(facts.base_currency or symbol),
            quoteAssetId=self.asset_id(facts.quote_currency),
            symbolCategoryId=1,
            description=symbol,
        )

    def symbol(self, symbol: str) -> pb.ProtoOASymbol:
        """Return the long form of a symbol."""
        facts = self.facts(symbol)
        lot = self._lot(symbol)
        pip_digits = facts.digits - len(str(facts.points_per_pip)) + 1
        per_pip = facts.points_per_pip if facts.swap_mode == "points" else 1
        return pb.ProtoOASymbol(
            symbolId=self.symbol_id(symbol),
            digits=facts.digits,
            pipPosition=pip_digits,
            enableShortSelling=True,
            swapRollover3Days=facts.swap_triple_weekday + 1,
            swapLong=float(facts.swap_long / per_pip),
            swapShort=float(facts.swap_short / per_pip),
            swapCalculationType=_SWAP.get(facts.swap_mode, 0),
            minVolume=int(facts.volume_min * lot),
            maxVolume=int(facts.volume_max * lot),
            stepVolume=int(facts.volume_step * lot),
            lotSize=lot,
            tradingMode=codes.TRADING_ENABLED,
            scheduleTimeZone="UTC",
        )

    def _lot(self, symbol: str) -> int:
        return int(self.facts(symbol).contract_size * 100)

    def volume(self, symbol: str, steps: int) -> int:
        """Return a volume of the venue in the API's units."""
        return int(self.facts(symbol).lots(steps) * self._lot(symbol))

    def lots(self, symbol: str, volume: int) -> Decimal:
        """Return a volume of the API as lots."""
        return Decimal(volume) / self._lot(symbol)

    def _price(self, symbol: str, points: int) -> float:
        return float(self.facts(symbol).price(points))

    def level(self, symbol: str, value: float) -> Decimal | None:
        """Return a price of a request, None where it has none."""
        if not value:
            return None
        facts = self.facts(symbol)
        return facts.price(facts.to_points(Decimal(repr(value))))

    # --- account ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _ms(ns: int) -> int:
        return ns // 1_000_000

    def trader(self) -> pb.ProtoOATrader:
        """Return the account."""
        account = self.platform.account
        return pb.ProtoOATrader(
            ctidTraderAccountId=self.account_id,
            balance=self.venue.state.balance,
            depositAssetId=self.asset_id(account.currency),
            leverageInCents=(account.leverage or 0) * 100,
            traderLogin=self.login,
            accountType=codes.HEDGED if account.mode == "hedging" else codes.NETTED,
            accessRights=codes.FULL_ACCESS,
            brokerName="sandbox",
            registrationTimestamp=self._ms(self._began_ns()),
            moneyDigits=self.money_digits,
        )

    def _began_ns(self) -> int:
        """Return a moment before which the account has no history."""
        venue = self.venue
        moments = [venue.now_ns, *(r.first_ns for r in venue.prices.replays.values())]
        ended = venue.journal.ended_orders(0, 1 << 62)
        moments += [o.placed_ns for o in (*ended[:1], *venue.state.orders.values())]
        return min(moments)

    def _data(self, symbol: str, sign: int, steps: int, ns: int, label: str, comment: str) -> pb.ProtoOATradeData:
        return pb.ProtoOATradeData(
            symbolId=self.symbol_id(symbol),
            volume=self.volume(symbol, steps),
            tradeSide=codes.BUY if sign > 0 else codes.SELL,
            openTimestamp=self._ms(ns),
            label=label,
            comment=comment,
        )

    def position(self, p: Position) -> pb.ProtoOAPosition:
        """Return an open position."""
        made = pb.ProtoOAPosition(
            positionId=p.position_id,
            tradeData=self._data(p.symbol, p.sign, p.steps, p.opened_ns, p.label, self._comment(p.position_id, p.tag)),
            positionStatus=codes.POSITION_OPEN,
            swap=p.swap,
            price=self._price(p.symbol, p.open_points),
            utcLastUpdateTimestamp=self._ms(self.venue.now_ns),
            commission=0,
            usedMargin=self.venue.prices.margin(p.symbol, p.steps, p.open_points, self.venue.state.clock_ns),
            moneyDigits=self.money_digits,
        )
        if p.stop_points:
            made.stopLoss = self._price(p.symbol, p.stop_points)
        if p.target_points:
            made.takeProfit = self._price(p.symbol, p.target_points)
        return made

    def _comment(self, order_id: int, tag: str) -> str:
        """Return the comment as it was given, or as far as the venue kept it."""
        known = self.client_ids.get(order_id)
        return tag if known is None else known[1][: len(tag)] if known[1] == known[0] else known[1]

    def gone(self, deal: Deal) -> pb.ProtoOAPosition:
        """Return the position that a deal ended, as events name it."""
        return pb.ProtoOAPosition(
            positionId=deal.position_id,
            tradeData=self._data(deal.symbol, -deal.sign, 0, deal.at_ns, deal.label, ""),
            positionStatus=codes.POSITION_CLOSED,
            swap=deal.swap,
            moneyDigits=self.money_digits,
        )

    def order(self, o: Order) -> pb.ProtoOAOrder:
        """Return an order, working or done."""
        made = self.venue.journal.deals_of_order(o.order_id) if o.state != "working" else []
        reason = made[-1].reason if made else ""
        by_level = o.action == "exit" and reason in ("stop_loss", "take_profit")
        client_id = self.client_ids.get(o.order_id, (o.sent_tag, ""))[0]
        comment = self._comment(o.order_id, o.tag) if o.action == "open" else ""  # a close is asked for without one
        found = pb.ProtoOAOrder(
            orderId=o.order_id,
            tradeData=self._data(o.symbol, o.sign, o.steps, o.placed_ns, o.label, comment),
            orderType=codes.STOP_LOSS_TAKE_PROFIT if by_level else _KIND[o.order_type],
            orderStatus=_STATUS[o.state],
            executedVolume=self.volume(o.symbol, o.filled_steps),
            utcLastUpdateTimestamp=self._ms(o.done_ns or o.placed_ns),
            closingOrder=o.action != "open",
            positionId=o.position_id,
            timeInForce=codes.IMMEDIATE_OR_CANCEL if o.order_type is OrderType.MARKET else codes.GOOD_TILL_CANCEL,
            isStopOut=reason == "stop_out",
        )
        if client_id and o.action == "open":
            found.clientOrderId = client_id
        if o.expires_ns:
            found.timeInForce, found.expirationTimestamp = codes.GOOD_TILL_DATE, self._ms(o.expires_ns)
        if made:
            found.executionPrice = self._price(o.symbol, made[-1].price_points)
        if o.order_type is OrderType.LIMIT:
            found.limitPrice = self._price(o.symbol, o.price_points)
        elif o.order_type is OrderType.STOP:
            found.stopPrice = self._price(o.symbol, o.price_points)
        if by_level and reason == "stop_loss":
            found.stopPrice = self._price(o.symbol, made[-1].stop_points or made[-1].price_points)
        elif by_level:
            found.limitPrice = self._price(o.symbol, made[-1].target_points or made[-1].price_points)
        if o.stop_points:
            found.stopLoss = self._price(o.symbol, o.stop_points)
        if o.target_points:
            found.takeProfit = self._price(o.symbol, o.target_points)
        return found

    def find_order(self, order_id: int) -> Order | None:
        """Return an order of the venue by its number."""
        return self.venue.state.orders.get(order_id) or self.venue.journal.ended_order(order_id)

    def deal(self, d: Deal) -> pb.ProtoOADeal:
        """Return an execution."""
        asked = self.find_order(d.order_id)
        whole = asked is None or d.steps >= asked.steps
        made = pb.ProtoOADeal(
            dealId=d.deal_id,
            orderId=d.order_id,
            positionId=d.position_id,
            volume=self.volume(d.symbol, d.steps if asked is None else asked.steps),
            filledVolume=self.volume(d.symbol, d.steps),
            symbolId=self.symbol_id(d.symbol),
            createTimestamp=self._ms(d.at_ns),
            executionTimestamp=self._ms(d.at_ns),
            utcLastUpdateTimestamp=self._ms(d.at_ns),
            executionPrice=self._price(d.symbol, d.price_points),
            tradeSide=codes.BUY if d.sign > 0 else codes.SELL,
            dealStatus=codes.DEAL_FILLED if whole else codes.DEAL_PARTIALLY_FILLED,
            commission=d.commission,
            moneyDigits=self.money_digits,
        )
        if d.entry != "in":
            closed, entry = self._closed(d)
            made.closePositionDetail.CopyFrom(
                pb.ProtoOAClosePositionDetail(
                    entryPrice=entry,
                    grossProfit=d.profit,
                    swap=d.swap,
                    commission=d.commission,
                    balance=self.venue.state.balance,
                    closedVolume=self.volume(d.symbol, closed),
                    moneyDigits=self.money_digits,
                )
            )
        return made

    def _closed(self, deal: Deal) -> tuple[int, float]:
        """Return how many steps a deal closed and at what average they had been opened."""
        held, cost = 0, 0
        for d in self.venue.journal.deals_of(deal.position_id):
            if d.deal_id == deal.deal_id:
                break
            if held == 0 or (held > 0) == (d.sign > 0):
                held, cost = held + d.sign * d.steps, cost + d.price_points * d.steps
            else:
                left = abs(held) - d.steps
                cost = cost * left // abs(held) if left > 0 else d.price_points * -left
                held += d.sign * d.steps
        if held == 0:
            return deal.steps, self._price(deal.symbol, deal.price_points)
        return min(deal.steps, abs(held)), self._price(deal.symbol, cost // abs(held))

    # --- prices ----------------------------------------------------------------------------------------------------

    def spot(self, symbol: str) -> pb.ProtoOASpotEvent | None:
        """Return the quote of the moment, None before the first."""
        quote = self.venue.prices.quote(symbol, self.venue.state.clock_ns)
        if quote is None:
            return None
        facts = self.facts(symbol)
        return pb.ProtoOASpotEvent(
            ctidTraderAccountId=self.account_id,
            symbolId=self.symbol_id(symbol),
            bid=convert.relative(facts.price(quote[0])),
            ask=convert.relative(facts.price(quote[1])),
            timestamp=self._ms(max(quote[2], self.venue.state.clock_ns)),  # it stands as of now
        )

    def trendbars(self, symbol: str, period: int, begin: int, end: int, count: int) -> list[pb.ProtoOATrendbar]:
        """Return the bars that opened within the span, the forming one with what is known of it."""
        replay = self.venue.prices.replays.get(symbol)
        if replay is None or codes.PERIODS[Timeframe(replay.bars.timeframe).value] != period:
            return []
        bars, facts = replay.bars, self.facts(symbol)
        opened = replay.opened(self.venue.state.clock_ns)
        found = []
        for i in range(opened):
            at = int(bars.ts[i]) // 1_000_000
            if not begin <= at <= end:
                continue
            forming = i == opened - 1
            o, c = int(bars.bid_open[i]), int(bars.bid_open[i] if forming else bars.bid_close[i])
            low, high = (o, o) if forming else (int(bars.bid_low[i]), int(bars.bid_high[i]))
            base = convert.relative(facts.price(low))
            found.append(
                pb.ProtoOATrendbar(
                    volume=1,
                    period=period,
                    low=base,
                    deltaOpen=convert.relative(facts.price(o)) - base,
                    deltaHigh=convert.relative(facts.price(high)) - base,
                    deltaClose=convert.relative(facts.price(c)) - base,
                    utcTimestampInMinutes=at // 60_000,
                )
            )
        return found[-count:] if count else found

    def unrealized(self) -> list[pb.ProtoOAPositionUnrealizedPnL]:
        """Return the open profits."""
        ledger, ns = self.venue.ledger, self.venue.state.clock_ns
        return [
            pb.ProtoOAPositionUnrealizedPnL(
                positionId=p.position_id,
                grossUnrealizedPnL=ledger.open_profit(p, ns),
                netUnrealizedPnL=ledger.open_profit(p, ns) + p.swap,
            )
            for p in self.venue.state.positions.values()
        ]

    def margin(self, symbol: str, volume: int) -> pb.ProtoOAExpectedMargin:
        """Return what a trade of this volume would block at the price of the moment."""
        ns = self.venue.state.clock_ns
        quote = self.venue.prices.quote(symbol, ns)
        steps = self.facts(symbol).steps_floor(self.lots(symbol, volume))
        need = 0 if quote is None else self.venue.prices.margin(symbol, steps, quote[0], ns)
        return pb.ProtoOAExpectedMargin(volume=volume, buyMargin=need, sellMargin=need)

    def entry_price(self, symbol: str, sign: int) -> Decimal | None:
        """Return where a market order would fill now, None without a quote."""
        quote = self.venue.prices.quote(symbol, self.venue.state.clock_ns)
        if quote is None:
            return None
        points = rules.slipped(
            sign, rules.entry_quote(sign, quote[0], quote[1]), self.venue.prices.costs(symbol).slippage_points
        )
        return self.facts(symbol).price(points)

    def conversion(self, frm: str, to: str) -> list[str]:
        """Return the symbols by which one currency is converted into another, one or two of them."""
        links: list[tuple[str, str, str]] = []
        for symbol in self.symbols():
            facts = self.facts(symbol)
            if facts.base_currency is not None:
                links += [
                    (facts.base_currency, facts.quote_currency, symbol),
                    (facts.quote_currency, facts.base_currency, symbol),
                ]
        for a, b, symbol in links:
            if (a, b) == (frm, to):
                return [symbol]
        for a, via, first in links:
            for b, c, second in links:
                if (a, b, c) == (frm, via, to):
                    return [first, second]
        return []
