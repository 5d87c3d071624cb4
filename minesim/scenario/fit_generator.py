"""Fit the generator's constants to the packaged series of 2020-2022 and write ``generator/parameters.csv``.

    python -m minesim.scenario.fit_generator

Needs a repository checkout (the power and coin files are in no wheel). Only data before 2023-01-01 are read, so that
2023 stays untouched for validation and test. What is fitted: means by least squares, spreads and quantiles by
counting, time constants by matching autocorrelations on a grid. What is assumed says so in the column ``source``.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.data import load_btc, load_carbon, load_power, load_weather
from minesim.economics.chain import hashprice_usd_per_phs_day, subsidy_btc_array
from minesim.scenario.generator import parameters as store
from minesim.scenario.generator.clock import Clock, clock_of, profile_index
from minesim.scenario.generator.noise import harmonics
from minesim.scenario.generator.price import pattern_correlation, to_z, weather_basis
from minesim.scenario.generator.weather import dew_point_c, dryness_basis, dryness_of, noise_scale, temperature_basis
from minesim.scenario.markets import MARKETS, Market, btc_height

Floats = npt.NDArray[np.float64]
Row = tuple[str, str, int, float, str, str]

FIT_END: Final = "2022-12-31T23:00"
N_REGIMES: Final = 5
FITTED: Final = "fitted, 2020-2022"
ASSUMED: Final = "assumed"
URI: Final = ("2021-02-12", "2021-02-20")
"""Winter storm Uri: left out of the hourly model and put back as an emergency of its own."""


def main() -> None:
    """Fit all markets and replace the parameter file."""
    rows: list[Row] = []
    for market, source, cap in (("ercot", MARKETS["ercot"], 5000.0), ("pjm", MARKETS["pjm"], 3700.0)):
        rows += _market_rows(market, source, cap)
    rows += [("*", *row[1:]) for row in _coin_rows()]
    write_rows(store.PATH, rows)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the parameter table beside its target and move it into place."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(store.COLUMNS)
    writer.writerows(
        (market, name, index, f"{value:.6g}", unit, source) for market, name, index, value, unit, source in rows
    )
    beside = path.with_suffix(".tmp")
    beside.write_text(text.getvalue(), encoding="utf-8")
    os.replace(beside, path)


def _numbers(market: str, name: str, values: Floats | float, unit: str, source: str = FITTED) -> list[Row]:
    return [(market, name, i, float(v), unit, source) for i, v in enumerate(np.atleast_1d(values))]


def _market_rows(market: str, source: Market, cap: float) -> list[Row]:
    traces = xr.merge([load_power(source.power), load_weather(source.weather)], join="inner", combine_attrs="drop")
    traces = traces.sel(time=slice(None, FIT_END))
    traces = traces.isel(time=np.flatnonzero(~traces["is_missing"].to_numpy().astype(bool)))
    clock = clock_of(traces["time"].to_numpy(), source.site_timezone)
    temp = traces["temp_amb_c"].to_numpy()
    rows = _weather_rows(market, clock, temp, traces["rel_humidity_pct"].to_numpy())
    rows += _price_rows(market, traces, clock, temp, cap)
    rows += _carbon_rows(market, source)
    rows += _numbers(market, "altitude_m", source.altitude_m, "m", "city of the weather series")
    return rows


def _weather_rows(market: str, clock: Clock, temp: Floats, humidity: Floats) -> list[Row]:
    basis = temperature_basis(clock)
    mean = _least_squares(basis, temp)
    anomaly = temp - basis @ mean
    temp_sd = _fit_scale(clock, anomaly)
    temp_noise = _fit_mixture(anomaly / noise_scale(clock, temp_sd), lags_h=240)
    dew = dew_point_c(temp, humidity)
    basis = dryness_basis(clock, anomaly)
    dryness = dryness_of(temp, dew)
    dry_mean = _least_squares(basis, dryness)
    rest = dryness - basis @ dry_mean
    dry_noise = _fit_mixture(rest / rest.std(), lags_h=240)
    return [
        *_numbers(market, "temp_mean", mean, "degC"),
        *_numbers(market, "temp_noise_sd", temp_sd, "K"),
        *_numbers(market, "temp_noise_weight", temp_noise[0], "1"),
        *_numbers(market, "temp_noise_tau_h", temp_noise[1], "h"),
        *_numbers(market, "dryness_mean", dry_mean, "sqrt(K)"),
        *_numbers(market, "dryness_sd", rest.std(), "sqrt(K)"),
        *_numbers(market, "dry_noise_weight", dry_noise[0], "1"),
        *_numbers(market, "dry_noise_tau_h", dry_noise[1], "h"),
    ]


def _fit_scale(clock: Clock, residual: Floats) -> Floats:
    """Yearly wave of the standard deviation, from the mean absolute residual (Gaussian ratio)."""
    return _least_squares(harmonics(clock.year_phase, 1), np.abs(residual) * np.sqrt(np.pi / 2.0))


def _least_squares(basis: Floats, target: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(basis, target, rcond=None)[0], np.float64)


def _autocorrelation(x: Floats, lags: npt.NDArray[np.int64]) -> Floats:
    x = x - x.mean()
    variance = float(x @ x)
    return np.array([float(x[: len(x) - lag] @ x[lag:]) / variance for lag in lags])


def _fit_mixture(x: Floats, lags_h: int) -> tuple[Floats, Floats]:
    """Weights and time constants (h) of two autoregressions whose sum matches the autocorrelation."""
    lags = np.unique(np.geomspace(1, lags_h, 25).astype(np.int64))
    target = _autocorrelation(x, lags)
    best = (np.inf, 0.5, 1.0, 10.0)
    for short in np.geomspace(0.8, 20.0, 24):
        for long in np.geomspace(10.0, 240.0, 24):
            if long < 2.0 * short:
                continue
            a, b = np.exp(-lags / short), np.exp(-lags / long)
            weight = float(np.clip(((target - b) @ (a - b)) / ((a - b) @ (a - b)), 0.0, 1.0))
            error = float(np.sum((weight * a + (1.0 - weight) * b - target) ** 2))
            best = min(best, (error, weight, float(short), float(long)))
    return np.array([best[1], 1.0 - best[1]]), np.array([best[2], best[3]])


def _fit_body_noise(x: Floats) -> tuple[Floats, Floats]:
    """Weights and time constants (h) of short and long noise and of a daily pattern that changes over days."""
    lags = np.unique(np.concatenate([np.arange(1, 13), np.arange(18, 31, 2), np.arange(42, 55, 3), [72, 96, 120, 168]]))
    target = _autocorrelation(x, lags)
    best: tuple[float, Floats, Floats] = (np.inf, np.ones(3), np.ones(3))
    for short in np.geomspace(1.0, 12.0, 12):
        for long in np.geomspace(15.0, 240.0, 12):
            for pattern in np.geomspace(24.0, 480.0, 10):
                columns = np.stack(
                    [np.exp(-lags / short), np.exp(-lags / long), np.exp(-lags / pattern) * pattern_correlation(lags)],
                    1,
                )
                weights = np.maximum(_least_squares(columns, target), 0.0)
                weights /= max(float(weights.sum()), 1e-9)
                error = float(np.sum((columns @ weights - target) ** 2))
                if error < best[0]:
                    best = (error, weights, np.array([short, long, pattern]))
    return best[1], best[2]


def _price_rows(market: str, traces: xr.Dataset, clock: Clock, temp: Floats, cap: float) -> list[Row]:
    time = traces["time"].to_numpy()
    price = traces["power_price_usd_per_mwh"].to_numpy()
    z = to_z(price)
    in_uri = (
        (time >= np.datetime64(URI[0])) & (time < np.datetime64(URI[1]))
        if market == "ercot"
        else np.zeros(len(z), bool)
    )
    day = time.astype("datetime64[D]")
    level = _centred_median(z, 24 * 29)
    regimes = np.quantile(level, (np.arange(N_REGIMES) + 0.5) / N_REGIMES)
    state = np.digitize(level, np.quantile(level, np.arange(1, N_REGIMES) / N_REGIMES))
    stay_days = len(np.unique(day)) / (1 + np.count_nonzero(np.diff(state[::24])))
    within = level - regimes[state]
    # Least squares for profile and weather on the normal hours, twice, so that spikes do not lift the profile.
    basis = np.concatenate([np.eye(144)[profile_index(clock)], weather_basis(temp)], axis=1)
    keep = ~in_uri
    for _ in range(3):
        fit = _least_squares(basis[keep], (z - level)[keep])
        rest = z - level - basis @ fit
        threshold = float(np.quantile(rest[~in_uri], 0.99))
        keep = ~in_uri & (rest < threshold)
    is_spike = (rest >= threshold) & ~in_uri
    starts = np.flatnonzero(is_spike & ~np.concatenate([[False], is_spike[:-1]]))
    at_start = np.zeros(len(z), bool)
    at_start[starts] = True
    normal = ~in_uri & ~is_spike
    by_hour = np.array([at_start[clock.hour == h].sum() / max((clock.hour == h).sum(), 1) for h in range(24)])
    hot_cold = weather_basis(temp)
    slope = _poisson_slope(at_start[~in_uri], np.log(by_hour[clock.hour] + 1e-5)[~in_uri], hot_cold[~in_uri])
    lift = np.exp(hot_cold[~in_uri] @ slope)
    by_hour = by_hour / np.array([lift[clock.hour[~in_uri] == h].mean() for h in range(24)])
    spread = np.array([rest[normal & (state == k)].std() for k in range(N_REGIMES)]) / rest[normal].std()
    body = rest[normal] / spread[state[normal]]
    scores = np.linspace(-3.3, 3.3, 45)
    quantiles = np.quantile(body, _normal_cdf(scores))
    latent = np.interp(body, quantiles, scores)
    body_noise = _fit_body_noise(latent)
    negative = price < 0.0
    negative_starts = np.count_nonzero(negative & ~np.concatenate([[False], negative[:-1]]))
    slack = (clock.season != 1) & ((clock.hour < 6) | (clock.hour >= 22) | ((clock.hour >= 10) & (clock.hour < 15)))
    depth = -price[negative].mean() if negative.any() else 1.0
    winters = float(np.count_nonzero(clock.season == 2))
    return [
        *_numbers(market, "regime_z", regimes, "asinh(USD/MWh / 5)"),
        *_numbers(market, "regime_days", stay_days, "d"),
        *_numbers(market, "level_sd_z", within.std(), "asinh"),
        *_numbers(market, "level_tau_days", 10.0, "d", ASSUMED),
        *_numbers(market, "profile_z", fit[:144], "asinh; index = season x (weekday, weekend) x 24 local hours"),
        *_numbers(market, "weather_z_per_k", fit[144:], "asinh/K above 22 degC, below 8 degC"),
        *_numbers(market, "body_normal_score", scores, "1", "grid"),
        *_numbers(market, "body_quantile_z", quantiles, "asinh"),
        *_numbers(market, "regime_body_factor", spread, "1"),
        *_numbers(market, "body_weight", body_noise[0], "1; short, long, daily pattern"),
        *_numbers(market, "body_tau_h", body_noise[1], "h; short, long, daily pattern"),
        *_numbers(market, "spike_rate_per_h", by_hour, "1/h by local hour"),
        *_numbers(market, "spike_log_rate_per_k", slope, "1/K above 22 degC, below 8 degC"),
        *_numbers(market, "spike_length_h", is_spike.sum() / len(starts), "h"),
        *_numbers(market, "spike_floor_z", threshold, "asinh; 99 % quantile of the deviations"),
        *_numbers(market, "spike_excess_z", float((rest[is_spike] - threshold).mean()), "asinh"),
        *_numbers(market, "negative_rate_per_h", negative_starts / slack.sum(), "1/h in slack hours"),
        *_numbers(
            market, "negative_length_h", negative.sum() / max(negative_starts, 1) if negative.any() else 1.0, "h"
        ),
        *_numbers(market, "negative_depth_usd_per_mwh", depth, "USD/MWh"),
        *_numbers(
            market,
            "emergency_rate_per_winter_h",
            1.0 / winters if market == "ercot" else 0.0,
            "1/h",
            "Uri: one emergency in the winters of 2020-2022" if market == "ercot" else "none in 2020-2022",
        ),
        *_numbers(market, "emergency_length_h", 96.0, "h", "Uri: about four days near the cap"),
        *_numbers(
            market,
            "price_cap_usd_per_mwh",
            cap,
            "USD/MWh",
            "ERCOT cap since 2022" if market == "ercot" else "PJM energy offer and reserve cap",
        ),
    ]


def _centred_median(x: Floats, width: int) -> Floats:
    import pandas as pd

    return np.asarray(pd.Series(x).rolling(width, center=True, min_periods=width // 4).median().to_numpy())


def _normal_cdf(x: Floats) -> Floats:
    from math import erf

    return np.array([0.5 * (1.0 + erf(v / np.sqrt(2.0))) for v in x])


def _poisson_slope(events: npt.NDArray[np.bool_], offset: Floats, basis: Floats) -> Floats:
    """Newton steps for a Poisson regression with a log link, an offset and a small ridge; constant included."""
    design = np.column_stack([np.ones(len(events)), basis])
    beta = np.zeros(design.shape[1])
    for _ in range(25):
        rate = np.exp(np.clip(offset + design @ beta, -20.0, 2.0))
        gradient = design.T @ (events - rate) - 1e-3 * beta
        hessian = (design * rate[:, None]).T @ design + 1e-3 * np.eye(len(beta))
        beta = beta + np.linalg.solve(hessian, gradient)
    return beta[1:]


def _carbon_rows(market: str, source: Market) -> list[Row]:
    carbon = load_carbon(source.carbon).sel(time=slice(None, FIT_END))
    values = carbon["carbon_g_per_kwh"].to_numpy()
    clock = clock_of(carbon["time"].to_numpy(), source.site_timezone)
    basis = np.concatenate([harmonics(clock.day_phase, 2), harmonics(clock.year_phase, 1)[:, 1:]], axis=1)
    mean = _least_squares(basis, values)
    rest = values - basis @ mean
    noise = _fit_mixture(rest / rest.std(), lags_h=168)
    note = "fitted, 2021-2022 (Electricity Maps)"
    return [
        *_numbers(market, "carbon_mean", mean, "g/kWh", note),
        *_numbers(market, "carbon_sd", rest.std(), "g/kWh", note),
        *_numbers(market, "carbon_noise_weight", noise[0], "1", note),
        *_numbers(market, "carbon_noise_tau_h", noise[1], "h", note),
    ]


def _coin_rows() -> list[Row]:
    btc = load_btc().sel(time=slice("2019-12-31", FIT_END))
    returns = np.diff(np.log(btc["coin_price_usd"].to_numpy()))
    plain_sd = 1.4826 * float(np.median(np.abs(returns - np.median(returns))))
    is_jump = np.abs(returns) > 5.0 * plain_sd
    calm = returns[~is_jump]
    log_square = np.log(np.maximum(calm**2, 1e-8))
    # The log of a squared normal has variance pi^2/2; the rest is the log variance's own.
    lags = np.arange(1, 15)
    covariance = _autocorrelation(log_square, lags) * log_square.var()
    tau = min(
        np.geomspace(2.0, 100.0, 60),
        key=lambda t: float(np.sum((covariance - _scaled_decay(covariance, lags, t)) ** 2)),
    )
    h_variance = float(_scaled_decay(covariance, np.zeros(1), tau, lags)[0])
    h_sd = float(np.sqrt(max(h_variance, 0.01)))
    sd = float(calm.std() / np.exp(0.25 * h_sd**2))
    fees = np.log(btc["fees_coin_per_block"].to_numpy())
    fee_memory = float(_autocorrelation(fees, np.array([1]))[0])
    epochs = _epochs(btc)
    return [
        *_numbers("*", "coin_return_sd", sd, "1/sqrt(d)"),
        *_numbers("*", "coin_log_variance_sd", h_sd, "1"),
        *_numbers("*", "coin_log_variance_tau_days", tau, "d"),
        *_numbers("*", "coin_jump_rate_per_day", is_jump.mean(), "1/d"),
        *_numbers("*", "coin_jump_sd", float(np.sqrt((returns[is_jump] ** 2).mean())), "1"),
        *_numbers("*", "coin_drift_per_day", 0.0, "1/d", "assumed: no trend is promised"),
        *_numbers("*", "coin_start_usd", 30000.0, "USD", "assumed: about the price of mid 2022"),
        *_numbers("*", "coin_start_log_sd", 0.35, "1", ASSUMED),
        *_numbers("*", "fee_log_mean", fees.mean(), "log BTC"),
        *_numbers("*", "fee_log_sd", fees.std(), "log BTC"),
        *_numbers("*", "fee_tau_days", -1.0 / np.log(fee_memory), "d"),
        *_numbers("*", "difficulty_start", 3.0e13, "1", "assumed: about the difficulty of mid 2022"),
        *epochs,
    ]


def _scaled_decay(
    covariance: Floats,
    at: Floats | npt.NDArray[np.int64],
    tau: float,
    lags: Floats | npt.NDArray[np.int64] | None = None,
) -> Floats:
    """Least-squares multiple of exp(-lag/tau) through the covariance, evaluated at ``at``."""
    lags = at if lags is None else lags
    decay = np.exp(-np.asarray(lags) / tau)
    return np.asarray(float(covariance @ decay) / float(decay @ decay) * np.exp(-np.asarray(at) / tau))


def _epochs(btc: xr.Dataset) -> list[Row]:
    """Growth of the hash rate between retargets against the logarithm of revenue."""
    difficulty = btc["difficulty"].to_numpy()
    revenue = np.log(
        hashprice_usd_per_phs_day(
            subsidy_btc_array(btc_height(btc["time"].to_numpy())),
            btc["fees_coin_per_block"].to_numpy(),
            btc["coin_price_usd"].to_numpy(),
            difficulty,
        )
    )
    changes = np.flatnonzero(np.abs(np.diff(difficulty)) > 1e-6 * difficulty[1:]) + 1
    growth = np.diff(np.log(difficulty[np.concatenate([changes, [len(difficulty) - 1]])]))
    days = np.diff(np.concatenate([changes, [len(difficulty) - 1]]))
    whole = days >= 8
    mean_revenue = np.array([revenue[a:b].mean() for a, b in _spans(changes, len(difficulty) - 1)])
    reference = float(np.median(revenue))
    x, y, d = (mean_revenue - reference)[whole], growth[whole], days[whole]
    spread = np.abs(y - np.median(y)) < 4.0 * 1.4826 * np.median(np.abs(y - np.median(y)))
    slope, constant = np.polyfit(x[spread], y[spread], 1)
    rest = y[spread] - (slope * x[spread] + constant)
    hours = 24.0 * float(d.mean())
    return [
        *_numbers("*", "hashprice_reference_usd_per_phs_day", float(np.exp(reference)), "USD/(PH/s)/day"),
        *_numbers("*", "hashrate_pull_per_h", max(slope, 0.0) / hours, "1/h per log of revenue over reference"),
        *_numbers("*", "hashrate_growth_per_h", constant / hours, "1/h"),
        *_numbers("*", "hashrate_noise_per_sqrt_h", rest.std() / np.sqrt(hours), "1/sqrt(h)"),
    ]


def _spans(starts: npt.NDArray[np.int64], end: int) -> list[tuple[int, int]]:
    """Pairs (start, next start), the last one ending at ``end``."""
    return list(zip(starts.tolist(), [*starts[1:].tolist(), end], strict=True))


if __name__ == "__main__":
    main()
