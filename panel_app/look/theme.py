"""Colours and the Material theme: one place, light and dark, readable for the colour-blind.

Profit and loss are blue and orange (Okabe and Ito's pair), never green and red, and never colour alone: every profit carries
its sign. Candles are neutral, so that on a chart colour always means money.
"""

from __future__ import annotations

from typing import Any, Final

PROFIT: Final = "#2b7fd4"
LOSS: Final = "#d9730d"
NEUTRAL: Final = "#7d8898"
CANDLE: Final = "#7d8898"
ACCENT: Final = "#0e7c86"
WARNING: Final = "#b8860b"
LEVEL_STOP: Final = LOSS
LEVEL_TARGET: Final = PROFIT

#: Needs a human (error, unknown), is being watched (warning), runs, rests.
STATUS_COLOURS: Final[dict[str, str]] = {
    "RUNNING": PROFIT,
    "CREATED": NEUTRAL,
    "PAUSED": WARNING,
    "STOPPING": WARNING,
    "STOPPED": NEUTRAL,
    "ERROR": LOSS,
}

INTENT_COLOURS: Final[dict[str, str]] = {
    "FILLED": PROFIT,
    "PARTIAL": PROFIT,
    "WORKING": ACCENT,
    "PROTECTION_PENDING": WARNING,
    "NEW": NEUTRAL,
    "CLAIMED": ACCENT,
    "SENDING": ACCENT,
    "UNKNOWN": LOSS,
    "ABANDONED": LOSS,
    "RELEASED": NEUTRAL,
    "REJECTED": LOSS,
    "DENIED": WARNING,
    "EXPIRED": WARNING,
    "CANCELLED": NEUTRAL,
}

_TYPOGRAPHY: Final[dict[str, Any]] = {
    "fontSize": 13,
    "h4": {"fontWeight": 600, "fontSize": "1.5rem"},
    "h5": {"fontWeight": 600, "fontSize": "1.2rem"},
    "h6": {"fontWeight": 600, "fontSize": "0.95rem"},
}


def _bar(background: str, text: str) -> dict[str, Any]:
    edge = {"backgroundColor": background, "color": text, "boxShadow": "none", "backgroundImage": "none"}
    return {
        "MuiAppBar": {
            "styleOverrides": {
                "root": {
                    **edge,
                    "borderBottom": "1px solid rgba(125,136,152,.28)",
                    "& .MuiTypography-root": {"color": text},
                }
            }
        },
        "MuiToolbar": {"styleOverrides": {"root": {"minHeight": "52px !important"}}},
        "MuiButton": {"styleOverrides": {"root": {"textTransform": "none", "whiteSpace": "nowrap"}}},
        "MuiToggleButton": {
            "styleOverrides": {"root": {"textTransform": "none", "padding": "4px 12px", "whiteSpace": "nowrap"}}
        },
        "MuiTab": {"styleOverrides": {"root": {"textTransform": "none"}}},
    }


THEME: Final[dict[str, Any]] = {
    "light": {
        "palette": {
            "primary": {"main": ACCENT},
            "background": {"default": "#ffffff", "paper": "#ffffff"},
        },
        "shape": {"borderRadius": 8},
        "typography": _TYPOGRAPHY,
        "components": _bar("#ffffff", "#17222b"),
    },
    "dark": {
        "palette": {
            "primary": {"main": "#35b2bd"},
            "background": {"default": "#0f1418", "paper": "#171d23"},
        },
        "shape": {"borderRadius": 8},
        "typography": _TYPOGRAPHY,
        "components": _bar("#171d23", "#e7edf2"),
    },
}


def money_colour(amount: float) -> str:
    """Return the colour of an amount: profit, loss, or neutral for zero."""
    if amount > 0:
        return PROFIT
    return LOSS if amount < 0 else NEUTRAL
