"""An assumed grid load that follows generated weather; its peaks are the coincident peaks of a generated scenario."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from minesim.data import known
from minesim.scenario.generator.clock import Clock
from minesim.scenario.generator.noise import ar1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LoadModel:
    """Constants of the assumed load, as parts of its base; all assumed.

    Attributes:
        cooling_per_k: rise per kelvin of smoothed temperature above ``balance_c``.
        balance_c: temperature from which air conditioning starts, degC.
        thermal_h: how long buildings remember the weather, h.
        daily: height of the daily wave that peaks at ``peak_hour``.
        peak_hour: local clock hour of the daily maximum of use.
        weekend: fall on Saturday and Sunday.
        noise_sd, noise_tau_h: what weather does not explain.
        quarter_sd: what one quarter of an hour differs by itself.
    """

    cooling_per_k: float = 0.035
    balance_c: float = 18.0
    thermal_h: float = 4.0
    daily: float = 0.15
    peak_hour: float = 16.5
    weekend: float = 0.05
    noise_sd: float = 0.012
    noise_tau_h: float = 8.0
    quarter_sd: float = 0.004


LOAD = LoadModel()


def generate_load(rng: np.random.Generator, clock: Clock, temp_c: Floats, model: LoadModel = LOAD) -> Floats:
    """Draw a grid load in parts of its base, for each quarter of the hours (4 T,); weather is joined linearly."""
    kernel = np.exp(-np.arange(int(4 * model.thermal_h)) / model.thermal_h)
    padded = np.concatenate([np.full(len(kernel) - 1, temp_c[0]), temp_c])
    smoothed = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    cooling = model.cooling_per_k * np.maximum(0.5 * (temp_c + smoothed) - model.balance_c, 0.0)
    noise_rng, quarter_rng = rng.spawn(2)
    noise = model.noise_sd * ar1(noise_rng, len(temp_c), model.noise_tau_h)
    hours = np.arange(len(temp_c))
    quarters = np.arange(4 * len(temp_c)) / 4.0
    middle = np.repeat(clock.hour, 4) + quarters % 1.0 + 0.125
    daily = model.daily * np.cos(2.0 * np.pi * (middle - model.peak_hour) / 24.0)
    weekend = model.weekend * np.repeat(clock.is_weekend, 4)
    jitter = model.quarter_sd * quarter_rng.standard_normal(len(quarters))
    return np.asarray(1.0 + daily + np.interp(quarters, hours, cooling + noise) - weekend + jitter)


def monthly_peaks(
    time_utc: npt.NDArray[np.datetime64], load: Floats, site_timezone: str, *, months: tuple[int, ...], program: str
) -> pd.DataFrame:
    """Find the highest 15-min interval of each local month.

    Args:
        time_utc: hour starts (T,).
        load: of their quarters (4 T,).
        months: local months that have a peak.
        program: what tariffs call it.

    Returns:
        Columns ``program, base_year, interval_start_utc, interval_min``, one row a month.
    """
    start = time_utc.astype("datetime64[s]")
    quarter = start[0] + np.arange(4 * len(start)) * np.timedelta64(900, "s")
    month = known.local_clock(quarter, site_timezone).astype("datetime64[M]").astype(np.int64)
    rows = []
    for number in np.unique(month):
        if number % 12 + 1 in months:
            inside = np.flatnonzero(month == number)
            rows.append((program, 1970 + int(number) // 12, quarter[inside[np.argmax(load[inside])]], 15))
    return pd.DataFrame(rows, columns=["program", "base_year", "interval_start_utc", "interval_min"])
