"""The twin behind the firmware's HTTP and TCP interfaces: an adapter for tests and rehearsals."""

from __future__ import annotations

from minesim.emulator.emulator import FIRMWARES, Emulator
from minesim.emulator.faults import Fault, FaultKind
from minesim.emulator.twin import FleetDraw
from minesim.emulator.weather import Weather

__all__ = ["FIRMWARES", "Emulator", "Fault", "FaultKind", "FleetDraw", "Weather"]
