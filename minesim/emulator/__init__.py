"""The twin behind the firmware's HTTP and TCP interfaces: an adapter for tests and rehearsals."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minesim.emulator.emulator import FIRMWARES, Emulator
    from minesim.emulator.faults import Fault, FaultKind
    from minesim.emulator.twin import FleetDraw
    from minesim.emulator.weather import Weather

__all__ = ["FIRMWARES", "Emulator", "Fault", "FaultKind", "FleetDraw", "Weather"]

_HOMES = {
    "FIRMWARES": "emulator",
    "Emulator": "emulator",
    "Fault": "faults",
    "FaultKind": "faults",
    "FleetDraw": "twin",
    "Weather": "weather",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line knows this package and shall start fast.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
