"""Physical constants and unit conversions, each in one place."""

from __future__ import annotations

from typing import Final

SECONDS_PER_HOUR: Final = 3600.0
SECONDS_PER_DAY: Final = 86400.0
HASHES_PER_DIFFICULTY: Final = 2.0**32
"""Expected hashes per block at difficulty 1 (2^48 / 65535 to 1.5e-5; the field uses 2^32)."""
M3_PER_S_PER_CFM: Final = 0.3048**3 / 60.0
"""One cubic foot per minute in m3/s."""
KELVIN_OFFSET_C: Final = 273.15
BOLTZMANN_EV_PER_K: Final = 8.617333262e-5
"""CODATA 2018."""
R_DRY_AIR_J_PER_KG_K: Final = 287.055
CP_AIR_J_PER_KG_K: Final = 1006.0
"""Dry air near 300 K (ASHRAE Fundamentals, ch. 1)."""
PRESSURE_SEA_LEVEL_PA: Final = 101325.0
