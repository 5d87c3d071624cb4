"""Metrics of a run, each with its formula; the table here is the one that reports and ``docs/metrics.md`` show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from minesim.bench.rollout import MONEY_TERMS
from minesim.units import SECONDS_PER_HOUR

J_PER_KWH = 1000.0 * SECONDS_PER_HOUR
KW_PER_W = 1e-3
ADAPTABLE_MIN = 0.01
"""Where reacting can earn less than this share of the rated fleet's revenue, adaptation is not scored (1 %, as for
regret)."""
FAN_SET_USD = 100.0
"""Four fans of an air-cooled miner at 25 USD (IceRiver spare-part list); four on every model: assumed."""
FAN_LIFE_H = 525_000.0
"""Mean life of a fan at full speed: L10 of 75,000 h at 40 C times 7 (Jamicon, ball bearing); as turns: assumed."""


@dataclass(frozen=True)
class Metric:
    """A number that a run is judged by.

    Attributes:
        name: with its unit.
        label: for people.
        units: as in ``name``.
        formula: in words and symbols, as computed.
        better: ``higher``, ``lower`` or ``neither``.
        compute: from the sums of :func:`minesim.bench.rollout.rollout` to values over ``run``.
        target: what the mission asks for, empty where it asks for nothing; ``vs always_stock`` is a relative change.
        parts: where the metric is a ratio of two other metrics, their names (above, below): over several weeks it is
            the ratio of their sums, not the mean of weekly ratios (:func:`minesim.bench.regret.ratio_interval`).
    """

    name: str
    label: str
    units: str
    formula: str
    better: str
    compute: Callable[[xr.Dataset], xr.DataArray]
    target: str = ""
    parts: tuple[str, str] | None = None


def _ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """``above / below``, NaN where nothing was used (a site that stood still has no efficiency)."""
    return above / below.where(below > 0.0)


def _hashrate_rel_sd(sums: xr.Dataset) -> xr.DataArray:
    """Spread of delivered over commanded hashrate, weighted by what is commanded, relative to its mean."""
    mean = _ratio(sums["hash_th"], sums["hash_commanded_th"])
    square = _ratio(sums["hash_square_th"], sums["hash_commanded_th"])
    variance = square - mean**2
    # Rounding leaves a variance of zero a little above or below it.
    spread = variance.where(~(variance <= 1e-12 * mean**2), 0.0)
    return _ratio(spread**0.5, mean)


def _where_watched(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Sums that only a watched rollout has, NaN elsewhere."""
    return lambda sums: sums[name] if name in sums else np.nan * sums["profit_usd"]


def _decision_quality(sums: xr.Dataset) -> xr.DataArray:
    right, total = (_where_watched(name)(sums) for name in ("decision_right_usd", "decision_usd"))
    return _ratio(right, total)


_TERM_LABELS = {
    "revenue_usd": ("mining revenue", "sum of hashes paid (after developer fee, pool fee, rejects) x hash revenue"),
    "energy_usd": ("energy cost", "sum of metered energy x all-in energy price"),
    "demand_usd": ("demand charge", "sum of increments of the month's peak x demand rate"),
    "coincident_usd": ("coincident-peak charge", "mean load of each charged interval x its charge per kW"),
    "reserve_usd": ("reserve income", "availability income - penalties for load not held or not shed"),
    "wear_usd": ("wear", "expected repair cost of ageing (Arrhenius in chip temperature)"),
    "restart_usd": ("stops and restarts", "solder fatigue by depth of cooling + expected cost of failed cold starts"),
}

METRICS: tuple[Metric, ...] = (
    Metric(
        "profit_usd",
        "net profit",
        "USD",
        "revenue + reserve - energy - demand - coincident - wear - restart",
        "higher",
        lambda sums: sums["profit_usd"],
        target="+15 to +40 % vs always_stock",
    ),
    *(
        Metric(
            name,
            _TERM_LABELS[name][0],
            "USD",
            _TERM_LABELS[name][1],
            "higher" if name in ("revenue_usd", "reserve_usd") else "lower",
            lambda sums, name=name: sums[name],  # type: ignore[misc]
        )
        for name in MONEY_TERMS
    ),
    Metric("energy_kwh", "energy", "kWh", "sum of metered energy", "neither", lambda sums: sums["energy_kwh"]),
    Metric(
        "profit_usd_per_kwh",
        "profit per energy",
        "USD/kWh",
        "profit / energy",
        "higher",
        lambda sums: _ratio(sums["profit_usd"], sums["energy_kwh"]),
        parts=("profit_usd", "energy_kwh"),
    ),
    Metric(
        "efficiency_j_per_th",
        "energy per hash",
        "J/TH",
        "energy at the meter / hashes",
        "lower",
        lambda sums: _ratio(sums["energy_kwh"] * J_PER_KWH, sums["hash_th"]),
        target="-10 to -30 % vs always_stock",
    ),
    Metric(
        "revenue_usd_per_kw",
        "revenue per rated power",
        "USD/kW",
        "revenue / rated power of the fleet",
        "higher",
        lambda sums: sums["revenue_usd"] / (sums.attrs["power_rated_w"] * 1e-3),
    ),
    Metric(
        "revenue_usd_per_w",
        "revenue per power drawn",
        "USD/W",
        "revenue / (energy / duration)",
        "higher",
        lambda sums: _ratio(sums["revenue_usd"] * sums.attrs["duration_h"] * KW_PER_W, sums["energy_kwh"]),
        target="+10 to +25 % vs always_stock",
    ),
    Metric(
        "load_factor",
        "load factor",
        "1",
        "energy / (rated power x duration)",
        "neither",
        lambda sums: sums["energy_kwh"] / (sums.attrs["power_rated_w"] * 1e-3 * sums.attrs["duration_h"]),
    ),
    Metric(
        "off_share",
        "time off",
        "1",
        "miner-hours not hashing / (miners x duration); stopped, booting, changing preset, tripped or in repair",
        "lower",
        lambda sums: sums["off_miner_h"] / (sums.attrs["miners"] * sums.attrs["duration_h"]),
    ),
    Metric(
        "stops_per_miner",
        "stops per miner",
        "1",
        "stops / miners",
        "lower",
        lambda sums: sums["stops"] / sums.attrs["miners"],
    ),
    Metric("trips", "protective trips", "1", "miners that tripped on temperature", "lower", lambda sums: sums["trips"]),
    Metric(
        "violation_share",
        "steps with a violation",
        "1",
        "control steps with constraint cost > 0 / steps (chip over 80 C, or power change over 20 % beyond stops)",
        "lower",
        lambda sums: sums["violation_steps"] / sums.attrs["steps"],
    ),
    Metric(
        "constraint_cost",
        "constraint cost",
        "1",
        "sum of the constraint cost of the steps",
        "lower",
        lambda sums: sums["cost"],
    ),
    Metric(
        "temp_chip_max_c",
        "hottest chip",
        "degC",
        "maximum over steps and cohorts",
        "lower",
        lambda sums: sums["temp_chip_max_c"],
    ),
    Metric(
        "carbon_kg",
        "carbon",
        "kg",
        "sum of energy x grid intensity / 1000 (n/a where the scenario has no carbon trace)",
        "lower",
        lambda sums: sums["carbon_g"] / 1000.0,
    ),
    Metric(
        "adapted_usd",
        "earned by reacting",
        "USD",
        "revenue - nameplate energy of the commands - that of the best fixed command, at settled prices",
        "higher",
        lambda sums: sums["adapted_usd"],
    ),
    Metric(
        "adaptable_usd",
        "to be earned by reacting",
        "USD",
        "the same for the best command of every quarter hour in hindsight",
        "neither",
        lambda sums: sums["adaptable_usd"],
    ),
    Metric(
        "adaptation_score",
        "dynamic adaptation score",
        "1",
        "adapted / adaptable, within 0 to 1 (n/a where adaptable < 1 % of the revenue of the rated fleet)",
        "higher",
        lambda sums: (
            sums["adapted_usd"]
            / sums["adaptable_usd"].where(sums["adaptable_usd"] >= ADAPTABLE_MIN * sums["revenue_possible_usd"])
        ).clip(0.0, 1.0),
        target="> 0.85",
        parts=("adapted_usd", "adaptable_usd"),
    ),
    Metric(
        "decision_right_usd",
        "won by right decisions",
        "USD",
        "sum over judged decisions of max(profit as decided - profit of the branch, 0)",
        "neither",
        _where_watched("decision_right_usd"),
    ),
    Metric(
        "decision_usd",
        "at stake in decisions",
        "USD",
        "sum over judged decisions of abs(profit as decided - profit of the branch)",
        "neither",
        _where_watched("decision_usd"),
    ),
    Metric(
        "decision_quality",
        "decision quality",
        "1",
        "won by right decisions / at stake in decisions (n/a where decisions were not judged)",
        "higher",
        _decision_quality,
        target="> 0.9",
        parts=("decision_right_usd", "decision_usd"),
    ),
    Metric(
        "response_minutes",
        "response time",
        "min",
        "median over answered crossings of the time until site power made 90 % of its change",
        "lower",
        lambda sums: sums["response_minutes"],
        target="< 15",
    ),
    Metric(
        "response_share",
        "crossings answered",
        "1",
        "answered / all steady crossings of break-even by the known price",
        "higher",
        lambda sums: _ratio(sums["price_crossings_answered"], sums["price_crossings"]),
    ),
    Metric(
        "hashrate_rel_sd",
        "instability of hashrate",
        "1",
        "standard deviation / mean of hashrate over that of the command, weighted by the latter",
        "lower",
        _hashrate_rel_sd,
    ),
    Metric(
        "hardware_stress_usd",
        "hardware stress",
        "USD",
        "wear + restart + full-speed fan hours x 100 USD / 525,000 h",
        "lower",
        lambda sums: sums["wear_usd"] + sums["restart_usd"] + sums["fan_miner_h"] * (FAN_SET_USD / FAN_LIFE_H),
        target="< +10 % vs always_stock",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}


def metrics(sums: xr.Dataset) -> xr.Dataset:
    """All metrics of the runs of a rollout.

    Args:
        sums: from :func:`minesim.bench.rollout.rollout`.

    Returns:
        Dataset over ``run``, one variable a metric with attributes ``units``, ``long_name``, ``formula``, ``better``,
        ``target``; NaN where a metric does not apply.
    """
    return xr.Dataset(
        {
            metric.name: metric.compute(sums)
            .astype(np.float64)
            .assign_attrs(
                units=metric.units,
                long_name=metric.label,
                formula=metric.formula,
                better=metric.better,
                target=metric.target,
            )
            for metric in METRICS
        },
        coords={name: sums.coords[name] for name in ("start", "seed")},
    )
