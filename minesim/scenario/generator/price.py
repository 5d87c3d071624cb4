"""Power price: regime level + hour profile + weather + fat-tailed body + spikes, on an asinh scale; negative hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.scenario.generator.clock import Clock, profile_index
from minesim.scenario.generator.noise import ar1, mixture, regime_chain
from minesim.scenario.generator.parameters import GeneratorParameters
from minesim.scenario.generator.weather import Weather

Floats = npt.NDArray[np.float64]
SCALE_USD_PER_MWH: Final = 5.0
"""Prices are modelled as asinh(price / 5): logarithmic for usual prices, linear through zero."""
PATTERN_SHARE: Final = (0.6, 0.4)
"""Variance of the daily pattern in its first and second daily wave (assumed)."""
HOT_C: Final = 22.0
COLD_C: Final = 8.0


@dataclass(frozen=True)
class PriceLevel:
    """How wild the generated prices are.

    Attributes:
        body: factor on the hourly deviations from level and profile.
        spike_rate, spike_height: factors on how often spikes come, and on their height (asinh scale).
        negative_rate: factor on how often prices fall below zero.
        emergency_rate: factor on the rate of days-long emergencies (winter storm Uri).
    """

    body: float
    spike_rate: float
    spike_height: float
    negative_rate: float
    emergency_rate: float


LEVELS: Final[dict[str, PriceLevel]] = {
    "easy": PriceLevel(0.6, 0.3, 0.7, 0.0, 0.0),
    "medium": PriceLevel(1.0, 1.0, 1.0, 1.0, 1.0),
    "hard": PriceLevel(1.3, 2.5, 1.2, 20.0, 2.0),
}
"""Factors are assumed; ``medium`` is the fit."""


def to_z(price_usd_per_mwh: Floats) -> Floats:
    """Price (USD/MWh) on the model's scale."""
    return np.arcsinh(price_usd_per_mwh / SCALE_USD_PER_MWH)


def from_z(z: Floats) -> Floats:
    """Inverse of :func:`to_z`."""
    return SCALE_USD_PER_MWH * np.sinh(z)


def weather_basis(temp_c: Floats) -> Floats:
    """Kelvin above 22 C and below 8 C; (T, 2)."""
    return np.stack([np.maximum(temp_c - HOT_C, 0.0), np.maximum(COLD_C - temp_c, 0.0)], axis=-1)


def generate_price(
    rng: np.random.Generator, clock: Clock, weather: Weather, parameters: GeneratorParameters, level: PriceLevel
) -> Floats:
    """Draw hourly prices, USD/MWh (T,)."""
    size = len(clock.hour)
    regime_rng, level_rng, body_rng, pattern_rng, spike_rng, negative_rng, emergency_rng = rng.spawn(7)
    regime_z = parameters.array("regime_z")
    regime = regime_chain(regime_rng, size, len(regime_z), 24.0 * parameters.number("regime_days"))
    drift = parameters.number("level_sd_z") * ar1(level_rng, size, 24.0 * parameters.number("level_tau_days"))
    weights, taus = parameters.array("body_weight"), parameters.array("body_tau_h")
    latent = mixture(body_rng, size, weights[:2], taus[:2])
    latent += np.sqrt(weights[2]) * _daily_pattern(pattern_rng, clock, float(taus[2]))
    body = np.interp(latent, parameters.array("body_normal_score"), parameters.array("body_quantile_z"))
    z = (
        regime_z[regime]
        + drift
        + parameters.array("profile_z")[profile_index(clock)]
        + weather_basis(weather.temp_amb_c) @ parameters.array("weather_z_per_k")
        + level.body * parameters.array("regime_body_factor")[regime] * body
        + _spikes(spike_rng, clock, weather, parameters, level)
    )
    price = np.minimum(from_z(z), parameters.number("price_cap_usd_per_mwh"))
    price = _negative_hours(negative_rng, clock, price, parameters, level)
    return _emergencies(emergency_rng, clock, price, parameters, level)


def _daily_pattern(rng: np.random.Generator, clock: Clock, tau_h: float) -> Floats:
    """Noise of unit variance that looks alike at the same hour of neighbouring days."""
    size = len(clock.hour)
    total = np.zeros(size)
    for wave, share in enumerate(PATTERN_SHARE, start=1):
        angle = 2.0 * np.pi * wave * clock.hour / 24.0
        cosine, sine = (ar1(stream, size, tau_h) for stream in rng.spawn(2))
        total += np.sqrt(share) * (np.cos(angle) * cosine + np.sin(angle) * sine)
    return total


def pattern_correlation(lags_h: npt.NDArray[np.int64]) -> Floats:
    """Autocorrelation of the daily pattern, less its own decay over days."""
    return np.asarray(
        sum(share * np.cos(2.0 * np.pi * wave * lags_h / 24.0) for wave, share in enumerate(PATTERN_SHARE, start=1))
    )


def _held(size: int, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], heights: Floats) -> Floats:
    """Series that holds each event's height from its start for its length; later events win; 0 elsewhere."""
    result = np.zeros(size)
    for start, length, height in zip(starts, lengths, heights, strict=True):
        result[start : start + length] = height
    return result


def _spikes(
    rng: np.random.Generator, clock: Clock, weather: Weather, parameters: GeneratorParameters, level: PriceLevel
) -> Floats:
    """Spikes on the asinh scale: start by local hour, heat and cold; shifted exponential height, geometric length."""
    size = len(clock.hour)
    rate = (
        level.spike_rate
        * parameters.array("spike_rate_per_h")[clock.hour]
        * np.exp(weather_basis(weather.temp_amb_c) @ parameters.array("spike_log_rate_per_k"))
    )
    luck_rng, length_rng, height_rng = rng.spawn(3)
    luck = luck_rng.random(size)
    length = length_rng.geometric(1.0 / parameters.number("spike_length_h"), size)
    floor, excess = parameters.number("spike_floor_z"), parameters.number("spike_excess_z")
    height = level.spike_height * (floor + height_rng.exponential(excess, size))
    starts = np.flatnonzero(luck < np.minimum(rate, 0.5))
    return _held(size, starts, length[starts], height[starts])


def _negative_hours(
    rng: np.random.Generator, clock: Clock, price: Floats, parameters: GeneratorParameters, level: PriceLevel
) -> Floats:
    """Replace the price in rare surplus hours of mild seasons by an exponential negative one."""
    size = len(price)
    luck_rng, length_rng, depth_rng = rng.spawn(3)
    luck = luck_rng.random(size)
    length = length_rng.geometric(1.0 / parameters.number("negative_length_h"), size)
    depth = depth_rng.exponential(parameters.number("negative_depth_usd_per_mwh"), size)
    is_slack = (clock.season != 1) & ((clock.hour < 6) | (clock.hour >= 22) | ((clock.hour >= 10) & (clock.hour < 15)))
    starts = np.flatnonzero(is_slack & (luck < level.negative_rate * parameters.number("negative_rate_per_h")))
    depths = _held(size, starts, length[starts], depth[starts])
    return np.where(depths > 0.0, -depths, price)


def _emergencies(
    rng: np.random.Generator, clock: Clock, price: Floats, parameters: GeneratorParameters, level: PriceLevel
) -> Floats:
    """Hold the price near the cap for days, winters only, like Uri in February 2021."""
    size = len(price)
    luck_rng, share_rng = rng.spawn(2)
    luck = luck_rng.random(size)
    hours = int(parameters.number("emergency_length_h"))
    share = share_rng.uniform(0.8, 1.0, size)
    starts = np.flatnonzero(
        (clock.season == 2) & (luck < level.emergency_rate * parameters.number("emergency_rate_per_winter_h"))
    )
    held = _held(size, starts, np.full(len(starts), hours), np.ones(len(starts)))
    return np.where(held > 0.0, np.maximum(price, share * parameters.number("price_cap_usd_per_mwh")), price)
