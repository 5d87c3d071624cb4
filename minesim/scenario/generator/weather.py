"""Weather: seasonal and daily cycle plus autoregressive noise; humidity from a dew point that never passes the air."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from minesim.scenario.generator.clock import Clock
from minesim.scenario.generator.noise import harmonics, mixture
from minesim.scenario.generator.parameters import GeneratorParameters

Floats = npt.NDArray[np.float64]
MAGNUS_B: Final = 17.625
MAGNUS_C: Final = 243.04
"""Magnus form over water, -40 to 50 C (Alduchov and Eskridge 1996)."""


@dataclass(frozen=True)
class Weather:
    """Hourly weather, (T,) each: dry bulb (degC) and relative humidity (%)."""

    temp_amb_c: Floats
    rel_humidity_pct: Floats


def dew_point_c(temp_c: Floats, rel_humidity_pct: Floats) -> Floats:
    """Dew point by the Magnus form, degC; any shapes that broadcast; humidity above 0 %."""
    gamma = np.log(rel_humidity_pct / 100.0) + MAGNUS_B * temp_c / (MAGNUS_C + temp_c)
    return MAGNUS_C * gamma / (MAGNUS_B - gamma)


def humidity_of_dew_point_pct(temp_c: Floats, dew_point: Floats) -> Floats:
    """Relative humidity of air with a dew point (degC), %; inverse of :func:`dew_point_c`."""
    return 100.0 * np.exp(MAGNUS_B * dew_point / (MAGNUS_C + dew_point) - MAGNUS_B * temp_c / (MAGNUS_C + temp_c))


def temperature_basis(clock: Clock) -> Floats:
    """Regressors of the mean temperature: two yearly waves times (1, two daily waves with a yearly change)."""
    yearly = harmonics(clock.year_phase, 2)
    daily = harmonics(clock.day_phase, 2)[:, 1:]
    season = harmonics(clock.year_phase, 1)
    return np.concatenate([yearly, daily, *(daily * season[:, k : k + 1] for k in (1, 2))], axis=1)


def dryness_of(temp_c: Floats, dew_point: Floats) -> Floats:
    """Root of the dew-point depression, sqrt(K): what the model of humidity is linear in."""
    return np.sqrt(np.maximum(temp_c - dew_point, 0.0))


def dryness_basis(clock: Clock, anomaly_k: Floats) -> Floats:
    """Regressors of dryness: those of temperature, and the temperature's deviation from its mean."""
    return np.column_stack([temperature_basis(clock), anomaly_k])


def noise_scale(clock: Clock, coefficients: Floats) -> Floats:
    """Standard deviation through the year: one yearly wave, never below a fifth of its mean."""
    return np.asarray(np.maximum(harmonics(clock.year_phase, 1) @ coefficients, 0.2 * coefficients[0]))


def generate_weather(rng: np.random.Generator, clock: Clock, parameters: GeneratorParameters) -> Weather:
    """Draw hourly weather that looks like the fitted city."""
    size = len(clock.hour)
    temp_rng, dry_rng = rng.spawn(2)
    noise = mixture(temp_rng, size, parameters.array("temp_noise_weight"), parameters.array("temp_noise_tau_h"))
    anomaly = noise * noise_scale(clock, parameters.array("temp_noise_sd"))
    temp = temperature_basis(clock) @ parameters.array("temp_mean") + anomaly
    dry_noise = mixture(dry_rng, size, parameters.array("dry_noise_weight"), parameters.array("dry_noise_tau_h"))
    dryness = (
        dryness_basis(clock, anomaly) @ parameters.array("dryness_mean") + parameters.number("dryness_sd") * dry_noise
    )
    dew = temp - np.maximum(dryness, 0.0) ** 2
    humidity = humidity_of_dew_point_pct(temp, dew)
    return Weather(np.clip(temp, -60.0, 55.0), np.clip(humidity, 3.0, 100.0))
