"""Fit the constants of the peak forecast to 2020-2022 and write ``peak_model.csv``; report how it does in 2023.

    python -m minesim.scenario.fit_peaks

Weather and peak dates are in the wheel, so this runs everywhere. A ridge-penalised logistic regression of "a peak of
the season falls on this local day", over many draws of the forecast error, so that the coefficients are those of a
forecast and not of the truth.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import typer

from minesim.data import known, load_weather
from minesim.economics.tariff import CoincidentPeakCharge, tariff
from minesim.scenario.markets import MARKETS, Market
from minesim.scenario.peaks import (
    DAY_FEATURES,
    FORECAST_ERROR_K,
    MODEL_PATH,
    Floats,
    day_features,
    load_peak_model,
    logistic,
    peaks_per_season,
    season_of,
    time_of_day_shares,
)
from minesim.scenario.replay import published_peaks

RIDGE: Final = 0.3
FIT_DRAWS: Final = 20
FIRST_TEST_DRAW: Final = 100
FIT_YEARS: Final = (2020, 2021, 2022)
TEST_YEAR: Final = 2023
CASES: Final = (("ercot", "ercot_4cp"), ("ontario", "ontario_5cp"))


@dataclass(frozen=True)
class Days:
    """Local days of a market with their peaks, over (D,) days.

    Attributes:
        date: datetime64[D].
        highest: realised highest temperature, degC.
        season: see :func:`minesim.scenario.peaks.season_of`.
        in_season: whether the program can have a peak on the day.
        is_weekend: Saturday or Sunday.
        peak_quarter: quarter hour of the day that was charged first, -1 on other days.
    """

    date: npt.NDArray[np.datetime64]
    highest: Floats
    season: npt.NDArray[np.int64]
    in_season: npt.NDArray[np.bool_]
    is_weekend: npt.NDArray[np.bool_]
    peak_quarter: npt.NDArray[np.int64]

    @property
    def year(self) -> npt.NDArray[np.int64]:
        """Calendar year of each day."""
        return self.date.astype("datetime64[Y]").astype(np.int64) + 1970

    def features(self, part: CoincidentPeakCharge, draw: int, error_k: float = FORECAST_ERROR_K) -> Floats:
        """Features with forecast errors of a draw."""
        errors = np.random.default_rng([draw, 2]).standard_normal(len(self.date))
        forecast = self.highest + error_k * errors
        return day_features(self.highest, forecast, self.season, self.is_weekend, peaks_per_season(part))


def days_of(market: Market, part: CoincidentPeakCharge) -> Days:
    """Collect the local days of the packaged weather, and the published peaks on them."""
    weather = load_weather(market.weather)
    local = known.local_clock(known.as_seconds(weather["time"].to_numpy()), market.site_timezone).astype(
        "datetime64[D]"
    )
    date, which = np.unique(local, return_inverse=True)
    highest = np.full(len(date), -np.inf)
    np.maximum.at(highest, which, weather["temp_amb_c"].to_numpy())
    month = date.astype("datetime64[M]").astype(np.int64) % 12 + 1
    year = date.astype("datetime64[Y]").astype(np.int64) + 1970
    peaks = known.local_clock(
        known.as_seconds(published_peaks(market.peak_market)["interval_start_utc"].to_numpy()), market.site_timezone
    )
    quarter = np.full(len(date), -1)
    inside = (peaks >= date[0]) & (peaks < date[-1] + 1)
    of_day = peaks[inside] - peaks[inside].astype("datetime64[D]")
    quarter[np.searchsorted(date, peaks[inside].astype("datetime64[D]"))] = of_day.astype(np.int64) // 900
    return Days(
        date=date,
        highest=highest,
        season=season_of(year - (month < part.base_year_first_month), month, part),
        in_season=np.isin(month, part.months),
        is_weekend=(date.astype(np.int64) + 3) % 7 >= 5,
        peak_quarter=quarter,
    )


def fit(days: Days, part: CoincidentPeakCharge) -> Floats:
    """Coefficients by Newton's method; constant first, which the ridge leaves free."""
    rows = days.in_season & np.isin(days.year, FIT_YEARS)
    features = np.concatenate([days.features(part, draw)[rows] for draw in range(FIT_DRAWS)])
    target = np.tile((days.peak_quarter[rows] >= 0).astype(np.float64), FIT_DRAWS)
    design = np.column_stack([np.ones(len(features)), features])
    ridge = np.full(design.shape[1], RIDGE * FIT_DRAWS)
    ridge[0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        chance = logistic(design @ beta)
        hessian = (design * (chance * (1.0 - chance))[:, None]).T @ design + np.diag(ridge + 1e-9)
        beta = beta + np.linalg.solve(hessian, design.T @ (target - chance) - ridge * beta)
    return beta


@dataclass(frozen=True)
class Skill:
    """How a forecast does in the test year, means over draws of the forecast error.

    Attributes:
        days_called: days that have to be called so that all peaks are among them, taking the likeliest first.
        days_in_season: days to choose from.
        rank_in_season: median rank of each peak day within its season (1 = the likeliest day), in order of time.
        interval_rank: median rank of each peak's quarter hour among those of its day.
        expected_peaks: sum of the days' chances.
        log_loss, log_loss_base: per day, and of the constant base rate.
    """

    days_called: float
    days_in_season: int
    rank_in_season: list[float]
    interval_rank: list[int]
    expected_peaks: float
    log_loss: float
    log_loss_base: float


def skill(
    days: Days, part: CoincidentPeakCharge, beta: Floats, *, draws: int = 20, error_k: float = FORECAST_ERROR_K
) -> Skill:
    """Score coefficients on the test year with draws that the fit has not seen."""
    rows = days.in_season & (days.year == TEST_YEAR)
    is_peak = days.peak_quarter[rows] >= 0
    season = days.season[rows]
    called, ranks, sums, losses = [], [], [], []
    for draw in range(FIRST_TEST_DRAW, FIRST_TEST_DRAW + draws):
        chance = logistic(beta[0] + days.features(part, draw, error_k)[rows] @ beta[1:])
        called.append(np.count_nonzero(chance >= chance[is_peak].min()))
        ranks.append([np.count_nonzero(chance[season == season[d]] >= chance[d]) for d in np.flatnonzero(is_peak)])
        sums.append(chance.sum())
        losses.append(-np.mean(np.where(is_peak, np.log(chance), np.log(1.0 - chance))))
    base = is_peak.mean()
    shares = time_of_day_shares(part.program, TEST_YEAR)
    quarters = days.peak_quarter[rows][is_peak]
    return Skill(
        days_called=float(np.mean(called)),
        days_in_season=int(rows.sum()),
        rank_in_season=np.median(np.array(ranks), axis=0).tolist(),
        interval_rank=[
            int(np.count_nonzero(shares > shares[q] + 1e-12)) // (part.interval_min // 15) + 1 for q in quarters
        ],
        expected_peaks=float(np.mean(sums)),
        log_loss=float(np.mean(losses)),
        log_loss_base=float(-(base * np.log(base) + (1.0 - base) * np.log(1.0 - base))),
    )


def main() -> None:
    """Fit both programs, replace the file of constants and print the skill in the test year."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("program", "parameter", "value", "unit", "source"))
    units = ("1", "1/K", "1/K", "1", "1")
    scores = {}
    for market_name, tariff_name in CASES:
        part = tariff(tariff_name).coincident_peak
        if part is None:
            continue
        days = days_of(MARKETS[market_name], part)
        beta = fit(days, part)
        source = f"fitted, 2020-2022, {MARKETS[market_name].weather}, forecast error {FORECAST_ERROR_K} K"
        for name, value, unit in zip(("constant", *DAY_FEATURES), beta, units, strict=True):
            writer.writerow((part.program, name, f"{value:.5g}", unit, source))
        scores[part.program] = skill(days, part, beta)
    beside = MODEL_PATH.with_suffix(".tmp")
    beside.write_text(text.getvalue(), encoding="utf-8")
    os.replace(beside, MODEL_PATH)
    load_peak_model.cache_clear()
    for program, score in scores.items():
        typer.echo(f"{program} {TEST_YEAR}: {score}")


if __name__ == "__main__":
    main()
