"""The chance that an interval is charged as a coincident peak, as far as it can be known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from minesim.scenario.core import Scenario

Floats = npt.NDArray[np.float64]


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


def forecast_peaks(
    scenario: Scenario, rows_utc: npt.NDArray[np.datetime64], columns: dict[str, Floats]
) -> PeakForecast:
    return PeakForecast.none(len(rows_utc))
