"""An independent client against the sandbox: ``python ctrader_independent.py PORT ACCOUNT_ID TOKENS_FILE``.

Runs in an environment of its own (Python 3.12 or later, ``pip install ctrader-api-client``), without this project, over real
TLS: SSL_CERT_FILE must name the sandbox's certificate. Prints one JSON object; any difference is an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ctrader_api_client import CTraderClient  # type: ignore[import-not-found]
from ctrader_api_client.auth.credentials import AccountCredentials  # type: ignore[import-not-found]
from ctrader_api_client.config import ClientConfig  # type: ignore[import-not-found]
from ctrader_api_client.enums import OrderSide, OrderType, TrendbarPeriod  # type: ignore[import-not-found]
from ctrader_api_client.events import ExecutionEvent, SpotEvent  # type: ignore[import-not-found]
from ctrader_api_client.models.requests import (  # type: ignore[import-not-found]
    AmendOrderRequest,
    AmendPositionRequest,
    ClosePositionRequest,
    NewOrderRequest,
)


async def until(found: list[Any], good: Any) -> Any:
    """Return the first event that fits, within ten seconds."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        for event in found:
            if good(event):
                return event
        await asyncio.sleep(0.02)
    raise AssertionError(f"no such event among {found}")


async def drive(port: int, account: int, secret: dict[str, str]) -> dict[str, Any]:
    """Log in, trade, change, close in parts, cancel, read everything back."""
    config = ClientConfig(
        host="127.0.0.1", port=port, client_id=secret["client_id"], client_secret=secret["client_secret"]
    )
    client = CTraderClient(config)
    fills: list[Any] = []
    spots: list[Any] = []

    @client.on(ExecutionEvent, account_id=account)
    async def on_execution(event: Any) -> None:
        fills.append(event)

    @client.on(SpotEvent, account_id=account)
    async def on_spot(event: Any) -> None:
        spots.append(event)

    async with client:
        await client.auth.authenticate_trader(
            AccountCredentials(account, secret["access_token"], secret["refresh_token"], time.time() + 86_400)
        )
        trader = await client.accounts.get_trader(account)
        symbols = {s.name: s for s in await client.symbols.list_all(account)}
        symbol = await client.symbols.get_by_id(account, symbols["EURUSD"].symbol_id)
        assert (symbol.digits, symbol.lot_size) == (5, 10_000_000), symbol
        await client.market_data.subscribe_spots(account, [symbol.symbol_id])
        spot = await until(spots, lambda s: s.bid is not None and s.ask is not None)

        lot = symbol.lot_size // 10
        await client.trading.place_order(
            account,
            NewOrderRequest(
                symbol_id=symbol.symbol_id, side=OrderSide.BUY, volume=lot, client_order_id="theirs-1", label="robot",
                comment="hello", relative_stop_loss=Decimal("0.00500"),
            ),
        )  # fmt: skip
        filled = await until(fills, lambda e: e.deal is not None and e.order.client_order_id == "theirs-1")
        position_id = filled.position.position_id
        (position,) = await client.trading.get_open_positions(account)
        assert (position.volume, position.label, position.comment) == (lot, "robot", "hello"), position
        assert position.entry_price == filled.deal.execution_price, position
        assert position.stop_loss == position.entry_price - Decimal("0.00500"), position

        amend = AmendPositionRequest(
            position_id=position_id, stop_loss=position.stop_loss - Decimal("0.00100"),
            take_profit=position.entry_price + Decimal("0.02000"),
        )  # fmt: skip
        await client.trading.amend_position(account, amend)
        (position,) = await client.trading.get_open_positions(account)
        assert (position.stop_loss, position.take_profit) == (amend.stop_loss, amend.take_profit), position

        fills.clear()
        part = ClosePositionRequest(position_id=position_id, volume=lot * 3 // 10)
        await client.trading.close_position(account, part)
        await until(fills, lambda e: e.deal is not None)
        (position,) = await client.trading.get_open_positions(account)
        assert position.volume == lot - part.volume, position

        pending = await client.trading.place_order(
            account,
            NewOrderRequest(
                symbol_id=symbol.symbol_id, side=OrderSide.BUY, volume=lot, order_type=OrderType.LIMIT,
                limit_price=spot.bid - Decimal("0.01000"), client_order_id="theirs-2",
            ),
        )  # fmt: skip
        moved = AmendOrderRequest(
            order_id=pending.order.order_id, limit_price=spot.bid - Decimal("0.02000"),
            stop_loss=spot.bid - Decimal("0.03000"),
        )  # fmt: skip
        replaced = await client.trading.amend_order(account, moved)
        assert (replaced.order.limit_price, replaced.order.stop_loss) == (moved.limit_price, moved.stop_loss), replaced
        await client.trading.cancel_order(account, pending.order.order_id)

        fills.clear()
        await client.trading.close_position(
            account, ClosePositionRequest(position_id=position_id, volume=position.volume)
        )
        await until(fills, lambda e: e.deal is not None)
        assert await client.trading.get_open_positions(account) == []
        now = datetime.now(UTC)
        deals = await client.trading.get_deals(account, now - timedelta(days=1), now + timedelta(minutes=5))
        of_position = await client.trading.get_deals_by_position_id(account, position_id)
        orders = await client.trading.get_orders(
            account, from_timestamp=now - timedelta(days=1), to_timestamp=now + timedelta(minutes=5)
        )
        assert [d.filled_volume for d in of_position] == [lot, part.volume, lot - part.volume], of_position
        assert [d.close_detail is not None for d in of_position] == [False, True, True], of_position
        bars = await client.market_data.get_trendbars(
            account, symbol.symbol_id, TrendbarPeriod.M1, now - timedelta(hours=2), now
        )
        after = await client.accounts.get_trader(account)
        gained = sum((d.close_detail.gross_profit for d in of_position[1:]), Decimal(0))
        return {
            "login": trader.trader_login,
            "deals": len(deals),
            "orders": len(orders),
            "bars": len(bars),
            "gross": str(gained),
            "balance_moved": str(after.balance - trader.balance),
        }


if __name__ == "__main__":
    kept = json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    print(json.dumps(asyncio.run(asyncio.wait_for(drive(int(sys.argv[1]), int(sys.argv[2]), kept), 60.0))))
