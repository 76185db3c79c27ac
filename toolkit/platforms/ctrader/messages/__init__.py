"""The messages of the cTrader Open API that Seatrial speaks, and their numbers on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.errors import MissingPackage

try:
    from toolkit.platforms.ctrader.messages import open_api_pb2 as pb
except ImportError as e:  # the extra is optional, and this is the one place that needs it
    raise MissingPackage('package protobuf must be installed, was not: pip install "seatrial[ctrader]"') from e

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Message classes by ``payloadType``.
BY_NUMBER: dict[int, type[Message]] = {
    50: pb.ProtoErrorRes,
    51: pb.ProtoHeartbeatEvent,
    2100: pb.ProtoOAApplicationAuthReq,
    2101: pb.ProtoOAApplicationAuthRes,
    2102: pb.ProtoOAAccountAuthReq,
    2103: pb.ProtoOAAccountAuthRes,
    2104: pb.ProtoOAVersionReq,
    2105: pb.ProtoOAVersionRes,
    2106: pb.ProtoOANewOrderReq,
    2108: pb.ProtoOACancelOrderReq,
    2109: pb.ProtoOAAmendOrderReq,
    2110: pb.ProtoOAAmendPositionSLTPReq,
    2111: pb.ProtoOAClosePositionReq,
    2112: pb.ProtoOAAssetListReq,
    2113: pb.ProtoOAAssetListRes,
    2114: pb.ProtoOASymbolsListReq,
    2115: pb.ProtoOASymbolsListRes,
    2116: pb.ProtoOASymbolByIdReq,
    2117: pb.ProtoOASymbolByIdRes,
    2118: pb.ProtoOASymbolsForConversionReq,
    2119: pb.ProtoOASymbolsForConversionRes,
    2121: pb.ProtoOATraderReq,
    2122: pb.ProtoOATraderRes,
    2124: pb.ProtoOAReconcileReq,
    2125: pb.ProtoOAReconcileRes,
    2126: pb.ProtoOAExecutionEvent,
    2127: pb.ProtoOASubscribeSpotsReq,
    2128: pb.ProtoOASubscribeSpotsRes,
    2131: pb.ProtoOASpotEvent,
    2132: pb.ProtoOAOrderErrorEvent,
    2133: pb.ProtoOADealListReq,
    2134: pb.ProtoOADealListRes,
    2137: pb.ProtoOAGetTrendbarsReq,
    2138: pb.ProtoOAGetTrendbarsRes,
    2139: pb.ProtoOAExpectedMarginReq,
    2140: pb.ProtoOAExpectedMarginRes,
    2142: pb.ProtoOAErrorRes,
    2147: pb.ProtoOAAccountsTokenInvalidatedEvent,
    2148: pb.ProtoOAClientDisconnectEvent,
    2149: pb.ProtoOAGetAccountListByAccessTokenReq,
    2150: pb.ProtoOAGetAccountListByAccessTokenRes,
    2164: pb.ProtoOAAccountDisconnectEvent,
    2173: pb.ProtoOARefreshTokenReq,
    2174: pb.ProtoOARefreshTokenRes,
    2175: pb.ProtoOAOrderListReq,
    2176: pb.ProtoOAOrderListRes,
    2179: pb.ProtoOADealListByPositionIdReq,
    2180: pb.ProtoOADealListByPositionIdRes,
    2181: pb.ProtoOAOrderDetailsReq,
    2182: pb.ProtoOAOrderDetailsRes,
    2187: pb.ProtoOAGetPositionUnrealizedPnLReq,
    2188: pb.ProtoOAGetPositionUnrealizedPnLRes,
}
_NUMBERS = {kind: number for number, kind in BY_NUMBER.items()}

#: Requests that the server counts as historical, with a limit of their own.
HISTORICAL = (
    pb.ProtoOADealListReq,
    pb.ProtoOAOrderListReq,
    pb.ProtoOAGetTrendbarsReq,
    pb.ProtoOADealListByPositionIdReq,
)

__all__ = ["BY_NUMBER", "HISTORICAL", "number_of", "pb"]


def number_of(message: Message) -> int:
    """Return the ``payloadType`` of a message."""
    return _NUMBERS[type(message)]
