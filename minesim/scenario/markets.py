"""The four real markets: which files, which clock, which peaks belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.units import PRESSURE_SEA_LEVEL_PA


@dataclass(frozen=True)
class Market:
    """A market with its city of weather.

    Attributes:
        name: scenario name.
        power, weather, carbon: keys of the packaged traces.
        site_timezone: IANA name.
        altitude_m: of the weather city, m above sea level (Open-Meteo elevation of the place, rounded; assumed).
        peak_market: ``market`` column of the published coincident peaks, empty when there are none.
        peak_program: their ``program``.
    """

    name: str
    power: str
    weather: str
    carbon: str
    site_timezone: str
    altitude_m: float
    peak_market: str
    peak_program: str


MARKETS: Final[dict[str, Market]] = {
    market.name: market
    for market in (
        Market("ercot", "ercot", "dallas_tx", "us_tex_erco", "America/Chicago", 140.0, "ERCOT", "4CP"),
        Market("pjm", "pjm", "philadelphia_pa", "us_mida_pjm", "America/New_York", 12.0, "", ""),
        Market("caiso", "caiso", "san_jose_ca", "us_cal_ciso", "America/Los_Angeles", 25.0, "", ""),
        Market("ontario", "ontario", "toronto_on", "ca_on", "America/Toronto", 100.0, "IESO", "ICI_5CP"),
    )
}


def standard_pressure_pa(altitude_m: float) -> float:
    """Air pressure of the standard atmosphere at an altitude, Pa (ICAO, troposphere, -500 to 11000 m).

    >>> round(standard_pressure_pa(1726.0))
    82237
    """
    return float(PRESSURE_SEA_LEVEL_PA * (1.0 - 2.25577e-5 * altitude_m) ** 5.2559)


_HALVINGS: Final = (
    ("2009-01-03T18:15", 0),
    ("2012-11-28T15:24", 210_000),
    ("2016-07-09T16:46", 420_000),
    ("2020-05-11T19:23", 630_000),
    ("2024-04-20T00:09", 840_000),
    ("2028-04-18T18:09", 1_050_000),
    ("2048-04-03T18:09", 2_102_400),
)
"""When Bitcoin reached these heights; from 2028 on at 600 s a block (a forecast)."""


def btc_height(time_utc: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Estimate Bitcoin's block height at a time, exact at the halvings and linear between them."""
    times = np.array([stamp for stamp, _ in _HALVINGS], "datetime64[s]").astype(np.float64)
    heights = np.array([height for _, height in _HALVINGS], np.float64)
    return np.floor(np.interp(time_utc.astype("datetime64[s]").astype(np.float64), times, heights)).astype(np.int64)
