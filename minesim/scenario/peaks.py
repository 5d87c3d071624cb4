"""The chance that an interval is charged as a coincident peak, as far as it can be known beforehand.

No series of grid load comes with the traces, so the forecast rests on what a site can know: the calendar, the hours at
which peaks fell in earlier years, and a weather forecast. The realised peak is never read.
"""

from __future__ import annotations

import bisect
import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.data import known, load_coincident_peaks
from minesim.economics.tariff import CoincidentPeakCharge
from minesim.errors import DataFileError, explain
from minesim.scenario.variables import BY_NAME

if TYPE_CHECKING:
    from minesim.scenario.core import Scenario

Floats = npt.NDArray[np.float64]

FORECAST_ERROR_K: Final = 1.5
"""Standard deviation of the day-ahead forecast of a day's highest temperature, K (assumed)."""
FORECAST_HOUR: Final = 12
"""Local hour at which tomorrow's temperature forecast is out (assumed)."""
DAY_FEATURES: Final = ("forecast_excess_k", "yesterday_excess_k", "is_weekend", "days_seen_30")
"""Forecast of the day's highest temperature, and yesterday's, above the hottest day so far that a peak day has to beat
(month for ERCOT, fifth hottest of the base year for Ontario), K; weekend; days of the season so far, in 30 days."""
EXCESS_K: Final = (-8.0, 4.0)
RECENT_DAYS: Final = 30
SEEN_DAYS_MAX: Final = 120
MODEL_PATH: Final = Path(__file__).parent / "peak_model.csv"
QUARTERS: Final = 96
AHEAD_ROWS: Final = 16
KERNEL: Final = ((0.9, 0.4), (0.1, 1.5))
"""(weight, standard deviation in h) of the smoothing of past peak times (assumed)."""
BROAD_TEMP_C: Final = 25.0
"""Stands for the first day of a series without a forecast, degC (assumed)."""
BROAD_HOUR: Final = 16.5
BROAD_SD_H: Final = 3.0
"""The broad afternoon that stands for peaks unlike all earlier ones (assumed)."""


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
    scenario: Scenario,
    rows_utc: npt.NDArray[np.datetime64],
    *,
    local_hour: Floats,
    local_day: Floats,
) -> PeakForecast:
    """Predict, at the start of each row, the chance that rows of the same local day are charged as peaks.

    chance(row) = chance(its day) x share of earlier years' peaks at that time of day. The day's chance is logistic in
    :data:`DAY_FEATURES`, which use temperatures up to the day before and the published forecast of the day. A day's
    prediction is made at its local midnight, so the look of four hours ahead ends there.

    Args:
        scenario: with a coincident-peak charge in its tariff, and ``temp_max_fc_c`` in its traces.
        rows_utc: starts of the 900-s rows (T,).
        local_hour, local_day: local calendar of the rows (T,), as settlement columns have it.

    Returns:
        The forecast; independent of the realised peaks of the predicted year and later.
    """
    part = scenario.tariff.coincident_peak
    if part is None:
        return PeakForecast.none(len(rows_utc))
    days, day_of_row = np.unique(local_day.astype(np.int64), return_inverse=True)
    date = days.astype("datetime64[D]")
    month = date.astype("datetime64[M]").astype(np.int64) % 12 + 1
    year = date.astype("datetime64[Y]").astype(np.int64) + 1970
    base_year = year - (month < part.base_year_first_month)
    in_season = np.isin(month, part.months)
    model = load_peak_model(part.program)
    highest, forecast = daily_temperatures(scenario, days)
    season = season_of(base_year, month, part)
    features = day_features(highest, forecast, season, (days + 3) % 7 >= 5, peaks_per_season(part))
    day_chance = np.where(in_season, logistic(model[0] + features @ model[1:]), 0.0)
    quarter = np.rint(local_hour * 4.0).astype(np.int64) % QUARTERS
    shares = np.stack([time_of_day_shares(part.program, int(y)) for y in np.unique(year)])
    chance = day_chance[day_of_row] * shares[np.searchsorted(np.unique(year), year)[day_of_row], quarter]
    rate = np.array([part.rate_of(int(y)) for y in base_year]) / part.count / (part.interval_min // 15)
    rate_of_day = np.where(in_season, rate * scenario.tariff.loss_factor, 0.0)
    return PeakForecast(chance, largest_ahead(chance, day_of_row), rate_of_day[day_of_row])


def largest_ahead(chance: Floats, day_of_row: npt.NDArray[np.int64]) -> Floats:
    """Largest of this and the next 15 rows that lie in the same local day; (T,)."""
    result = chance.copy()
    for step in range(1, AHEAD_ROWS):
        same = day_of_row[step:] == day_of_row[:-step]
        result[:-step] = np.maximum(result[:-step], np.where(same, chance[step:], 0.0))
    return result


def daily_temperatures(scenario: Scenario, days: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Highest temperature of local days as known when they are over, and its forecast as known when they begin.

    Args:
        scenario: with ``temp_amb_c`` and ``temp_max_fc_c``.
        days: consecutive local days since 1970 (D,).

    Returns:
        (D,) each, degC. A day without a known forecast has the highest temperature of the day before; a day without a
        known temperature has its forecast.
    """
    starts = known.as_seconds(scenario.traces["time"].to_numpy())
    day_of_row = known.local_clock(starts, scenario.site_timezone).astype("datetime64[D]").astype(np.int64) - days[0]
    midnights = known.utc_of_local_midnight(
        np.append(days, days[-1] + 1).astype("datetime64[D]"), scenario.site_timezone
    )
    in_time = starts < scenario.known_before("temp_amb_c", midnights)[day_of_row + 1]
    highest = np.full(len(days), -np.inf)
    np.maximum.at(highest, day_of_row[in_time], scenario.traces["temp_amb_c"].to_numpy()[in_time])
    first_row = np.searchsorted(day_of_row, np.arange(len(days)))
    has_forecast = starts[first_row] < scenario.known_before("temp_max_fc_c", midnights[:-1])
    forecast = np.where(has_forecast, scenario.traces["temp_max_fc_c"].to_numpy()[first_row], np.nan)
    for day in range(len(days)):
        if np.isnan(forecast[day]):
            forecast[day] = highest[day - 1] if day else BROAD_TEMP_C
        if not np.isfinite(highest[day]):
            highest[day] = forecast[day]
    return highest, forecast


def season_of(
    base_year: npt.NDArray[np.int64], month: npt.NDArray[np.int64], part: CoincidentPeakCharge
) -> npt.NDArray[np.int64]:
    """Number of the period in which a day competes for a peak: its month where each month has one, else base year."""
    return base_year * 12 + month if part.count == len(part.months) else base_year


def peaks_per_season(part: CoincidentPeakCharge) -> int:
    """Peaks of one such period."""
    return 1 if part.count == len(part.months) else part.count


def day_features(
    highest: Floats,
    forecast: Floats,
    season: npt.NDArray[np.int64],
    is_weekend: npt.NDArray[np.bool_],
    n_peaks: int,
) -> Floats:
    """What a day's chance depends on; see :data:`DAY_FEATURES`.

    Args:
        highest, forecast: realised and forecast highest temperature of consecutive local days (D,), degC.
        season: period in which each day competes (D,).
        is_weekend: (D,).
        n_peaks: peaks of a period; a day competes with the ``n_peaks``-th hottest day before it.

    Returns:
        (D, 4). Row ``d`` depends on ``highest`` of earlier days and ``forecast`` up to ``d`` only.
    """
    bar = np.empty(len(highest))
    seen = np.empty(len(highest))
    hottest: list[float] = []
    for day in range(len(highest)):
        if day and season[day] != season[day - 1]:
            hottest = []
        count = len(hottest)
        seen[day] = count
        recent = highest[max(day - RECENT_DAYS, 0) : day]
        if count:
            bar[day] = hottest[-min(n_peaks, count)]
        else:
            bar[day] = recent.max() if len(recent) else forecast[day]
        bisect.insort(hottest, float(highest[day]))
    before = np.concatenate([forecast[:1], highest[:-1]])
    return np.stack(
        [
            np.clip(forecast - bar, *EXCESS_K),
            np.clip(before - bar, *EXCESS_K),
            is_weekend.astype(np.float64),
            np.minimum(seen, SEEN_DAYS_MAX) / RECENT_DAYS,
        ],
        axis=-1,
    )


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), for moderate x."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -50.0, 50.0))))


@functools.cache
def load_peak_model(program: str) -> Floats:
    """Fitted coefficients (constant, then :data:`DAY_FEATURES`) of a peak program; other programs use ERCOT's.

    Raises:
        DataFileError: the file of constants is unreadable.
    """
    try:
        with MODEL_PATH.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        chosen = program if any(row["program"] == program for row in rows) else "4CP"
        values = {row["parameter"]: float(row["value"]) for row in rows if row["program"] == chosen}
        return np.array([values[name] for name in ("constant", *DAY_FEATURES)])
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(explain(f"cannot read {MODEL_PATH}: {error}", fix="Reinstall minesim.")) from error


@functools.lru_cache(maxsize=64)
def time_of_day_shares(program: str, year: int) -> Floats:
    """Share of a peak day's chance at each quarter hour of the local clock, from peaks of base years before ``year``.

    Each past interval counts with a normal kernel (mostly narrow, a little wide), and one broad afternoon counts as
    one more, so that no interval is impossible. An hourly peak is charged in all its four quarters.

    Args:
        program: ``4CP`` or ``ICI_5CP``; others use ERCOT's hours.
        year: the year that is predicted.

    Returns:
        (96,); sums to the number of quarters of a peak interval.
    """
    peaks = load_coincident_peaks().to_dataframe()
    chosen = program if (peaks["program"] == program).any() else "4CP"
    peaks = peaks[(peaks["program"] == chosen) & (peaks["base_year"] < year) & peaks["interval_end_local"].notna()]
    pieces = int(peaks["interval_min"].iloc[0]) // 15 if len(peaks) else 1
    end = peaks["interval_end_local"]
    past = (end.dt.hour + end.dt.minute / 60.0).to_numpy() - pieces / 8.0
    middle = (np.arange(QUARTERS // pieces) + 0.5) * pieces / 4.0
    total = _kernel(middle, np.array([BROAD_HOUR]), BROAD_SD_H)
    for share, sd in KERNEL:
        total += share * _kernel(middle, past, sd)
    return np.repeat(total / total.sum(), pieces)


def _kernel(at: npt.NDArray[Any], centres: npt.NDArray[Any], sd: float) -> Floats:
    density = np.exp(-0.5 * ((at[:, None] - centres[None, :]) / sd) ** 2)
    return np.asarray((density / np.maximum(density.sum(axis=0, keepdims=True), 1e-300)).sum(axis=1))
