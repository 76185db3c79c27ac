"""The execution requests: what is asked of a ``TradeService``, with one canonical JSON form.

Canonical JSON: every field of the model in declared order, absent ones as ``null``, no white space, Decimals as plain JSON
numbers without exponent or trailing zeros, UUIDs as lower-case strings. The same request is the same bytes everywhere.
"""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Annotated, Self, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from toolkit.errors import RequestError, must_be
from toolkit.execution.ports import OrderType
from toolkit.market import Side

Symbol = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9._#&+\-/]+$")]
Text120 = Annotated[str, StringConstraints(max_length=120)]
Text300 = Annotated[str, StringConstraints(max_length=300)]
KeyHex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Price = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[Decimal, Field(allow_inf_nan=False)]

_CONFIG = ConfigDict(frozen=True, strict=True, extra="forbid")


class RequestMetadata(BaseModel):
    """Where a request comes from; for people and for correlation, never for the decision to trade."""

    model_config = _CONFIG

    live_run_id: UUID | None = None
    bot_version_id: UUID | None = None
    signal_id: Text120 | None = None
    reason: Text300 | None = None


class Projections(BaseModel):
    """Profit and loss projected when the request was built, in account currency; ``projected_loss`` is negative or 0."""

    model_config = _CONFIG

    projected_profit: Number
    projected_loss: Annotated[Decimal, Field(le=0, allow_inf_nan=False)]
    rr_ratio: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class TradeRequest(BaseModel):
    """Open a position: the contract's execution DTO.

    Attributes
    ----------
    limit_price
        Trigger of a LIMIT or a STOP; must be null on a MARKET order.
    stop_loss_distance_pips
        Whole pips between the entry price and the stop.
    take_profit_price
        Absolute; null only where the strategy declares no target.
    risk_percent
        Percent of equity at risk, 1.0 = 1 %; with a fixed size it states the implied risk.
    """

    model_config = _CONFIG

    account_id: UUID
    symbol: Symbol
    direction: Side
    order_type: OrderType
    limit_price: Price | None = None
    stop_loss_distance_pips: Annotated[int, Field(gt=0, le=10_000_000)]
    take_profit_price: Price | None = None
    risk_percent: Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)]
    metadata: RequestMetadata
    projections: Projections
    idempotency_key: KeyHex | None = None

    @model_validator(mode="after")
    def _trigger_fits_the_order_type(self) -> Self:
        if self.order_type is OrderType.MARKET and self.limit_price is not None:
            raise ValueError("limit_price must be null on a MARKET order: use LIMIT or STOP for a trigger price")
        if self.order_type is not OrderType.MARKET and self.limit_price is None:
            raise ValueError(f"limit_price must be given on a {self.order_type.value} order: it is the trigger")
        return self

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        m, p = self.metadata, self.projections
        return (
            f'{{"account_id":"{self.account_id}","symbol":"{self.symbol}","direction":"{self.direction.value}",'
            f'"order_type":"{self.order_type.value}","limit_price":{_number(self.limit_price)},'
            f'"stop_loss_distance_pips":{self.stop_loss_distance_pips},'
            f'"take_profit_price":{_number(self.take_profit_price)},"risk_percent":{_number(self.risk_percent)},'
            f'"metadata":{_metadata(m)},"projections":{{"projected_profit":{_number(p.projected_profit)},'
            f'"projected_loss":{_number(p.projected_loss)},"rr_ratio":{_number(p.rr_ratio)}}},'
            f'"idempotency_key":{_text(self.idempotency_key)}}}'
        )


class _PositionRequest(BaseModel):
    """The envelope of everything that acts on one position we hold: pinned to it, never to a symbol."""

    model_config = _CONFIG

    account_id: UUID
    symbol: Symbol
    direction: Side  # side of the position
    position_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]

    def _head(self) -> str:
        return (
            f'"account_id":"{self.account_id}","symbol":"{self.symbol}","direction":"{self.direction.value}",'
            f'"position_id":{_text(self.position_id)},'
        )


class CloseRequest(_PositionRequest):
    """Bring a position to nothing."""

    metadata: RequestMetadata
    idempotency_key: KeyHex | None = None

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return (
            f'{{{self._head()}"metadata":{_metadata(self.metadata)},"idempotency_key":{_text(self.idempotency_key)}}}'
        )


class ReduceRequest(_PositionRequest):
    """Bring a position down to ``remaining_lots``; asked again, it changes nothing."""

    remaining_lots: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
    metadata: RequestMetadata
    idempotency_key: KeyHex | None = None

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return (
            f'{{{self._head()}"remaining_lots":{_number(self.remaining_lots)},"metadata":{_metadata(self.metadata)},'
            f'"idempotency_key":{_text(self.idempotency_key)}}}'
        )


class ModifyRequest(_PositionRequest):
    """Set the stop and the target of a position to these absolute prices.

    A null level stays as it is; ``remove_take_profit`` takes the target away. A stop is never taken away.
    """

    stop_loss: Price | None = None
    take_profit: Price | None = None
    remove_take_profit: bool = False
    metadata: RequestMetadata
    idempotency_key: KeyHex | None = None

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if self.remove_take_profit and self.take_profit is not None:
            raise ValueError("take_profit must be null when remove_take_profit is true: ask for one of the two")
        if self.stop_loss is None and self.take_profit is None and not self.remove_take_profit:
            raise ValueError("a level must be given: set stop_loss, take_profit or remove_take_profit")
        return self

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return (
            f'{{{self._head()}"stop_loss":{_number(self.stop_loss)},"take_profit":{_number(self.take_profit)},'
            f'"remove_take_profit":{"true" if self.remove_take_profit else "false"},'
            f'"metadata":{_metadata(self.metadata)},"idempotency_key":{_text(self.idempotency_key)}}}'
        )


class CancelRequest(BaseModel):
    """Take back a working pending order of ours."""

    model_config = _CONFIG

    account_id: UUID
    symbol: Symbol
    direction: Side
    order_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    metadata: RequestMetadata
    idempotency_key: KeyHex | None = None

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return (
            f'{{"account_id":"{self.account_id}","symbol":"{self.symbol}","direction":"{self.direction.value}",'
            f'"order_id":{_text(self.order_id)},"metadata":{_metadata(self.metadata)},'
            f'"idempotency_key":{_text(self.idempotency_key)}}}'
        )


AnyRequest: TypeAlias = TradeRequest | CloseRequest | ReduceRequest | ModifyRequest | CancelRequest


def request_from_json(action: str, text: str) -> AnyRequest:
    """Read a request back from its canonical JSON.

    Parameters
    ----------
    action
        The intent's action, e.g. ``"OPEN_TRADE"``; decides the model.
    text
        Canonical JSON.

    Raises
    ------
    RequestError
        When the action is unknown or the text is not that request.
    """
    model = REQUEST_OF_ACTION.get(action)
    if model is None:
        raise RequestError(must_be("action", f"one of {', '.join(REQUEST_OF_ACTION)}", action, "use a known action"))
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=_int_or_decimal)
        return model.model_validate(_typed(data, model), strict=True)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"request of {action} cannot be read: {error}") from error


REQUEST_OF_ACTION: dict[str, type[AnyRequest]] = {
    "OPEN_TRADE": TradeRequest,
    "CLOSE_POSITION": CloseRequest,
    "REDUCE_POSITION": ReduceRequest,
    "MODIFY_SLTP": ModifyRequest,
    "CANCEL_ORDER": CancelRequest,
}
_INT_FIELDS = frozenset({"stop_loss_distance_pips"})
_UUID_FIELDS = frozenset({"account_id", "live_run_id", "bot_version_id"})


def _int_or_decimal(text: str) -> Decimal:
    return Decimal(text)


def _typed(data: dict[str, object], model: type[BaseModel]) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            out[name] = _typed(value, model)
        elif name in _UUID_FIELDS and isinstance(value, str):
            out[name] = UUID(value)
        elif name in _INT_FIELDS and isinstance(value, Decimal) and value == value.to_integral_value():
            out[name] = int(value)
        elif name == "direction" and isinstance(value, str):
            out[name] = Side(value)
        elif name == "order_type" and isinstance(value, str):
            out[name] = OrderType(value)
        else:
            out[name] = value
    return out


def _number(value: Decimal | None) -> str:
    if value is None:
        return "null"
    text = format(value, "f")
    if "." in text and text[-1] in "0.":
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


def _metadata(m: RequestMetadata) -> str:
    run = "null" if m.live_run_id is None else f'"{m.live_run_id}"'
    version = "null" if m.bot_version_id is None else f'"{m.bot_version_id}"'
    return f'{{"live_run_id":{run},"bot_version_id":{version},"signal_id":{_text(m.signal_id)},"reason":{_text(m.reason)}}}'
